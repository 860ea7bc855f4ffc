"""Language models that judge a teaching, and what comes of their verdicts."""
