"""Loading, prefill and decoding. Does not open media or write to the terminal."""
