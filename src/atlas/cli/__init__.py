"""The ``atlas`` command: one file a command, configuration in, printed result out."""
