"""Mathematical answers: read whole, compared exactly, in a jailed process."""
