"""What the towers made of clips and pictures, ready to be put into conversations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..choosing import choice, one
from ..pictures.description import Kind
from ..pictures.features import Shown
from ..speech.audio_features import Heard
from .joining import JOINED, Joiner

_KINDS: dict[Kind, float] = {
    "objects": 0.28,
    "count": 0.25,
    "groups": 0.27,
    "text": 0.17,
    "plain": 0.03,
}
"""How often a picture is of a kind: those that take longer to learn more often than there are of
them."""

_CUT = "cut"


class Clips:
    """Clips by kind, of which one is joined from others, and by what is said in them."""

    def __init__(self, clips: Sequence[Heard]) -> None:
        self._by_kind: dict[str, list[Heard]] = {}
        self._saying: dict[str, list[Heard]] = {}
        for clip in clips:
            self._by_kind.setdefault(clip.kind, []).append(clip)
            self._saying.setdefault(clip.written, []).append(clip)
        self._joiner = Joiner(clips)

    def any(self, rng: np.random.Generator, shares: dict[str, float]) -> Heard:
        """A clip of any kind, joined ones only where the tower has learnt to read some."""
        if not self._joiner.clips:
            shares = {kind: share for kind, share in shares.items() if kind != JOINED}
        kind = choice(rng, shares)
        if kind == JOINED:
            return self._joiner.joined(rng)
        clips = self._by_kind[kind]
        if kind == _CUT:
            # A decoder loses its place in the longest ones, of which there are few.
            return max(one(rng, clips), one(rng, clips), key=lambda clip: len(clip.tokens))
        return one(rng, clips)

    def saying(self, rng: np.random.Generator, text: str) -> Heard | None:
        """A clip with exactly these words, if there is one."""
        found = self._saying.get(text)
        return one(rng, found) if found else None


class Pictures:
    """Pictures of all kinds, and stills of videos by their size."""

    def __init__(self, pictures: Sequence[Shown], stills: Sequence[Shown]) -> None:
        self._by_kind: dict[Kind, list[Shown]] = {}
        for shown in pictures:
            self._by_kind.setdefault(shown.picture.kind, []).append(shown)
        self._shares = {kind: share for kind, share in _KINDS.items() if kind in self._by_kind}
        self._stills: dict[tuple[int, int], list[tuple[Shown, Shown]]] = {}
        for first, second in zip(stills[::2], stills[1::2], strict=True):
            size = (first.picture.height, first.picture.width)
            self._stills.setdefault(size, []).append((first, second))

    def any(self, rng: np.random.Generator) -> Shown:
        return self.of(rng, choice(rng, self._shares))

    def of(self, rng: np.random.Generator, kind: Kind) -> Shown:
        return one(rng, self._by_kind[kind])

    def still(self, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Shown, Shown]:
        """One still of (height, width), with two kinds of noise."""
        return one(rng, self._stills[size])
