"""Output for people and programs: answers, progress, pictures, exit codes."""
