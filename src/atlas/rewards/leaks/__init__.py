"""Does a teaching give the answer away? Plain, encoded, or as arithmetic."""
