"""Whether a word names a file or asks something, and which command is for a file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

Medium = Literal["image", "audio", "video"]

_COMMANDS: dict[Medium, str] = {"image": "describe", "audio": "transcribe", "video": "video"}
_MOST_ENTRIES = 500
_TEXT_SAMPLE_BYTES = 4096

_PATH = re.compile(
    r"^(~|\.{0,2})/|^[A-Za-z][\w+.-]*://|^[^\s/]+/\S*$|\.[A-Za-z]\w{0,4}$|^\S*[*]|/$"
)
"""Words that name a file, whether it exists or not: a folder first, an address, a suffix last."""

_QUESTION_MARKS = ("?", "\N{FULLWIDTH QUESTION MARK}", "\N{ARABIC QUESTION MARK}")


def looks_like_a_file(word: str) -> bool:
    first, slash, _ = word.partition("/")
    in_folder = bool(slash) and os.path.isdir(first)
    return in_folder or os.path.lexists(word) or bool(_PATH.search(word))


def is_file(word: str | None) -> bool:
    return os.path.isfile(word or "")


def is_question(word: str) -> bool:
    """Whether a word can be nothing but a question or an instruction.

    A misspelled name of a file is none: that would be answered without the file.
    """
    several = len(word.split()) > 1
    asks = several or (word.endswith(_QUESTION_MARKS) and word[:-1].isalpha())
    return asks and not looks_like_a_file(word) and not _is_nearly_a_file(word)


def command_for(files: Sequence[str]) -> str:
    """The command that answers about files of this kind; "chat" without files."""
    media = [medium for each in files if (medium := medium_of(each)) is not None]
    return _COMMANDS[media[0]] if media else "describe" if files else "chat"


def medium_of(name: str) -> Medium | None:
    """The medium by a file's first bytes, by its suffix, or by what most files in a folder are."""
    from ...media.kinds import HEAD_BYTES, sniff

    path = Path(name)
    if os.path.isdir(path):
        names = [entry.name for entry in islice(os.scandir(path), _MOST_ENTRIES)]
        counts = Counter(medium for each in names if (medium := _by_suffix(each)) is not None)
        return counts.most_common(1)[0][0] if counts else None
    found = sniff(_head(name, HEAD_BYTES))
    if found is None or found.kind == "other":
        return _by_suffix(name)
    return found.kind


def is_text_file(name: str) -> bool:
    """Whether a file begins like text."""
    from ...media.kinds import HEAD_BYTES, sniff

    head = _head(name, _TEXT_SAMPLE_BYTES)
    return bool(head) and b"\0" not in head and sniff(head[:HEAD_BYTES]) is None


def _head(name: str, count: int) -> bytes:
    """The first bytes of a file; nothing of a pipe, from which the command itself will read."""
    if not is_file(name):
        return b""
    try:
        with open(name, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def _by_suffix(name: str) -> Medium | None:
    from ...media.kinds import CLIP_SUFFIXES, IMAGE_SUFFIXES, MEDIA_SUFFIXES

    suffix = Path(name.partition("?")[0]).suffix.lower()
    if suffix not in MEDIA_SUFFIXES:
        return None
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in CLIP_SUFFIXES else "audio"


def _is_nearly_a_file(word: str) -> bool:
    from difflib import get_close_matches

    try:
        names = [entry.name.lower() for entry in islice(os.scandir("."), _MOST_ENTRIES)]
    except OSError:
        return False
    stems = [Path(each).stem for each in names]
    return bool(get_close_matches(word.lower(), [*names, *stems], n=1, cutoff=0.75))
