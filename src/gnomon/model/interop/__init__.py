"""Models of other houses in this one's transformer, and this one's in theirs: Hugging Face folders and GGUF files."""
