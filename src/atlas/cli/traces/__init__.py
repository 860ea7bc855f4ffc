"""Recorded sessions: exported, reviewed, traced back from a model."""
