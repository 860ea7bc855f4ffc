"""Scores: verifiers of answers, the leak detector, and the uplift of a teaching."""
