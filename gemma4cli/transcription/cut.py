"""Recordings cut into pieces that a model can hear, at pauses wherever there are any.

Everything is counted in samples from the recording's start. No more is held than one piece and
the pause behind it, whatever the recording's length. Knows no model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..decoded import SAMPLE_RATE
from ..media.audio import Samples
from ..media.voice import FRAME, QUIET, SPEECH, SpeechFrame, speech_frames

_LATE = 1 / 2
"""The share of a piece behind which a pause is a good place to cut, however short it is."""
_FORCED = 8 / 15, 4 / 5
"""Where it is cut if there is no pause, as shares of a piece. Speech that fits is heard whole;
where it has to be cut, full length is avoided: the built-in model loses its place there."""
_WINDOW = 3 * FRAME
"""Samples whose loudness says how quiet a place is; 96 ms, longer than most sounds of a word."""
_CERTAINTY = 10.0
"""Decibels that full certainty of speech counts for in the search of a quiet place."""
_FAINTEST = 1e-10
"""Power below which all is equally quiet: -100 dB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How a recording is cut."""

    longest: float = 30.0
    """Seconds that no piece exceeds: what the model hears at once."""

    longest_pause: float = 2.0
    """Seconds of silence that a piece may hold; where it says nothing, a model makes things up.
    A piece is ready when the pause behind it has lasted so long."""

    shortest_pause: float = 0.2
    """Seconds of silence that are no pause: the stop in a "t" is shorter."""

    shortest_speech: float = 0.2
    """Seconds of speech that are none: a click."""

    padding: float = 0.3
    """Seconds of sound before and behind speech that belong to it, half of a pause at most: the
    beginning of an "s" and the end of a word are fainter than what is found for certain."""

    overlap: float = 2.0
    """Seconds, a quarter more or less, that two pieces share where speech has no pause: some words
    that both hear whole, by which they are joined. At most a quarter of the longest piece."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """A stretch of speech with its padding: samples float32 ``[n]``, from ``start`` to ``end`` in
    seconds of the recording, and silence behind them where the recording has no padding left.

    The piece before has its first ``overlap`` seconds, too; 0 behind a pause. ``continued`` says
    that it is cut within speech, and that the piece behind it overlaps.
    """

    start: float
    end: float
    samples: Samples
    overlap: float = 0.0
    continued: bool = False


def cut(blocks: Iterable[Samples], limits: Limits) -> Iterator[Piece]:
    """The speech in ``blocks``, mono float32 ``[n]`` in [-1, 1] at 16 kHz, as pieces in order.

    A piece is yielded as soon as nothing more can belong to it. Silence and noise yield nothing.
    """
    return cut_frames(speech_frames(blocks), limits)


def cut_frames(frames: Iterable[SpeechFrame], limits: Limits) -> Iterator[Piece]:
    """As ``cut``, for sound in which speech has been found already."""
    cutter = _Cutter(limits)
    for frame in frames:
        yield from cutter.add(frame)
    yield from cutter.finish()


@dataclass(slots=True)
class _Region:
    """Speech without a pause, from ``start`` to ``end``."""

    start: int
    end: int


class _Cutter:
    """Finds regions of speech, and makes one piece of those that fit into one.

    ``_regions`` are those that are in no piece yet; the last may still be growing. ``_onset`` is
    where the speech that is going on began, and ``_voiced`` where its last frame ended; it is a
    region once it is long enough. Pieces end at ``_end`` so far, and the next begins at ``_floor``
    at the earliest.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = int(limits.longest * SAMPLE_RATE)
        self._longest_pause = round(limits.longest_pause * SAMPLE_RATE)
        self._shortest_pause = round(limits.shortest_pause * SAMPLE_RATE)
        self._shortest_speech = round(limits.shortest_speech * SAMPLE_RATE)
        self._padding = round(limits.padding * SAMPLE_RATE)
        self._overlap = min(round(limits.overlap * SAMPLE_RATE), self._longest // 4)
        self._tape = _Tape()
        self._regions: list[_Region] = []
        self._onset: int | None = None
        self._voiced = 0
        self._floor = 0
        self._end = 0

    def add(self, frame: SpeechFrame) -> Iterator[Piece]:
        """The pieces that this frame completes."""
        self._tape.add(frame)
        self._hear(frame.probability)
        while not self._fits():
            alone = len(self._regions) == 1
            yield self._forced() if alone else self._packed(self._best_pause())
        if self._regions and self._onset is None and self._silence() > self._longest_pause:
            yield self._packed(len(self._regions))
        self._tape.forget(self._needed())

    def finish(self) -> Iterator[Piece]:
        """The last piece, where there is speech left.

        Silence stands in for padding that the recording has no longer: an audio tower sees nothing
        ahead, and knows a word only when some sound has come behind it.
        """
        if self._regions:
            missing = self._regions[-1].end + self._padding - self._tape.end
            last = self._packed(len(self._regions))
            room = self._longest - len(last.samples)
            rest = np.zeros(max(0, min(missing, room)), np.float32)
            yield replace(last, samples=np.concatenate([last.samples, rest]))

    def _hear(self, probability: float) -> None:
        """Take note of what the last frame of the tape is."""
        begin, end = self._tape.last, self._tape.end
        if self._onset is None and probability >= SPEECH:
            self._onset, self._voiced = begin, end
        elif self._onset is not None and probability >= QUIET:
            self._voiced = end
        elif self._onset is not None and end - self._voiced >= self._shortest_pause:
            self._onset = None
        if self._onset is None or self._voiced - self._onset < self._shortest_speech:
            return
        if self._regions and self._regions[-1].start == self._onset:
            self._regions[-1].end = self._voiced
        else:
            self._regions.append(_Region(self._onset, self._voiced))

    def _begin(self) -> int:
        """Where the first region begins with its padding."""
        return max(self._regions[0].start - self._padding, self._floor)

    def _silence(self) -> int:
        """How long nobody has spoken."""
        return self._tape.end - self._regions[-1].end

    def _fits(self) -> bool:
        """Whether one piece can take all regions."""
        if not self._regions:
            return True
        first, last = self._regions[0], self._regions[-1]
        if first is last:
            # Padding is left out before speech is cut.
            return last.end - first.start <= self._longest
        return last.end + self._padding - self._begin() <= self._longest

    def _best_pause(self) -> int:
        """How many regions stand before the longest pause, a late one if there is any."""
        late = self._begin() + self._longest * _LATE
        pauses = [
            (before.end >= late, after.start - before.end, number)
            for number, (before, after) in enumerate(pairwise(self._regions), 1)
        ]
        return max(pauses)[-1]

    def _packed(self, count: int) -> Piece:
        """The first ``count`` regions as a piece."""
        last, rest = self._regions[count - 1], self._regions[count:]
        bound = (last.end + rest[0].start) // 2 if rest else self._tape.end
        start = max(self._begin(), last.end - self._longest)
        end = min(last.end + self._padding, start + self._longest, bound)
        self._regions = rest
        return self._piece(start, end, next_start=end)

    def _forced(self) -> Piece:
        """The beginning of the first region, which has no pause, as a piece."""
        region = self._regions[0]
        start = self._begin()
        early, late = (start + round(self._longest * share) for share in _FORCED)
        end = self._tape.quietest(early, late)
        slack = self._overlap // 4
        again = self._tape.quietest(end - self._overlap - slack, end - self._overlap + slack)
        region.start = self._onset = again
        return self._piece(start, end, next_start=again)

    def _piece(self, start: int, end: int, *, next_start: int) -> Piece:
        overlap = max(self._end - start, 0)
        self._floor, self._end = next_start, end
        return Piece(
            start=start / SAMPLE_RATE,
            end=end / SAMPLE_RATE,
            samples=self._tape.between(start, end),
            overlap=overlap / SAMPLE_RATE,
            continued=next_start < end,
        )

    def _needed(self) -> int:
        """The first sample that a piece may still begin with."""
        if self._regions:
            return self._begin()
        speech = self._tape.end if self._onset is None else self._onset
        return max(speech - self._padding, self._floor)


class _Tape:
    """The frames that are still needed, up to ``end``; the last of them begins at ``last``."""

    def __init__(self) -> None:
        self._frames: deque[SpeechFrame] = deque()
        self._first = 0
        self.last = 0
        self.end = 0

    def add(self, frame: SpeechFrame) -> None:
        self._frames.append(frame)
        self.last = self.end
        self.end += len(frame.samples)

    def forget(self, before: int) -> None:
        """Let go of the frames that end before this sample."""
        while self._frames and self._first + len(self._frames[0].samples) <= before:
            self._first += len(self._frames.popleft().samples)

    def between(self, start: int, stop: int) -> Samples:
        """The samples ``[stop - start]``, in an array of their own."""
        whole = np.concatenate([frame.samples for frame in self._frames])
        return whole[start - self._first : stop - self._first].copy()

    def quietest(self, start: int, stop: int) -> int:
        """The middle of the quietest window between ``start`` and ``stop``.

        Quiet is what has little power, and is not quite certain to be speech.
        """
        window = min(_WINDOW, stop - start)
        power = _means(np.square(self.between(start, stop), dtype=np.float64), window)
        certainty = _means(self._probabilities(start, stop), window)
        loudness = 10 * np.log10(np.maximum(power, _FAINTEST)) + _CERTAINTY * certainty
        return start + int(np.argmin(loudness)) + window // 2

    def _probabilities(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """How likely each sample is speech, ``[stop - start]``."""
        lengths = [len(frame.samples) for frame in self._frames]
        each = np.repeat([frame.probability for frame in self._frames], lengths)
        return each[start - self._first : stop - self._first]


def _means(values: npt.NDArray[np.float64], window: int) -> npt.NDArray[np.float64]:
    """The mean of each run of ``window`` values: ``[n]`` to ``[n - window + 1]``."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means: npt.NDArray[np.float64] = (sums[window:] - sums[:-window]) / window
    return means
