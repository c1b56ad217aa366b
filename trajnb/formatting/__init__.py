"""Text in, examples out. Nothing here imports torch or transformers."""
