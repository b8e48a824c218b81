"""Sound that is still being captured: in pieces, as a recording of them, or as one clip.

Capturing, cutting and consuming do not wait for each other: the source captures, a thread cuts,
and the consumer, the slow model, takes pieces when it is ready. Knows no terminal and no device.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import numpy as np

from ..decoded import SAMPLE_RATE, AudioClip, Samples
from ..errors import MediaError
from ..media.sound.microphone import AudioSource
from ..media.sound.voice import FRAME_SECONDS, QUIET, SPEECH, SpeechFrame, speech_frames
from .ahead import Ahead
from .cut import Limits, Piece, cut

_PAUSE = 0.8
"""Seconds of silence after which live speech is transcribed."""

_SHORTEST_SPEECH = 0.25
"""Seconds of speech after which a pause counts: a click or a cough does not end a clip."""


def _never() -> bool:
    return False


class LivePieces(Ahead[Piece]):
    """An iterator over the pieces that ``source`` captures, for use in a ``with`` statement.

    ``cut`` turns blocks into pieces, in a thread. ``stop_when`` is called there after each block,
    several times a second, until it returns True, which has the effect of ``stop``. The iterator
    ends after the last piece that was begun before the stop. Errors of the source or of ``cut``
    are raised after the pieces before them; a source that breaks off still yields its last piece.
    """

    def __init__(
        self,
        source: AudioSource,
        cut: Callable[[Iterator[Samples]], Iterator[Piece]],
        *,
        stop_when: Callable[[], bool] = _never,
    ) -> None:
        self._source = source
        self._cut = cut
        self._stop_when = stop_when
        self._broken: MediaError | None = None
        super().__init__(self._pieces, source.stop)

    def stop(self) -> None:
        """Stop capturing. Returns immediately; any thread may call it, any number of times."""
        self._source.stop()

    def _pieces(self) -> Generator[Piece, None, None]:
        yield from self._cut(self._blocks())
        if self._broken is not None:
            raise self._broken

    def _blocks(self) -> Iterator[Samples]:
        """The source's blocks. Its failure is raised later, after the last piece is cut."""
        try:
            for block in _until(self._source, self._stop_when):
                if self.left:
                    return
                yield block
        except MediaError as error:
            self._broken = error


class LiveRecording:
    """Sound that ``source`` is capturing, as a recording that is transcribed at each pause.

    The recording ends when the source is stopped or breaks off, for which ``broken`` then gives
    the reason. Sound captured before that is transcribed either way.
    """

    file = None
    live = True
    seconds = None

    def __init__(self, source: AudioSource) -> None:
        self.broken: MediaError | None = None
        self._source = source
        self._samples = 0

    def pieces(self, limits: Limits) -> Iterator[Piece]:
        prompt = replace(limits, longest_pause=min(limits.longest_pause, _PAUSE))
        with LivePieces(self._source, lambda blocks: cut(self._counted(blocks), prompt)) as pieces:
            try:
                yield from pieces
            except MediaError as error:
                self.broken = error

    def position(self) -> float:
        return self._samples / SAMPLE_RATE

    def _counted(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        for block in blocks:
            self._samples += len(block)
            yield block


def record_clip(
    source: AudioSource,
    *,
    name: str,
    longest: float,
    pause: float | None = None,
    stop_when: Callable[[], bool] = _never,
    speech: Callable[[Iterator[Samples]], Iterator[SpeechFrame]] = speech_frames,
) -> AudioClip:
    """Record one clip from the start of ``source``.

    It ends when ``stop_when``, called after each block, returns True, when the source is stopped,
    after ``pause`` seconds of silence that follow speech, or after ``longest`` seconds. ``speech``
    detects speech. The clip is empty if nothing was captured. Raises what the source raises.
    """
    blocks = _first(_until(source, stop_when), round(longest * SAMPLE_RATE))
    if pause is None:
        kept = list(blocks)
    else:
        kept = [frame.samples for frame in _up_to_pause(speech(blocks), pause)]
    source.stop()
    return AudioClip(samples=np.concatenate([np.zeros(0, np.float32), *kept]), name=name)


def _until(source: AudioSource, stop_when: Callable[[], bool]) -> Iterator[Samples]:
    """The blocks of a source, which is stopped once ``stop_when`` returns True."""
    stopped = False
    for block in source.blocks():
        yield block
        if not stopped and stop_when():
            stopped = True
            source.stop()


def _first(blocks: Iterator[Samples], count: int) -> Iterator[Samples]:
    """Blocks with the first ``count`` samples."""
    for block in blocks:
        yield block[:count]
        count -= len(block)
        if count <= 0:
            return


def _up_to_pause(frames: Iterator[SpeechFrame], pause: float) -> Iterator[SpeechFrame]:
    """Frames up to the end of the first pause that follows speech."""
    speaking = False
    spoken = quiet = 0.0
    for frame in frames:
        yield frame
        speaking = frame.probability >= (QUIET if speaking else SPEECH)
        if speaking:
            spoken, quiet = spoken + FRAME_SECONDS, 0.0
        else:
            quiet += FRAME_SECONDS
        if spoken >= _SHORTEST_SPEECH and quiet >= pause:
            return
