"""Settings: values for options, from environment variables and files."""
