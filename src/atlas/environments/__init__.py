"""What the policy that is trained meets: it asks for prompts, and scores what was completed."""
