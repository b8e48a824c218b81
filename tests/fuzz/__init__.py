"""Damaged inputs and killed runs: ``python -m tests.fuzz``, ``python -m tests.fuzz.kills``."""
