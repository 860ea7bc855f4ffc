"""A small model as files: its sizes, its tokenizer, the guide's folder, other formats."""
