"""Recordings cut into pieces that a model takes at once, at pauses wherever there are any.

Positions are samples from the start of the recording. At most one piece of each channel and the
pause after it are held, whatever the recording's length. Knows no model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..decoded import SAMPLE_RATE, Samples
from ..media.sound.sound_blocks import SoundBlock
from ..media.sound.voice import FRAME, QUIET, SPEECH, SpeechDetector, SpeechFrame, speech_frames

_LATE = 1 / 2
"""The share of the longest piece after which any pause is a good cut, however short."""
_FORCED = 8 / 15, 4 / 5
"""Where speech without a pause is cut, as shares of the longest piece. Speech that fits is never
cut; if it must be, pieces of full length are avoided, in which the built-in model skips words."""
_WINDOW = 3 * FRAME
"""Samples over which loudness is averaged: 96 ms, longer than most sounds of a word."""
_CERTAINTY_DECIBELS = 10.0
"""Decibels that certain speech adds to its loudness in the search for a quiet cut."""
_FAINTEST = 1e-10
"""Power below which everything is equally quiet: -100 dB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How a recording is cut."""

    longest: float = 30.0
    """Seconds that no piece exceeds: what the model takes at once."""

    longest_pause: float = 2.0
    """Longer silences are in no piece, because models hallucinate text for silence. A piece is
    ready when the pause after it has lasted this long (in seconds)."""

    shortest_pause: float = 0.2
    """Silences shorter than this are not pauses (a plosive's closure is shorter); in seconds."""

    shortest_speech: float = 0.2
    """Speech shorter than this is treated as a click; in seconds."""

    padding: float = 0.3
    """Seconds of sound kept before and after speech, at most half of a pause: the start of an "s"
    and the end of a word are too faint to be detected as speech."""

    overlap: float = 2.0
    """Seconds (within a quarter) that two pieces share if speech between them has no pause, so
    that both contain a few whole words by which their texts are aligned. At most a quarter of
    ``longest``."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """A stretch of speech with its padding, from ``start`` to ``end`` seconds of the recording.

    ``samples`` are float32 ``[n]`` at 16 kHz, followed by silence if the recording ends before the
    padding does. The previous piece contains its first ``overlap`` seconds as well; 0 after a
    pause. ``continued`` means that it is cut within speech, so the next piece overlaps it. Pieces
    of a recording whose channels are kept apart have a ``channel``, counted from 1.
    """

    start: float
    end: float
    samples: Samples
    overlap: float = 0.0
    continued: bool = False
    channel: int | None = None


def cut(blocks: Iterable[Samples], limits: Limits) -> Iterator[Piece]:
    """The speech in ``blocks``, mono float32 ``[n]`` in [-1, 1] at 16 kHz, as pieces in order.

    A piece is yielded as soon as it is complete. Silence and noise yield nothing.
    """
    return cut_frames(speech_frames(blocks), limits)


def cut_frames(frames: Iterable[SpeechFrame], limits: Limits) -> Iterator[Piece]:
    """As ``cut``, for sound in which speech was detected already."""
    cutter = _Cutter(limits)
    for frame in frames:
        yield from cutter.add(frame)
    yield from cutter.finish()


def cut_sound(blocks: Iterable[SoundBlock], limits: Limits) -> Iterator[Piece]:
    """As ``cut``, for sound with pauses that are not in the samples, and with several channels.

    Each channel is cut for itself; the pieces of all come in the order of their starts.
    """
    stretch: _Stretch | None = None
    for block in blocks:
        if not block.samples.shape[1]:
            if stretch is not None:
                yield from stretch.finish()
            stretch = None
            continue
        if stretch is None or not stretch.goes_on_with(block):
            if stretch is not None:
                yield from stretch.finish()
            stretch = _Stretch(block, limits)
        yield from stretch.add(block)
    if stretch is not None:
        yield from stretch.finish()


class _Stretch:
    """Sound without a gap in which the number of channels does not change.

    A piece is held until no channel can have one that starts earlier.
    """

    def __init__(self, first: SoundBlock, limits: Limits) -> None:
        self._start = self._end = first.at
        self._channels = [(SpeechDetector(), _Cutter(limits)) for _ in first.samples]
        self._held: list[Piece] = []

    def goes_on_with(self, block: SoundBlock) -> bool:
        return block.at == self._end and len(block.samples) == len(self._channels)

    def add(self, block: SoundBlock) -> Iterator[Piece]:
        self._end = block.at + block.samples.shape[1]
        for index, (detector, cutter) in enumerate(self._channels):
            for frame in detector.add(block.samples[index]):
                yield from self._hold(index, cutter.add(frame))
        earliest = min(cutter.earliest for _, cutter in self._channels)
        while self._held and round(self._held[0].start * SAMPLE_RATE) <= self._start + earliest:
            yield self._held.pop(0)

    def finish(self) -> Iterator[Piece]:
        for index, (detector, cutter) in enumerate(self._channels):
            for frame in detector.finish():
                yield from self._hold(index, cutter.add(frame))
            yield from self._hold(index, cutter.finish())
        yield from self._held
        self._held = []

    def _hold(self, index: int, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The pieces at their time in the recording: at once if there is a single channel."""
        for piece in pieces:
            start, end = (
                (round(seconds * SAMPLE_RATE) + self._start) / SAMPLE_RATE
                for seconds in (piece.start, piece.end)
            )
            placed = replace(piece, start=start, end=end)
            if len(self._channels) == 1:
                yield placed
            else:
                self._held.append(replace(placed, channel=index + 1))
        self._held.sort(key=lambda piece: (piece.start, piece.channel))


@dataclass(slots=True)
class _Region:
    """Speech without a pause, from ``start`` to ``end``."""

    start: int
    end: int


class _Cutter:
    """Finds regions of speech, and packs those that fit into one piece.

    ``_regions`` are in no piece yet; the last one may still be growing. ``_onset`` is where the
    current speech began (None in silence) and ``_voiced`` where its last frame ended; it becomes
    a region once it is long enough. The last piece ended at ``_end``, and the next one starts at
    ``_floor`` at the earliest.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = int(limits.longest * SAMPLE_RATE)
        self._longest_pause = round(limits.longest_pause * SAMPLE_RATE)
        self._shortest_pause = round(limits.shortest_pause * SAMPLE_RATE)
        self._shortest_speech = round(limits.shortest_speech * SAMPLE_RATE)
        self._padding = round(limits.padding * SAMPLE_RATE)
        self._overlap = min(round(limits.overlap * SAMPLE_RATE), self._longest // 4)
        self._buffer = _Buffer()
        self._regions: list[_Region] = []
        self._onset: int | None = None
        self._voiced = 0
        self._floor = 0
        self._end = 0

    def add(self, frame: SpeechFrame) -> Iterator[Piece]:
        """Add a frame; yields the pieces it completes."""
        self._buffer.add(frame)
        self._detect(frame.probability)
        while not self._fits():
            if len(self._regions) == 1:
                yield self._cut_region()
            else:
                yield self._pack(self._best_pause())
        if self._regions and self._onset is None and self._silence() > self._longest_pause:
            yield self._pack(len(self._regions))
        self._buffer.forget(self.earliest)

    def finish(self) -> Iterator[Piece]:
        """The last piece, if speech is left.

        Silence replaces the padding that the recording lacks: the audio tower is causal, and
        recognizes a word only after a moment of sound that follows it.
        """
        if self._regions:
            missing = self._regions[-1].end + self._padding - self._buffer.end
            last = self._pack(len(self._regions))
            left = self._longest - len(last.samples)
            silence = np.zeros(max(0, min(missing, left)), np.float32)
            yield replace(last, samples=np.concatenate([last.samples, silence]))

    @property
    def earliest(self) -> int:
        """The first sample that a future piece may start with."""
        if self._regions:
            return self._start()
        speech = self._buffer.end if self._onset is None else self._onset
        return max(speech - self._padding, self._floor)

    def _detect(self, probability: float) -> None:
        """Update onset and regions with the last frame."""
        begin, end = self._buffer.last, self._buffer.end
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

    def _start(self) -> int:
        """The first sample of the next piece: the first region with its padding."""
        return max(self._regions[0].start - self._padding, self._floor)

    def _silence(self) -> int:
        """Samples since the end of the last region."""
        return self._buffer.end - self._regions[-1].end

    def _fits(self) -> bool:
        """Whether all regions fit into one piece."""
        if not self._regions:
            return True
        first, last = self._regions[0], self._regions[-1]
        if first is last:
            # Padding is dropped before speech is cut.
            return last.end - first.start <= self._longest
        return last.end + self._padding - self._start() <= self._longest

    def _best_pause(self) -> int:
        """The number of regions before the longest late pause, or before the longest one."""
        late = self._start() + self._longest * _LATE
        pauses = [
            (before.end >= late, after.start - before.end, number)
            for number, (before, after) in enumerate(pairwise(self._regions), 1)
        ]
        return max(pauses)[-1]

    def _pack(self, count: int) -> Piece:
        """Take the first ``count`` regions as a piece."""
        last, rest = self._regions[count - 1], self._regions[count:]
        bound = (last.end + rest[0].start) // 2 if rest else self._buffer.end
        start = max(self._start(), last.end - self._longest)
        end = min(last.end + self._padding, start + self._longest, bound)
        self._regions = rest
        return self._piece(start, end, next_start=end)

    def _cut_region(self) -> Piece:
        """Take the beginning of the first region, which has no pause, as a piece."""
        region = self._regions[0]
        start = self._start()
        early, late = (start + round(self._longest * share) for share in _FORCED)
        end = self._buffer.quietest(early, late)
        slack = self._overlap // 4
        resumed = self._buffer.quietest(end - self._overlap - slack, end - self._overlap + slack)
        region.start = self._onset = resumed
        return self._piece(start, end, next_start=resumed)

    def _piece(self, start: int, end: int, *, next_start: int) -> Piece:
        overlap = max(self._end - start, 0)
        self._floor, self._end = next_start, end
        return Piece(
            start=start / SAMPLE_RATE,
            end=end / SAMPLE_RATE,
            samples=self._buffer.samples(start, end),
            overlap=overlap / SAMPLE_RATE,
            continued=next_start < end,
        )


class _Buffer:
    """The frames that are still needed, up to ``end``; the last one starts at ``last``."""

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
        """Drop the frames that end before this sample."""
        while self._frames and self._first + len(self._frames[0].samples) <= before:
            self._first += len(self._frames.popleft().samples)

    def samples(self, start: int, stop: int) -> Samples:
        """A copy of the samples, ``[stop - start]``."""
        whole = np.concatenate([frame.samples for frame in self._frames])
        return whole[start - self._first : stop - self._first].copy()

    def quietest(self, start: int, stop: int) -> int:
        """The middle of the quietest window between ``start`` and ``stop``.

        Quiet means little power and a low probability of speech.
        """
        window = min(_WINDOW, stop - start)
        power = _means(np.square(self.samples(start, stop), dtype=np.float64), window)
        certainty = _means(self._probabilities(start, stop), window)
        loudness = 10 * np.log10(np.maximum(power, _FAINTEST)) + _CERTAINTY_DECIBELS * certainty
        return start + int(np.argmin(loudness)) + window // 2

    def _probabilities(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """The probability of speech of each sample, ``[stop - start]``."""
        lengths = [len(frame.samples) for frame in self._frames]
        each = np.repeat([frame.probability for frame in self._frames], lengths)
        return each[start - self._first : stop - self._first]


def _means(values: npt.NDArray[np.float64], window: int) -> npt.NDArray[np.float64]:
    """The mean of each run of ``window`` values: ``[n]`` to ``[n - window + 1]``."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    means: npt.NDArray[np.float64] = (sums[window:] - sums[:-window]) / window
    return means
