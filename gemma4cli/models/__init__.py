"""The Gemma 4 networks in MLX. Independent of tokenizers, prompts and files."""
