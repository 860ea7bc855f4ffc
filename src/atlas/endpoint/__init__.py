"""Calls to OpenAI-compatible endpoints: pacing, budget, cache, outages."""
