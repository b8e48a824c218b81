"""Files and devices to arrays; only these modules open them. Independent of models and prompts."""
