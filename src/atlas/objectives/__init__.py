"""The maths: pure functions on tensors. No configuration, no I/O, no collectives, no state.

One idea a file. ``loss.py`` puts the pieces of the online update together; ``ranked.py`` and
``cross_entropy.py`` are the two offline losses.
"""
