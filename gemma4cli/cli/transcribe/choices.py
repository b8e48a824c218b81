"""What the options of ``g4 transcribe`` may be set to."""

from __future__ import annotations

from typing import Literal

Format = Literal["txt", "srt", "vtt", "tsv", "json", "all"]
Shown = Literal["translation", "original"]
