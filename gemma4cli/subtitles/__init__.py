"""Transcripts as subtitle files: cues, line breaks, and the formats. Knows no command line."""
