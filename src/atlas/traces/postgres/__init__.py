"""Sessions in PostgreSQL: the only SQL of the house."""
