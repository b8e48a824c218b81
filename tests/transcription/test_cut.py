"""Recordings are cut at pauses, no speech is lost, and no piece is too long.

Most tests define where speech is. Their samples count up, so that a piece shows which part of the
recording it holds.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.spoken import needs_espeak, noise, say, silence

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.media.sound.audio import Samples
from gemma4cli.media.sound.voice import FRAME, SpeechFrame, speech_frames
from gemma4cli.transcription.cut import Limits, Piece, cut, cut_frames

FRAME_SECONDS = FRAME / SAMPLE_RATE
LIMITS = Limits(longest=10.0, overlap=1.0)

Span = tuple[float, float]


def frames_of(samples: Samples, speech: Iterable[Span], *, doubt: float = 0.0) -> list[SpeechFrame]:
    """Frames that are certainly speech within the spans; elsewhere with probability ``doubt``."""
    starts = np.arange(0, len(samples), FRAME)
    found = np.full(len(starts), doubt)
    for start, stop in speech:
        found[(starts >= start * SAMPLE_RATE) & (starts < stop * SAMPLE_RATE)] = 1.0
    return [
        SpeechFrame(samples=samples[at : at + FRAME], probability=float(probability))
        for at, probability in zip(starts, found, strict=True)
    ]


def counting(seconds: float) -> Samples:
    return np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32)


def pieces_of(seconds: float, *speech: Span, limits: Limits = LIMITS) -> list[Piece]:
    return list(cut_frames(frames_of(counting(seconds), speech), limits))


def spans(pieces: Iterable[Piece]) -> list[Span]:
    return [(piece.start, piece.end) for piece in pieces]


def close(*expected: Span) -> object:
    """Equal to the expected spans within a frame."""
    return [pytest.approx(span, abs=FRAME_SECONDS) for span in expected]


# Speech and silence


def test_silence_yields_nothing() -> None:
    assert [pieces_of(seconds) for seconds in (0, 0.001, 0.032, 5)] == [[]] * 4


def test_speech_is_a_piece_with_padding() -> None:
    assert spans(pieces_of(9, (2, 5))) == close((1.7, 5.3))


def test_a_piece_has_the_samples_of_its_times() -> None:
    for piece in pieces_of(30, (1, 5), (9, 25)):
        expected = np.arange(round(piece.start * SAMPLE_RATE), round(piece.end * SAMPLE_RATE))
        np.testing.assert_array_equal(piece.samples, expected.astype(np.float32))


@pytest.mark.parametrize("after", [0.0, 0.064, 0.16])
def test_silence_replaces_padding_that_the_recording_lacks(after: float) -> None:
    (piece,) = pieces_of(5 + after, (2, 5))
    assert spans([piece]) == close((1.7, 5 + after))
    sound, silence = np.split(piece.samples, [round((piece.end - piece.start) * SAMPLE_RATE)])
    np.testing.assert_array_equal(sound, counting(5 + after)[-len(sound) :])
    assert len(silence) / SAMPLE_RATE == pytest.approx(0.3 - after, abs=FRAME_SECONDS)
    assert not silence.any()


def test_silence_never_makes_a_piece_too_long() -> None:
    (piece,) = pieces_of(9.9, (0, 9.9))
    assert len(piece.samples) == 10 * SAMPLE_RATE
    assert piece.end == pytest.approx(9.9)


def test_a_click_is_not_speech() -> None:
    assert pieces_of(9, (2, 2.15), (4, 4.15)) == []


def test_uncertain_frames_do_not_start_speech() -> None:
    assert list(cut_frames(frames_of(counting(5), [], doubt=0.45), LIMITS)) == []


def test_uncertain_frames_do_not_end_speech() -> None:
    frames = frames_of(counting(5), [(1, 2)], doubt=0.45)
    assert spans(cut_frames(frames, LIMITS)) == close((0.7, 5))


def test_a_plosive_is_not_a_pause() -> None:
    """Each half of the word is too short to be speech by itself."""
    limits = Limits(longest=10, shortest_speech=0.3)
    assert pieces_of(5, (1, 1.2), (1.5, 1.7), limits=limits) == []
    assert spans(pieces_of(5, (1, 1.2), (1.35, 1.55), limits=limits)) == close((0.7, 1.85))


@pytest.mark.parametrize("speech", [(0, 5), (0, 2), (3, 5)])
def test_a_recording_may_begin_and_end_within_speech(speech: Span) -> None:
    start, end = speech
    assert spans(pieces_of(5, speech)) == close((max(start - 0.3, 0), min(end + 0.3, 5)))


def test_the_last_frame_may_be_short() -> None:
    (piece,) = pieces_of(2.01, (1, 3))
    assert piece.end == 2.01


def test_a_recording_may_be_shorter_than_a_frame() -> None:
    assert list(cut([np.full(100, 0.1, np.float32)], LIMITS)) == []


# Packing


def test_speech_with_short_pauses_is_one_piece() -> None:
    assert spans(pieces_of(12, (1, 3), (4.5, 6), (7, 9))) == close((0.7, 9.3))


def test_a_long_pause_separates_pieces() -> None:
    assert spans(pieces_of(12, (1, 3), (5.5, 7))) == close((0.7, 3.3), (5.2, 7.3))


def test_the_longest_pause_is_configurable() -> None:
    limits = Limits(longest=10, longest_pause=1.0)
    assert spans(pieces_of(12, (1, 3), (4.5, 6), limits=limits)) == close((0.7, 3.3), (4.2, 6.3))


def test_the_longest_late_pause_is_cut() -> None:
    """Not the early one, which is longer, and not the last one."""
    pieces = pieces_of(20, (1, 2), (4, 7), (8, 9), (9.5, 12))
    assert spans(pieces) == close((0.7, 7.3), (7.7, 12.3))


def test_an_early_pause_is_better_than_none() -> None:
    pieces = pieces_of(20, (1, 2), (3, 12))
    assert spans(pieces) == close((0.7, 2.3), (2.7, 12.3))
    assert not any(piece.continued for piece in pieces)


def test_padding_is_at_most_half_of_a_pause() -> None:
    pieces = pieces_of(20, (1, 7), (7.4, 12))
    assert spans(pieces) == close((0.7, 7.2), (7.2, 12.3))


def test_regions_are_packed_with_their_padding() -> None:
    """Without padding these two would fit into one piece."""
    pieces = pieces_of(20, (1, 6), (6.8, 10.5))
    assert spans(pieces) == close((0.7, 6.3), (6.5, 10.8))


def test_padding_gives_way_to_speech() -> None:
    """Speech that fits without its padding is not cut."""
    pieces = pieces_of(20, (1, 10.9))
    assert spans(pieces) == close((0.9, 10.9))
    assert len(pieces[0].samples) <= 10 * SAMPLE_RATE


def test_a_piece_is_yielded_once_its_pause_is_long_enough() -> None:
    read = 0

    def frames() -> Iterator[SpeechFrame]:
        nonlocal read
        for frame in frames_of(counting(20), [(1, 3)]):
            read += 1
            yield frame

    next(cut_frames(frames(), LIMITS))
    assert read * FRAME_SECONDS == pytest.approx(5, abs=3 * FRAME_SECONDS)


# Speech without a pause


def unbroken(*quiet: float, seconds: float = 20.0) -> list[Piece]:
    """Pieces of speech without a pause, but quiet for 0.1 seconds at each of the given seconds."""
    samples = noise(seconds, -20)
    for second in quiet:
        at = round(second * SAMPLE_RATE)
        samples[at - 1000 : at + 1000] /= 100
    return list(cut_frames(frames_of(samples, [(0, seconds)]), LIMITS))


def test_unbroken_speech_is_cut_where_it_is_quiet() -> None:
    """Between 8/15 and 4/5 of the longest piece."""
    first, second, *_ = unbroken(3.0, 7.2, 9.0, 13.0)
    assert first.end == pytest.approx(7.2, abs=0.05)
    assert second.end == pytest.approx(13.0, abs=0.05)


def test_unbroken_speech_that_fits_is_not_cut() -> None:
    (piece,) = unbroken(7.2, seconds=9.9)
    assert piece.end == pytest.approx(9.9, abs=FRAME_SECONDS)


def test_unbroken_speech_is_cut_where_speech_is_uncertain() -> None:
    samples = np.full(round(12 * SAMPLE_RATE), 0.1, np.float32)
    frames = frames_of(samples, [(0, 7.5), (7.64, 12)], doubt=0.4)
    assert next(cut_frames(frames, LIMITS)).end == pytest.approx(7.57, abs=0.07)


def test_pieces_of_unbroken_speech_overlap() -> None:
    pieces = unbroken()
    assert len(pieces) > 1
    assert pieces[0].overlap == 0
    assert [piece.continued for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    for before, after in pairwise(pieces):
        assert after.overlap == pytest.approx(before.end - after.start)
        assert 0.7 < after.overlap < 1.3


def test_an_overlap_begins_where_it_is_quiet() -> None:
    _, second, *_ = unbroken(5.1, 6.0)
    assert second.start == pytest.approx(5.1, abs=0.05)


def test_short_pieces_overlap_less() -> None:
    limits = Limits(longest=2.0)
    pieces = pieces_of(10, (0, 10), limits=limits)
    assert all(after.start > before.start + 0.5 for before, after in pairwise(pieces))
    assert all(0.3 < piece.overlap < 0.7 for piece in pieces[1:])


def test_the_rest_of_unbroken_speech_is_packed_with_what_follows() -> None:
    first, second = pieces_of(20, (1, 12), (13, 14))
    assert first.continued
    assert (second.end, second.continued) == (pytest.approx(14.3, abs=FRAME_SECONDS), False)


def test_speech_one_frame_too_long_loses_nothing() -> None:
    first, second = pieces_of(20, (1, 11.04))
    assert first.continued
    assert second.end == pytest.approx(11.34, abs=FRAME_SECONDS)


# Any speech

LENGTHS = st.sampled_from([0.05, 0.3, 1.0, 2.0, 6.0, 15.0, 40.0])
PAUSES = st.sampled_from([0.05, 0.15, 0.3, 0.6, 1.0, 2.0, 4.0])
FACTORS = st.floats(0.7, 1.4)
LIMITS_OF_ALL_KINDS = st.builds(
    Limits,
    longest=st.sampled_from([2.0, 5.0, 10.0, 30.0]),
    longest_pause=st.sampled_from([0.5, 2.0]),
    padding=st.sampled_from([0.0, 0.2, 0.3]),
    overlap=st.sampled_from([0.5, 2.0]),
)


@st.composite
def speech_spans(draw: st.DrawFn) -> list[Span]:
    found: list[Span] = []
    end = 0.0
    for _ in range(draw(st.integers(0, 5))):
        start = end + draw(PAUSES) * draw(FACTORS)
        end = start + draw(LENGTHS) * draw(FACTORS)
        found.append((start, end))
    return found


@given(
    speech=speech_spans(), rest=st.sampled_from([-0.3, 0.0, 0.1, 3.0]), limits=LIMITS_OF_ALL_KINDS
)
def test_pieces_of_any_speech(speech: list[Span], rest: float, limits: Limits) -> None:
    """They are in order, not too long, hold all speech, and no long pause."""
    seconds = max(0.0, (speech[-1][1] if speech else 0.0) + rest)
    speech = [(start, min(stop, seconds)) for start, stop in speech if start < seconds]
    pieces = pieces_of(seconds, *speech, limits=limits)

    inside = np.zeros(round(seconds * SAMPLE_RATE), bool)
    for piece in pieces:
        start, end = round(piece.start * SAMPLE_RATE), round(piece.end * SAMPLE_RATE)
        sound, added = np.split(piece.samples, [end - start])
        assert len(piece.samples) <= limits.longest * SAMPLE_RATE
        assert (sound[0], sound[-1]) == (start, end - 1)
        assert not added.any()
        assert not len(added) or piece is pieces[-1]
        inside[start:end] = True
    for start, stop in speech:
        if stop - start > limits.shortest_speech + FRAME_SECONDS:
            first = int(-(-start // FRAME_SECONDS)) * FRAME
            assert inside[first : int(stop * SAMPLE_RATE)].all()
    for before, after in pairwise(pieces):
        assert before.start < after.start
        assert before.continued == (after.overlap > 0) == (after.start < before.end)
        assert after.overlap == pytest.approx(max(before.end - after.start, 0))
    assert not pieces or not pieces[-1].continued
    for (_, end), (start, _) in pairwise(speech):
        if start - end > limits.longest_pause + 2 * limits.padding + 2 * FRAME_SECONDS:
            assert not any(piece.start < end and piece.end > start for piece in pieces)


@pytest.mark.parametrize(
    "speech",
    [
        [],
        [(at, at + 1.0) for at in range(0, 60, 20)],
        [(at, at + 1.0) for at in range(0, 60, 2)],
        [(0.0, 60.0)],
        [(at, at + 0.1) for at in range(0, 60, 1)],
    ],
    ids=["silence", "sparse", "pauses", "unbroken", "clicks"],
)
def test_at_most_a_piece_and_a_pause_are_held(speech: list[Span]) -> None:
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def frames() -> Iterator[SpeechFrame]:
        nonlocal alive, most
        for frame in frames_of(np.zeros(60 * SAMPLE_RATE, np.float32), speech):
            samples = frame.samples.copy()
            weakref.finalize(samples, gone)
            alive += 1
            most = max(most, alive)
            yield SpeechFrame(samples=samples, probability=frame.probability)

    for _ in cut_frames(frames(), LIMITS):
        pass
    assert most * FRAME_SECONDS < LIMITS.longest + LIMITS.longest_pause + 1


# Speech, noise and music


def sentences() -> list[Samples]:
    return [
        say("The quick brown fox jumps over the lazy dog."),
        say("She sells sea shells by the sea shore.", "en+f3"),
        say("Bring three red apples and a bottle of milk.", "en-us"),
        say("Stop!"),
    ]


def placed(parts: Iterable[tuple[Samples, float]]) -> tuple[Samples, list[Span]]:
    """Sounds, each after a number of seconds of silence, and the spans they occupy."""
    blocks: list[Samples] = []
    at, found = 0, []
    for samples, pause in parts:
        blocks += [silence(pause), samples]
        at += len(blocks[-2])
        found.append((at / SAMPLE_RATE, (at + len(samples)) / SAMPLE_RATE))
        at += len(samples)
    return np.concatenate([*blocks, silence(1)]), found


def in_blocks(samples: Samples) -> Iterator[Samples]:
    for at in range(0, len(samples), 1600):
        yield samples[at : at + 1600]


@pytest.mark.espeak
@needs_espeak
@pytest.mark.parametrize("snr", [None, 20, 10])
def test_every_sentence_is_whole_in_a_piece(snr: int | None) -> None:
    """With pauses of 0.3 to 5 seconds between sentences."""
    pauses = [1, 0.3, 0.5, 0.8, 3, 0.3, 1.2, 5]
    sound, said = placed(zip(sentences() * 2, pauses, strict=True))
    if snr is not None:
        power = np.mean(np.square(np.concatenate(sentences())))
        sound = sound + noise(len(sound) / SAMPLE_RATE, 10 * np.log10(power) - snr)
    pieces = list(cut(in_blocks(np.clip(sound, -1, 1)), LIMITS))
    assert 3 <= len(pieces) <= 5
    for start, end in said:
        assert any(piece.start <= start and end <= piece.end for piece in pieces)
    assert sum(piece.end - piece.start for piece in pieces) < len(sound) / SAMPLE_RATE - 5


@pytest.fixture(scope="module")
def unbroken_words() -> tuple[list[SpeechFrame], list[Span]]:
    """A minute and a half of words without silence between them, and the spans of the words."""
    text = "seven little elephants walked across the kitchen while our grandmother counted them"
    rng = random.Random(0)
    sound, said = placed((say(rng.choice(text.split())), 0.0) for _ in range(240))
    return list(speech_frames(in_blocks(sound))), said


@pytest.mark.espeak
@needs_espeak
@pytest.mark.parametrize("longest", [10.0, 30.0])
def test_every_word_of_unbroken_speech_is_whole_in_a_piece(
    unbroken_words: tuple[list[SpeechFrame], list[Span]], longest: float
) -> None:
    frames, said = unbroken_words
    assert 90 < said[-1][1] < 110
    pieces = list(cut_frames(frames, Limits(longest=longest)))
    assert all(len(piece.samples) <= longest * SAMPLE_RATE for piece in pieces)
    for start, end in said:
        assert any(piece.start <= start and end <= piece.end for piece in pieces)
    assert len(pieces) <= 110 / (longest * 8 / 15 - 1.5) + 1


def melody(seconds: float) -> Samples:
    """Chords of plucked strings, three a second."""
    rng = np.random.default_rng(0)
    sound = np.zeros(round(seconds * SAMPLE_RATE))
    length = SAMPLE_RATE // 3
    at = np.arange(length) / SAMPLE_RATE
    for start in range(0, len(sound) - length, length):
        for step in rng.integers(0, 24, 3):
            hertz = 131 * 2 ** (step / 12)
            waves = sum(np.sin(2 * np.pi * hertz * n * at) / n for n in range(1, 8))
            sound[start : start + length] += waves * np.exp(-4 * at)
    return (sound / np.abs(sound).max() / 2).astype(np.float32)


def test_music_yields_nothing() -> None:
    tune = melody(10)
    louds = [tune * np.float32(10 ** (decibels / 20)) for decibels in (0, -20, -40)]
    assert [list(cut(in_blocks(sound), LIMITS)) for sound in louds] == [[]] * 3


def test_noise_yields_nothing() -> None:
    assert list(cut(in_blocks(noise(20, -20)), LIMITS)) == []


@pytest.mark.espeak
@needs_espeak
def test_a_long_recording_is_cut_as_it_is_read() -> None:
    """Four minutes with one sentence in each."""
    read = 0

    def blocks() -> Iterator[Samples]:
        nonlocal read
        for _ in range(4):
            for block in (say("She sells sea shells by the sea shore."), *[silence(1)] * 58):
                read += len(block)
                yield block

    count = 0
    for piece in cut(blocks(), Limits()):
        count += 1
        assert read / SAMPLE_RATE - piece.end < 3.5
    assert count == 4
