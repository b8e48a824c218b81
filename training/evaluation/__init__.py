"""What a checkpoint knows, measured through g4 itself on data that no training has seen."""
