"""Loading, prefill and decoding. Knows no terminal and opens no media."""
