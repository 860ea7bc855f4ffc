"""Numbers as people write them, with their units."""
