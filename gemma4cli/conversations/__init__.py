"""Conversations: their file and store, their media, and the answers to them."""
