"""Calls executed for real, on the APIs that a corpus brings."""
