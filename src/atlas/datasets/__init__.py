"""Tasks, chat rendering and training examples."""
