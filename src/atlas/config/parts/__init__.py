"""The parts that a job's configuration is made of: each file the keys of one subject."""
