"""The training loops, and how a model's log-probabilities are computed for them."""
