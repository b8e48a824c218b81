"""What outputs are called, and which names are equal, for any number of them."""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise


def folded(name: str) -> str:
    """Equal for names that are one file to a file system that ignores case."""
    return unicodedata.normalize("NFC", name).casefold()


class Hashes:
    """Tells whether texts were all different, in eight bytes for each.

    The hashes are Python's, of 64 bits, so what they say is checked where it would matter.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._hashes = array("q", map(hash, texts))

    def add(self, text: str) -> None:
        self._hashes.append(hash(text))

    def repeated(self) -> AbstractSet[int]:
        """The hashes that come more than once."""
        return {one for one, next_one in pairwise(sorted(self._hashes)) if one == next_one}


def repeated(texts: Callable[[], Iterable[str]]) -> AbstractSet[str]:
    """The texts that come more than once; a second call of ``texts`` looks at those alone."""
    twice = Hashes(texts()).repeated()
    if not twice:
        return frozenset()
    counts = Counter(text for text in texts() if hash(text) in twice)
    return {text for text, count in counts.items() if count > 1}


def suffix_of_name(name: str) -> str:
    """The suffix of a file's name with its dot, as that of a ``Path``, in lower case."""
    at = name.rfind(".")
    return name[at:].lower() if 0 < at < len(name) - 1 else ""


def plain_stem(name: str) -> str:
    """The name without its suffix; "..png" keeps it, since "." names no file."""
    stem = _stem(name)
    return stem if stem.strip(".") else name or "file"


def common_stems(names: Sequence[str]) -> AbstractSet[str]:
    """The folded stems that several names of one folder have."""
    return repeated(lambda: (folded(_stem(name)) for name in names))


def label_of(name: str, common: AbstractSet[str]) -> str:
    """The name without its suffix, unless its stem is one of the ``common`` ones."""
    return name if common and folded(_stem(name)) in common else plain_stem(name)


def checksum(text: str) -> str:
    """Eight digits that differ for names that differ."""
    import hashlib

    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def absolute(path: str) -> str:
    """The absolute path; the path itself in a folder that was removed."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path


def _stem(name: str) -> str:
    at = name.rfind(".")
    return name[:at] if 0 < at < len(name) - 1 else name
