"""What a g4 that answers and a g4 that asks send each other: values to bytes and back."""
