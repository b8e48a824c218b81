"""Speech is detected; noise, tones, clicks and silence are not taken for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.spoken import needs_espeak, noise, say, silence

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.media.sound import voice
from gemma4cli.media.sound.audio import Samples
from gemma4cli.media.sound.voice import FRAME, SPEECH, SpeechFrame, speech_frames

SECONDS = 5


def probabilities(samples: Samples) -> list[float]:
    return [frame.probability for frame in speech_frames([samples])]


def share(samples: Samples) -> float:
    """The share of frames that are taken for speech."""
    return float(np.mean(np.array(probabilities(samples)) >= SPEECH))


def joined(frames: list[SpeechFrame]) -> Samples:
    return np.concatenate([frame.samples for frame in frames])


# Frames


def test_frames_together_are_the_sound() -> None:
    sound = noise(0.5, -20)
    frames = list(speech_frames([sound]))
    np.testing.assert_array_equal(joined(frames), sound)
    assert {len(frame.samples) for frame in frames[:-1]} == {FRAME}
    assert len(frames[-1].samples) == len(sound) % FRAME


@given(sizes=st.lists(st.integers(0, 600), max_size=8))
def test_the_sizes_of_blocks_do_not_matter(sizes: list[int]) -> None:
    sound = noise(0.1, -20)
    ends = np.cumsum([0, *sizes])
    frames = list(speech_frames(np.split(sound, ends[ends <= len(sound)])))
    assert [frame.probability for frame in frames] == probabilities_of_noise()
    np.testing.assert_array_equal(joined(frames), sound)


@cache
def probabilities_of_noise() -> list[float]:
    return probabilities(noise(0.1, -20))


def test_the_remaining_samples_make_a_shorter_frame() -> None:
    expected = {0: 0, 1: 1, 512: 1, 513: 2}
    found = {
        count: len(list(speech_frames([np.full(count, 0.1, np.float32)]))) for count in expected
    }
    assert found == expected


def test_a_frame_is_yielded_with_its_last_sample() -> None:
    read: list[int] = []

    def blocks() -> Iterator[Samples]:
        for number in range(3):
            read.append(number)
            yield noise(FRAME / SAMPLE_RATE, -20)

    frames = speech_frames(blocks())
    next(frames)
    assert read == [0]


def test_frames_are_copies_of_the_blocks() -> None:
    buffer = np.full(FRAME, 0.25, np.float32)
    frame = next(speech_frames([buffer]))
    buffer[:] = 0
    assert frame.samples.min() == 0.25


def test_streams_do_not_share_state() -> None:
    first, second = noise(0.3, -20, seed=1), noise(0.3, -20, seed=2)
    apart = probabilities(first), probabilities(second)
    together = zip(speech_frames([first]), speech_frames([second]), strict=True)
    assert [(a.probability, b.probability) for a, b in together] == list(zip(*apart, strict=True))


# Not speech


def test_noise_is_not_speech() -> None:
    assert {level: share(noise(SECONDS, level)) for level in (-3, -20, -40, -60)} == dict.fromkeys(
        (-3, -20, -40, -60), 0
    )


def test_a_tone_is_not_speech() -> None:
    at = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    tones = {
        hertz: np.sin(2 * np.pi * hertz * at).astype(np.float32) / 2 for hertz in (110, 440, 1000)
    }
    assert {hertz: share(tone) for hertz, tone in tones.items()} == dict.fromkeys(tones, 0)


def test_clicks_are_not_speech() -> None:
    clicks = silence(SECONDS)
    clicks[:: SAMPLE_RATE // 3] = 1.0
    assert share(clicks) == 0


def test_long_silence_skips_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def load() -> Callable[[list[float]], float]:
        def network(frame: list[float]) -> float:
            nonlocal looks
            looks += 1
            return 1.0 if max(frame) > 0 else 0.0

        return network

    monkeypatch.setattr(voice, "_load_network", load)
    found = probabilities(np.concatenate([silence(60), noise(1, -40), silence(60)]))
    assert looks < 3.5 * SAMPLE_RATE / FRAME
    assert sum(found) == pytest.approx(SAMPLE_RATE / FRAME, abs=2)


def test_the_thread_limit_is_restored_after_loading_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    probabilities(noise(0.1, -20))
    assert "OMP_THREAD_LIMIT" not in os.environ
    monkeypatch.setenv("OMP_THREAD_LIMIT", "3")
    probabilities(noise(0.1, -20))
    assert os.environ["OMP_THREAD_LIMIT"] == "3"


# Speech


SENTENCE = "She sells sea shells by the sea shore."


@pytest.mark.espeak
@needs_espeak
@pytest.mark.parametrize("level", [0, -20, -34, -44])
def test_quiet_speech_in_quieter_noise_is_speech(level: float) -> None:
    """At half the full scale, and down to a peak of -50 dB; noise is 20 dB below the peak."""
    speech = say(SENTENCE)
    sound = speech * np.float32(10 ** (level / 20)) + noise(
        len(speech) / SAMPLE_RATE, level - 6 - 20
    )
    assert share(sound) > 0.85


@pytest.mark.espeak
@needs_espeak
def test_the_quieter_of_two_speakers_is_detected() -> None:
    """30 dB quieter, with background noise."""
    loud = say(SENTENCE)
    quiet = loud / np.float32(10 ** (30 / 20))
    sound = np.concatenate([loud, silence(2), quiet])
    found = probabilities(sound + noise(len(sound) / SAMPLE_RATE, -66))
    assert np.mean(np.array(found[-(len(quiet) // FRAME) :]) >= SPEECH) > 0.85


@pytest.mark.espeak
@needs_espeak
def test_a_whisper_is_speech() -> None:
    """With a peak of -46 dB."""
    assert share(say(SENTENCE, "en+whisper") / np.float32(10 ** (40 / 20))) > 0.85


@pytest.mark.espeak
@needs_espeak
def test_speech_ends_where_silence_begins() -> None:
    found = probabilities(np.concatenate([say(SENTENCE), silence(2)]))
    quiet = found[-round(1.7 * SAMPLE_RATE / FRAME) :]
    assert max(quiet) < SPEECH


@needs_espeak
@pytest.mark.parametrize("constant", [0.3, -0.6])
def test_a_constant_does_not_hide_quiet_speech(constant: float) -> None:
    quiet = 0.05 * say("One of the microphones of this table is faulty.")
    assert share(quiet + np.float32(constant)) == pytest.approx(share(quiet), abs=0.15)
    assert share(np.full(SAMPLE_RATE, constant, np.float32)) == 0
