"""Where training data comes from: one file a source, a function that gives a `TraceDataset`."""
