"""Who is taught: students of every kind behind one protocol."""
