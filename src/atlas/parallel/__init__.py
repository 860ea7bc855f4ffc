"""Who computes together: the processes of a run, and what they tell one another."""
