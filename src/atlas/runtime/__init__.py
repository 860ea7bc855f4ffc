"""What every job stands on: run directory, safe files, metrics, random numbers."""
