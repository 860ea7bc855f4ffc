"""Small models from random weights: sizes, tokenizer, and what the base model is trained on."""
