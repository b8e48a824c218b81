"""Commands that answer: where answers go, and how they are kept and written."""
