"""How a model turns tokens into log-probabilities, shared prompts and long ones included."""
