"""The command line: options in, events rendered. Knows neither mlx nor the engine."""
