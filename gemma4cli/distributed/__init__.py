"""Several processes that compute one model together, on one machine or on several."""
