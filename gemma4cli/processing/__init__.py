"""Arrays to model inputs, in numpy; opens no files and runs no model."""
