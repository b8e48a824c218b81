"""Transcripts as subtitle files: cues, line breaks, and the formats. Knows no command line.

import gemma4cli
from gemma4cli.subtitles import write_srt

segments = gemma4cli.transcribe(gemma4cli.load("tiny"), "talk.mp3")
Path("talk.srt").write_text(write_srt(segments), encoding="utf-8")
"""

from .cues import Cue, CueStyle, make_cues
from .formats import write_json, write_srt, write_tsv, write_txt, write_vtt

__all__ = [
    "Cue",
    "CueStyle",
    "make_cues",
    "write_json",
    "write_srt",
    "write_tsv",
    "write_txt",
    "write_vtt",
]
