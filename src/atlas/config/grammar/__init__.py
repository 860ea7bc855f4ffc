"""What a configuration key is, and how files and a command line become one configuration."""
