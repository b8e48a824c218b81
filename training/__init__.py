"""How the built-in models are made: data, tokenizer, staged training, export, evaluation."""
