"""A model from random weights on ranked responses, in stages (guide A)."""
