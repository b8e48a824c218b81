"""The shortest way to end a JSON document that a grammar has begun."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .byte_document import ByteDocument, Kind, Nesting, may_begin

_MOST_STEPS = 50_000
_MOST_BYTES = 1000
"""Bytes to try, and length of an ending, after which only the likeliest state is followed."""
_LONGEST = 16_384
"""Bytes of an ending to look for."""
_MOST_STATES = 48
"""States of one length to follow before that; of more, the ones closest to the end are kept."""
_REUSED = 65
"""How many parts of a known ending to try."""
_AHEAD = 64
"""Bytes to look ahead at first."""


def shortest_ending(document: ByteDocument, known: bytes = b"") -> bytes | None:
    """The fewest bytes that complete a document; None if none were found in time.

    A value that may end is ended, and states that look alike are followed once, so that in rare
    cases the ending is not the shortest. With a ``known`` ending of the document before its last
    bytes, it is the shortest way to one of that ending's parts, and the rest of it.
    """
    level = [_Ending(document.copy(), b"", document.kind)]
    seen: set[tuple[Kind, Nesting]] = set()
    repeats = _Repeats()
    steps = 0
    while level and (length := len(level[0].content)) < _LONGEST:
        for each in level:
            if each.document.is_complete:
                return each.content
            if (rest := each.rest_of(known)) is not None:
                return each.content + rest
        if (skipped := repeats.skip(level)) is not None:
            level = skipped
            continue
        if len(level) == 1 and (forced := level[0].forced):
            level = [level[0].extended(forced, keep=False)]
            continue
        in_a_hurry = length > _MOST_BYTES or steps > _MOST_STEPS
        following: dict[object, _Ending] = {}
        for each in level[: 1 if in_a_hurry else _MOST_STATES]:
            tried, kinds = each.document.choices()
            steps += tried
            for number, (kind, byte) in enumerate(kinds[: 1 if in_a_hurry else None], start=1):
                nesting = each.document.nesting.after(byte)
                # What looks like this and is shorter has a shorter ending.
                if not in_a_hurry and (kind, nesting) in seen:
                    continue
                key = kind, replace(nesting, commas=())
                # Of states that look alike, the one with more items has fewer to come.
                if key in following and nesting.commas <= following[key].document.nesting.commas:
                    continue
                is_last = in_a_hurry or number == len(kinds)
                following[key] = each.extended(bytes([byte]), keep=not is_last, kind=kind)
        level = sorted(following.values(), key=_openness)
        seen.update((each.kind, each.document.nesting) for each in level)
    return None


@dataclass(frozen=True, slots=True)
class _Ending:
    """An ending that is being written, and the document with it."""

    document: ByteDocument
    content: bytes
    kind: Kind

    @property
    def look(self) -> object:
        """What it has in common with those from which the same bytes can follow."""
        return self.kind, replace(self.document.nesting, commas=(), run=0)

    def rest_of(self, known: bytes) -> bytes | None:
        """A part of a known ending that completes the document."""
        for start in range(min(_REUSED, len(known))):
            rest = known[start:]
            if may_begin(rest[0], self.kind) and self.document.ends_with(rest):
                return rest
        return None

    @property
    def forced(self) -> bytes:
        """The bytes without which nothing can follow."""
        return self.kind[1]

    def extended(self, content: bytes, *, keep: bool, kind: Kind | None = None) -> _Ending:
        """With more bytes; this one can be used again only if it is to ``keep``."""
        document = self.document.copy() if keep else self.document
        document.push(content)
        return _Ending(document, self.content + content, kind or document.kind)

    def repeats(self, size: int) -> bool:
        """Whether its last ``size`` bytes are those before them."""
        return self.content[-size:] == self.content[-2 * size : -size]

    def repeated(self, size: int, times: int) -> _Ending:
        """With its last ``size`` bytes as many more times; this one is not to be used any more."""
        unit = self.content[-size:]
        self.document.push_repeated(unit, times)
        return _Ending(self.document, self.content + unit * times, self.kind)

    def repetitions(self, size: int, most: int) -> int:
        """How often its last ``size`` bytes may follow before something else may follow them."""
        before = self.document.copy()
        before.pop(size, self.document.nesting)
        unit = self.content[-size:]
        times = max(1, _AHEAD // size)
        while most > 0:
            times = min(times, most)
            allowed = before.allowed_along(unit * (times + 1))
            alike = (allowed[size:] == allowed[:-size]).all(axis=1)
            if not alike.all():
                return max(0, int(np.argmin(alike)) - 1) // size
            if times == most:
                return times
            times *= 4
        return 0


class _Repeats:
    """Finds out whether levels of a search repeat those before, and skips what follows.

    A list of 400 numbers is not searched number by number.
    """

    def __init__(self) -> None:
        self._looks: list[object] = []
        self._lengths: list[int] = []
        self._last: dict[object, int] = {}
        self._tried: dict[object, int] = {}

    def skip(self, level: list[_Ending]) -> list[_Ending] | None:
        """The endings that repeat themselves, longer; None if the level has to be searched.

        The others begin anew in each repetition, so that one is left to be searched. Call with each
        level of a search.
        """
        size = self._period(level)
        if size is None:
            return None
        repeating = [each for each in level if each.repeats(size)]
        times = (_LONGEST - len(level[0].content)) // size if repeating else 0
        for each in repeating:
            times = each.repetitions(size, times)
        if times < 2:
            return None
        return [each.repeated(size, times - 1) for each in repeating]

    def _period(self, level: list[_Ending]) -> int | None:
        """After how many bytes levels look alike; None if they do not or this was tried before."""
        look = tuple(each.look for each in level)
        number, length = len(self._looks), len(level[0].content)
        before = self._last.get(look)
        self._looks.append(look)
        self._lengths.append(length)
        self._last[look] = number
        if before is None or 2 * before < number:
            return None
        size, earlier = length - self._lengths[before], 2 * before - number
        if self._looks[earlier] != look or self._lengths[before] - self._lengths[earlier] != size:
            return None
        if self._tried.get(look, -1) > earlier:
            return None
        self._tried[look] = number
        return size


def _openness(found: _Ending) -> tuple[int, int]:
    """Orders endings by how much is open, then by how much of it is written."""
    nesting = found.document.nesting
    return len(nesting.open), -sum(nesting.commas)
