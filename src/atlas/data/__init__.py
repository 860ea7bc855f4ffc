"""From sessions, hub sets and files to the samples that a training reads."""
