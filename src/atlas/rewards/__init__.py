"""Scores: verifiers of answers, the leak detector, the uplift of a teaching, and judges."""
