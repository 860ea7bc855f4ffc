"""A teacher guides a student on a task: the dialogue, its lessons, what came of them."""
