"""The Gemma 4 networks in MLX. Knows no tokenizer, no prompt and no files."""
