"""The language model and the two projectors, trained on what the towers have heard and seen."""
