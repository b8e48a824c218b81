"""Unbroken speech, and sounds in the pauses of speech, joined from what the tower made of clips.

Clips that say the same words again are rare, and a decoder that finds its place by the last words
loses it in them. Of joined clips as many do as wanted, and none has to be spoken or heard. The
tower hears two seconds back at most, so that only the soft tokens behind a joint are not quite what
it would have made of the joined sound.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from ..choosing import one
from ..speech.audio_features import Heard
from ..speech.clips import MOST_TOKENS
from ..words.numbers import write_english

JOINED = "joined"
_KINDS = ("sentence", "sentences", "cut", "numbers", "random words")
_RUN = 3
"""Words in a row by which a clip is found that says them, too."""
_AGAIN = 0.5
"""The part of the clips that say words of those before them again."""
_PAUSED = 0.3
"""The part of the joints that are pauses."""
_PAUSE = (4, 60)
_FEWEST_TOKENS = 60
LONGEST_JOINED = MOST_TOKENS * 6 // 5
"""Soft tokens, more than are ever heard at once: a decoder is least sure at the edge of what it
practises."""
_FROM_WITHIN = 0.4
"""The part that begins within a sentence."""
_LAST_WORD = (7, 14)
"""Soft tokens that are a clip's last word, from the one on which it begins."""
_Tokens = npt.NDArray[np.float16]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stretch:
    """Soft tokens ``[T, width]`` and the words in them, by the number of the token."""

    tokens: _Tokens
    words: tuple[tuple[int, str], ...] = ()


class Joiner:
    """Joins ``clips``: those in English that the tower heard as they are written."""

    def __init__(self, clips: Sequence[Heard]) -> None:
        self._wordless = [clip.tokens for clip in clips if clip.kind == "no words"]
        self.clips = [
            clip
            for clip in clips
            if clip.kind in _KINDS and clip.spelled and _written(clip.spelled) == clip.written
        ]
        self._saying: dict[tuple[str, ...], list[Heard]] = {}
        for clip in self.clips:
            for run in set(_runs(clip.spelled)):
                self._saying.setdefault(run, []).append(clip)

    def joined(self, rng: np.random.Generator) -> Heard:
        """Clips in a row as one, cut off somewhere."""
        # The longer of two: it is in long ones that a decoder loses its place.
        most = int(rng.integers(_FEWEST_TOKENS, LONGEST_JOINED + 1, 2).max())
        stretches: list[_Stretch] = []
        while sum(len(each.tokens) for each in stretches) < most:
            clip = self._clip(rng, stretches)
            if stretches and rng.random() < _PAUSED:
                stretches.append(self._pause(rng))
            within = not stretches and rng.random() < _FROM_WITHIN
            stretches.append(_from_within(rng, clip) if within else _whole(rng, clip))
        return _cut(rng, stretches, most)

    def _clip(self, rng: np.random.Generator, before: Sequence[_Stretch]) -> Heard:
        runs = [run for each in before for run in _runs(each.words)]
        if runs and rng.random() < _AGAIN:
            return one(rng, self._saying[one(rng, runs)])
        return one(rng, self.clips)

    def _pause(self, rng: np.random.Generator) -> _Stretch:
        tokens = one(rng, self._wordless)
        begin = int(rng.integers(max(len(tokens) - _PAUSE[0], 1)))
        return _Stretch(tokens=tokens[begin : begin + int(rng.integers(*_PAUSE))])


def _whole(rng: np.random.Generator, clip: Heard) -> _Stretch:
    """All words of a clip, without the silence around them."""
    begin = max(clip.spelled[0][0] - int(rng.integers(3)), 0)
    return _stretch(rng, clip, 0, begin)


def _from_within(rng: np.random.Generator, clip: Heard) -> _Stretch:
    """From a word on, or from within the word before it, which is not told then."""
    first = int(rng.integers(len(clip.spelled)))
    begin = clip.spelled[first][0]
    if first > 0 and rng.random() < 0.5:
        begin = int(rng.integers((clip.spelled[first - 1][0] + begin) // 2, begin + 1))
    return _stretch(rng, clip, first, begin)


def _stretch(rng: np.random.Generator, clip: Heard, first: int, begin: int) -> _Stretch:
    end = clip.spelled[-1][0] + int(rng.integers(*_LAST_WORD))
    words = tuple((at - begin, word) for at, word in clip.spelled[first:])
    return _Stretch(tokens=clip.tokens[begin:end], words=words)


def _cut(rng: np.random.Generator, stretches: Sequence[_Stretch], most: int) -> Heard:
    """The stretches as a clip of about ``most`` soft tokens.

    It ends where a word begins, or within a word, which is not told then.
    """
    tokens = np.concatenate([each.tokens for each in stretches])
    begins = accumulate((len(each.tokens) for each in stretches), initial=0)
    heard = [
        (begin, begin + at, word)
        for begin, each in zip(begins, stretches, strict=False)
        for at, word in each.words
    ]
    starts = [at for _, at, _ in heard]
    told = max(bisect_right(starts, most) - 1, 1)
    end = starts[told] if told < len(starts) else len(tokens)
    following = starts[told + 1] if told + 1 < len(starts) else end
    if rng.random() < 0.5:
        end = int(rng.integers(end, max(end, (end + min(following, most)) // 2) + 1))
    # Each sentence by itself: the "twenty" of one and the "three" of the next are no number.
    sentences = groupby(heard[:told], key=itemgetter(0))
    written = " ".join(write_english([word for *_, word in part]) for _, part in sentences)
    return Heard(
        tokens=tokens[:end],
        spelled=tuple((at, word) for _, at, word in heard[:told]),
        written=written,
        english=written,
        language="en",
        kind=JOINED,
    )


def _written(spelled: Sequence[tuple[int, str]]) -> str:
    return write_english([word for _, word in spelled])


def _runs(spelled: Sequence[tuple[int, str]]) -> Iterator[tuple[str, ...]]:
    said = [word for _, word in spelled]
    return (tuple(said[at : at + _RUN]) for at in range(len(said) - _RUN + 1))
