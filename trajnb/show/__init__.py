"""What people look at: figures, dialogues and calls as HTML, the pages of a report."""
