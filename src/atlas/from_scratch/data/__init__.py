"""What a model from random weights learns: a corpus, and prompts with ranked responses."""
