"""Many clients at once against a real server: see ``__main__``."""
