"""Guide A: ranked data, a model from random weights, and what checks both."""
