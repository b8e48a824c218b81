"""What the commands that run a model share: options, loading, one answer per input."""
