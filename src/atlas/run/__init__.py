"""The record of a run: its directory, files that are whole, metrics, progress, seeds."""
