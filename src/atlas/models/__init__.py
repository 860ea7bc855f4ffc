"""Pre-trained models dressed for training: adapters, four bits, attention, compiled layers."""
