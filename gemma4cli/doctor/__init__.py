"""What this machine can run: facts about it, and a trial of the built-in model."""
