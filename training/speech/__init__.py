"""Spoken clips and the audio tower that learns to hear them."""
