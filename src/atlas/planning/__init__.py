"""What a run will hold in memory, and whether it fits."""
