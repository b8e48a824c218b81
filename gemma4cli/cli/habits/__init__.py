"""Command lines as other programs have them, and what to type here instead."""
