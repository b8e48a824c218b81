"""Arrays to model inputs, in numpy. Knows no files and no model code."""
