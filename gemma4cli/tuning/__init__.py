"""Tuning: examples to an adapter, with progress as events. Knows no command line."""
