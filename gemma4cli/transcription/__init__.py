"""Recordings of any length to text: cut into pieces, transcribed, and reassembled."""
