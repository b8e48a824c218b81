"""Markdown rendered for a terminal while it streams in. Knows no command line and no model."""
