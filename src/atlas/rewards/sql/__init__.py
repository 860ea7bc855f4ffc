"""Small relational databases made from a seed, and queries of them that can do no harm."""
