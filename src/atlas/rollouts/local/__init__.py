"""The engine in this process: decoders, caches, and how tokens are drawn."""
