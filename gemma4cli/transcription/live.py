"""Sound that is still being captured, in pieces or as one clip.

Three parties that do not wait for each other: the source captures, a thread cuts, and the consumer,
which is the model and slow, takes pieces when it can. Knows no terminal and no device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import numpy as np

from ..decoded import SAMPLE_RATE, AudioClip
from ..errors import MediaError
from ..media.audio import Samples
from ..media.microphone import AudioSource
from ..media.voice import FRAME_SECONDS, QUIET, SPEECH, SpeechFrame, speech_frames
from .cut import Piece

_SHORTEST_SPEECH = 0.25
"""Seconds of speech before a pause counts: a click or a cough ends nothing."""


def _never() -> bool:
    return False


class LivePieces:
    """An iterator of the pieces of what ``source`` captures, for use in a ``with`` statement.

    ``cut`` makes pieces of blocks, in a thread. ``stop_when`` is asked there behind each block,
    several times a second, until it says yes, which is as good as ``stop``. The iterator ends
    behind the last piece that was begun before the stop. What the source or ``cut`` raises is
    raised behind the pieces before it; where the source breaks off, its last piece is one of them.
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
        self._ready: SimpleQueue[Piece | None] = SimpleQueue()
        self._left = False
        self._broken: MediaError | None = None
        self._executor = ThreadPoolExecutor(1, "live-pieces")
        self._work = self._executor.submit(self._run)

    def stop(self) -> None:
        """Capture no more. Returns at once; any thread may call it, and more than once."""
        self._source.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left = True
        self.stop()
        self._executor.shutdown()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        piece = self._ready.get()
        if piece is None:
            # For whoever asks once more.
            self._ready.put(None)
            self._work.result()
            raise StopIteration
        return piece

    def _run(self) -> None:
        try:
            for piece in self._cut(self._blocks()):
                self._ready.put(piece)
            if self._broken is not None:
                raise self._broken
        finally:
            self._ready.put(None)

    def _blocks(self) -> Iterator[Samples]:
        """The source's blocks. Its failure is kept for later: the piece that is open is cut yet."""
        try:
            for block in _until(self._source, self._stop_when):
                if self._left:
                    return
                yield block
        except MediaError as error:
            self._broken = error


def record_clip(
    source: AudioSource,
    *,
    name: str,
    longest: float,
    pause: float | None = None,
    stop_when: Callable[[], bool] = _never,
    speech: Callable[[Iterator[Samples]], Iterator[SpeechFrame]] = speech_frames,
) -> AudioClip:
    """One clip of what ``source`` captures from the beginning on.

    It ends when ``stop_when``, which is asked behind each block, says yes, when somebody stops the
    source, after ``pause`` seconds in which nobody spoke, with some speech before them, or after
    ``longest`` seconds. ``speech`` finds speech. The clip is empty where nothing was captured.
    Raises what the source raises.
    """
    blocks = _first(_until(source, stop_when), round(longest * SAMPLE_RATE))
    if pause is None:
        kept = list(blocks)
    else:
        kept = [frame.samples for frame in _up_to_pause(speech(blocks), pause)]
    source.stop()
    return AudioClip(samples=np.concatenate([np.zeros(0, np.float32), *kept]), name=name)


def _until(source: AudioSource, stop_when: Callable[[], bool]) -> Iterator[Samples]:
    """The blocks of a source that is stopped when ``stop_when`` says so."""
    stopped = False
    for block in source.blocks():
        yield block
        if not stopped and stop_when():
            stopped = True
            source.stop()


def _first(blocks: Iterator[Samples], count: int) -> Iterator[Samples]:
    """Blocks that hold the first ``count`` samples."""
    for block in blocks:
        yield block[:count]
        count -= len(block)
        if count <= 0:
            return


def _up_to_pause(frames: Iterator[SpeechFrame], pause: float) -> Iterator[SpeechFrame]:
    """Frames to the end of the first pause that follows speech."""
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
