"""A jail for Python that nobody has read: the kernel lets its processes compute, no more."""
