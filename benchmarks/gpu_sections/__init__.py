"""What `benchmarks/gpu.py` looks at, section by section."""
