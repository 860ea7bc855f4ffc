"""Paired evaluation on held-out tasks: outcomes, claims and their intervals."""
