"""The loops of guide A: from random weights to text, and to ranked responses."""
