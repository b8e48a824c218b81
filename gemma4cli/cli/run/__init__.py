"""Shared by the commands that run a model: options, loading, one answer per input."""
