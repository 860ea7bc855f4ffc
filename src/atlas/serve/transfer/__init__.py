"""How a model's weights get from the trainer into a server: one file per way."""
