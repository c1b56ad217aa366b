"""Where dialogues come from: corpora by name, in blocks, split by dialogue."""
