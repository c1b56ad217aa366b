"""What one run does, called by notebooks and without them."""
