"""The policy that is sampled from: its engine or servers, their weights, and their proof."""
