"""Options from files and the environment, and where g4 keeps its own files."""
