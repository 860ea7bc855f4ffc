"""Recorded sessions: where they are kept (PostgreSQL, JSONL) and how they are read back."""
