"""vLLM servers: one in the foreground, or two beside the training."""
