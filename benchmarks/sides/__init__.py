"""What the benchmarks that compare with a peer share: models, workloads, the two sides."""
