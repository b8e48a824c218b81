"""Capturing, cutting and consuming do not wait for each other, and all of them end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.errors import MicrophoneError
from gemma4cli.media.sound.audio import Samples
from gemma4cli.media.sound.microphone import Level
from gemma4cli.media.sound.voice import FRAME, SpeechFrame
from gemma4cli.transcription.cut import Piece
from gemma4cli.transcription.live import LivePieces, record_clip

BLOCK = FRAME
PIECE = 1200
PATIENCE = 30.0
"""Seconds after which a waiting test fails."""


class Source:
    """Captures ``sound`` immediately. If it is ``open`` it then waits to be stopped."""

    def __init__(
        self, sound: Samples, *, open: bool = False, error: Exception | None = None
    ) -> None:
        self.all_read = threading.Event()
        self.stops = 0
        self._sound = sound
        self._open = open
        self._error = error
        self._stopped = threading.Event()

    def blocks(self) -> Iterator[Samples]:
        for at in range(0, len(self._sound), BLOCK):
            if self._stopped.is_set():
                return
            yield self._sound[at : at + BLOCK]
        self.all_read.set()
        if self._open:
            assert self._stopped.wait(PATIENCE)
        if self._error is not None:
            raise self._error

    @property
    def level(self) -> Level:
        return Level.of(self._sound)

    def stop(self) -> None:
        self.stops += 1
        self._stopped.set()


class Backlog(Source):
    """A source that still has captured blocks when it is stopped, like a queue."""

    given = 0

    def blocks(self) -> Iterator[Samples]:
        yield ramp(PIECE)
        assert self._stopped.wait(PATIENCE)
        for _ in range(100):
            self.given += 1
            yield ramp(PIECE)


def cut(blocks: Iterator[Samples]) -> Iterator[Piece]:
    """One piece per 1200 samples, and one for the rest."""
    waiting, start = np.zeros(0, np.float32), 0
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= PIECE:
            yield piece_at(start, waiting[:PIECE])
            waiting, start = waiting[PIECE:], start + PIECE
    if len(waiting):
        yield piece_at(start, waiting)


def piece_at(start: int, samples: Samples) -> Piece:
    end = start + len(samples)
    return Piece(start=start / SAMPLE_RATE, end=end / SAMPLE_RATE, samples=samples)


def ramp(count: int) -> Samples:
    """Samples that all differ."""
    return np.arange(count, dtype=np.float32)


def joined(pieces: list[Piece]) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *(piece.samples for piece in pieces)])


def live_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("ahead")]


# Pieces


def test_pieces_come_whole_and_in_order() -> None:
    with LivePieces(Source(ramp(10_000)), cut) as pieces:
        taken = list(pieces)
    assert [len(piece.samples) for piece in taken] == [PIECE] * 8 + [400]
    assert np.array_equal(joined(taken), ramp(10_000))


def test_a_busy_consumer_delays_neither_capturing_nor_cutting() -> None:
    source = Source(ramp(100_000))
    with LivePieces(source, cut) as pieces:
        first = next(pieces)
        assert source.all_read.wait(PATIENCE)
        rest = list(pieces)
    assert np.array_equal(joined([first, *rest]), ramp(100_000))


def test_pieces_are_ready_before_the_source_ends() -> None:
    source = Source(ramp(PIECE + BLOCK), open=True)
    with LivePieces(source, cut) as pieces:
        assert len(next(pieces).samples) == PIECE
        assert source.stops == 0


def test_sound_captured_before_a_stop_is_cut() -> None:
    source = Source(ramp(2 * PIECE + 100), open=True)
    with LivePieces(source, cut) as pieces:
        first = next(pieces)
        assert source.all_read.wait(PATIENCE)
        pieces.stop()
        assert np.array_equal(joined([first, *pieces]), ramp(2 * PIECE + 100))


def test_a_stop_before_the_first_block_yields_nothing() -> None:
    source = Source(ramp(0), open=True)
    with LivePieces(source, cut) as pieces:
        pieces.stop()
        assert list(pieces) == []


def test_stopping_twice_is_harmless() -> None:
    source = Source(ramp(PIECE + 100), open=True)
    with LivePieces(source, cut) as pieces:
        next(pieces)
        pieces.stop()
        pieces.stop()
        assert len(list(pieces)) == 1


def test_capturing_ends_when_stop_when_returns_true() -> None:
    asked: list[bool] = []

    def third_time() -> bool:
        asked.append(True)
        return len(asked) == 3

    source = Source(ramp(100_000))
    with LivePieces(source, cut, stop_when=third_time) as pieces:
        assert np.array_equal(joined(list(pieces)), ramp(3 * BLOCK))
    assert len(asked) == 3


def test_the_backlog_of_a_stopped_source_is_cut_without_calling_stop_when_again() -> None:
    asked: list[bool] = []

    def at_once() -> bool:
        asked.append(True)
        return True

    with LivePieces(Backlog(ramp(0)), cut, stop_when=at_once) as pieces:
        assert len(list(pieces)) == 101
    assert len(asked) == 1


def test_an_iterator_that_has_ended_stays_ended() -> None:
    with LivePieces(Source(ramp(100)), cut) as pieces:
        assert len(list(pieces)) == 1
        assert list(pieces) == []


# Failures


def test_a_source_that_breaks_off_still_yields_its_last_piece() -> None:
    source = Source(ramp(PIECE + 100), error=MicrophoneError("unplugged"))
    with LivePieces(source, cut) as pieces:
        taken = [next(pieces), next(pieces)]
        with pytest.raises(MicrophoneError, match="unplugged"):
            next(pieces)
    assert np.array_equal(joined(taken), ramp(PIECE + 100))


def test_a_failure_is_raised_every_time() -> None:
    with LivePieces(Source(ramp(0), error=MicrophoneError("unplugged")), cut) as pieces:
        for _ in range(2):
            with pytest.raises(MicrophoneError, match="unplugged"):
                next(pieces)


def test_an_error_in_cutting_is_raised_after_the_pieces_before_it() -> None:
    def cut_one(blocks: Iterator[Samples]) -> Iterator[Piece]:
        yield piece_at(0, next(blocks))
        raise ZeroDivisionError

    with LivePieces(Source(ramp(1000)), cut_one) as pieces:
        assert len(next(pieces).samples) == BLOCK
        with pytest.raises(ZeroDivisionError):
            next(pieces)


# Leaving


def test_leaving_early_stops_the_source_and_ends_the_thread() -> None:
    source = Source(ramp(100_000), open=True)
    with LivePieces(source, cut) as pieces:
        next(pieces)
        assert live_threads()
    assert source.stops
    assert not live_threads()


def test_leaving_early_discards_the_backlog() -> None:
    source = Backlog(ramp(0))
    with LivePieces(source, cut) as pieces:
        next(pieces)
    assert source.given == 1


def test_leaving_by_an_error_ends_the_thread() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        LivePieces(Source(ramp(PIECE), open=True), cut) as pieces,
    ):
        for _ in pieces:
            raise ZeroDivisionError
    assert not live_threads()


def test_leaving_without_iterating_ends_the_thread() -> None:
    with LivePieces(Source(ramp(100_000), open=True), cut) as pieces:
        assert isinstance(pieces.is_waiting, bool)
        assert live_threads()
    assert not live_threads()


def test_no_thread_runs_before_the_with_statement_that_ends_it() -> None:
    """What interrupts the program between the two would leave it behind."""
    with LivePieces(Source(ramp(100), open=True), cut):
        assert not live_threads()


# One clip


def said(*probabilities: float) -> Samples:
    """One frame per probability of speech; its samples are the probability."""
    return np.repeat(np.array(probabilities, np.float32), FRAME)


def by_value(blocks: Iterator[Samples]) -> Iterator[SpeechFrame]:
    """Takes the first sample of each block as its probability of speech."""
    for block in blocks:
        yield SpeechFrame(samples=block, probability=float(block[0]))


def never() -> bool:
    return False


def clip_of(
    source: Source,
    *,
    longest: float = 30.0,
    pause: float | None = None,
    stop_when: Callable[[], bool] = never,
) -> Samples:
    clip = record_clip(
        source,
        name="microphone",
        longest=longest,
        pause=pause,
        stop_when=stop_when,
        speech=by_value,
    )
    assert clip.name == "microphone"
    return clip.samples


def test_a_clip_ends_with_its_source() -> None:
    assert np.array_equal(clip_of(Source(ramp(5000))), ramp(5000))


def test_a_clip_ends_when_stop_when_returns_true() -> None:
    answers = iter([False, True])
    source = Source(ramp(100_000))
    assert np.array_equal(clip_of(source, stop_when=lambda: next(answers)), ramp(2 * BLOCK))


def test_a_clip_of_nothing_is_empty() -> None:
    assert clip_of(Source(ramp(0))).shape == (0,)


def test_a_clip_has_a_maximum_length() -> None:
    source = Source(ramp(100_000), open=True)
    assert np.array_equal(clip_of(source, longest=1.5), ramp(24_000))
    assert source.stops


def test_a_clip_ends_at_a_pause_after_speech() -> None:
    sound = said(*[0.0] * 40, *[0.9] * 20, *[0.1] * 40, *[0.9] * 20)
    source = Source(sound)
    ended = len(clip_of(source, pause=0.5)) / FRAME
    assert ended == 40 + 20 + 16
    assert source.stops


def test_a_short_pause_does_not_end_a_clip() -> None:
    sound = said(*([0.9] * 10 + [0.1] * 15) * 4)
    assert len(clip_of(Source(sound), pause=0.5)) == len(sound)


def test_only_a_pause_after_certain_speech_ends_a_clip() -> None:
    sounds = {
        "silence": said(*[0.0] * 100),
        "click": said(*[0.0] * 10, *[0.9] * 3, *[0.0] * 100),
        "uncertain pause": said(*[0.9] * 20, *[0.4] * 100),
        "uncertain speech": said(*[0.4] * 20, *[0.0] * 100),
    }
    cut_short = [
        name
        for name, sound in sounds.items()
        if len(clip_of(Source(sound), pause=0.5)) < len(sound)
    ]
    assert cut_short == []


def test_a_clip_can_be_ended_before_a_pause() -> None:
    answers = iter([False, True])
    source = Source(said(*[0.9] * 100))
    assert len(clip_of(source, pause=0.5, stop_when=lambda: next(answers))) == 2 * BLOCK


def test_a_clip_of_a_source_that_breaks_off_is_an_error() -> None:
    with pytest.raises(MicrophoneError, match="unplugged"):
        clip_of(Source(ramp(100), error=MicrophoneError("unplugged")))
