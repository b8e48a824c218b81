"""Recordings of any length to text: cut into pieces, heard, and put together again."""
