"""One file per command of the ``atlas`` command line: configuration in, printed result out."""
