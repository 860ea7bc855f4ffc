"""What this computer can: precision, accelerator, memory of its container, the hub."""
