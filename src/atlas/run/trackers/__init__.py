"""Trackers: places besides the run directory that a run's numbers are sent to, each by its name."""
