"""``g4 transcribe``: recordings in, transcripts out."""
