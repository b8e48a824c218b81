"""Files and devices to arrays; the only place that opens them. Knows no model and no prompt."""
