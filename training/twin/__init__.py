"""The built-in model without towers: Gemma 4 12B's architecture in miniature."""
