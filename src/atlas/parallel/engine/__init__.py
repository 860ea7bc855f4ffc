"""Engines: how a loss becomes an update, on one device or on many."""
