"""Training: from one command for everything to one process among several."""
