"""Channels become one without losing speech, whatever the blocks' sizes."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_makers import write_wav
from support.samples import sample
from support.sound_files import Track, write_tracks

from gemma4cli.errors import ChannelNotFoundError
from gemma4cli.media.sound import audio
from gemma4cli.media.sound.mixing import Mixer, weights_of
from gemma4cli.media.sound.sound_blocks import sound_blocks
from gemma4cli.messages import Source

RATE = 16_000
STEREO = ("FL", "FR")
SPEECH = audio.load_audio(Source.of(sample("speech04.wav"))).samples
QUIET = np.zeros_like(SPEECH)
HISS = (np.random.default_rng(0).standard_normal(len(SPEECH)) * 0.003).astype(np.float32)
HUM = (0.3 * np.sin(2 * np.pi * 50 * np.arange(len(SPEECH)) / RATE)).astype(np.float32)


def mixed(
    names: tuple[str, ...], *channels: npt.NDArray[np.float32], size: int = 4000
) -> npt.NDArray[np.float32]:
    mixer, samples = Mixer(names, RATE), np.stack(channels).astype(np.float32)
    found = [np.zeros(0, np.float32)]
    for at in range(0, samples.shape[1], size):
        found += mixer.add(samples[:, at : at + size])
    return np.concatenate([*found, *mixer.finish()])


def likeness(found: npt.NDArray[np.float32]) -> float:
    """How much of a mix is the speech: its correlation with it."""
    return float(abs(np.corrcoef(found, SPEECH)[0, 1]))


def power(samples: npt.NDArray[np.float32]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def test_ordinary_stereo_is_the_average_to_the_last_bit() -> None:
    left, right = SPEECH, np.roll(SPEECH, 37) * np.float32(0.4) + HISS
    expected = np.stack([left, right]).mean(axis=0, dtype=np.float32)
    np.testing.assert_array_equal(mixed(STEREO, left, right), expected)


@pytest.mark.parametrize("level", [1.0, 0.8, 1.25])
def test_opposite_channels_do_not_cancel(level: float) -> None:
    found = mixed(STEREO, SPEECH, -SPEECH * np.float32(level))
    assert likeness(found) > 0.99
    assert power(found) > 0.7 * power(SPEECH)


def test_noise_and_hum_do_not_hide_that_speech_cancels() -> None:
    found = mixed(STEREO, SPEECH + HISS + HUM, -SPEECH + np.roll(HISS, 99) + HUM)
    assert likeness(found) > 0.9


def test_one_empty_channel_halves_the_sound() -> None:
    np.testing.assert_array_equal(mixed(STEREO, QUIET, SPEECH), SPEECH / 2)


def test_channels_that_become_opposite_midway_are_still_heard() -> None:
    """As when a recorder's cable is exchanged; the change makes no click."""
    left = np.concatenate([SPEECH, SPEECH])
    right = np.concatenate([SPEECH, -SPEECH])
    found = mixed(STEREO, left, right)
    assert likeness(found[len(SPEECH) :]) > 0.9
    assert np.abs(np.diff(found)).max() < 1.5 * np.abs(np.diff(SPEECH)).max()


def test_silence_changes_no_decision() -> None:
    quiet = np.zeros(60 * RATE, np.float32)
    left = np.concatenate([SPEECH, quiet, SPEECH])
    found = mixed(STEREO, left, -left)
    assert not found[2 * len(SPEECH) : len(quiet)].any()
    assert likeness(found[-len(SPEECH) :]) > 0.99
    assert power(found[-len(SPEECH) :]) > 0.9 * power(SPEECH)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 40_000), opposite=st.booleans())
def test_the_sizes_of_blocks_do_not_matter(size: int, opposite: bool) -> None:
    other = -SPEECH if opposite else np.roll(SPEECH, 50)
    size = max(size, 50)
    np.testing.assert_array_equal(
        mixed(STEREO, SPEECH, other, size=size), mixed(STEREO, SPEECH, other)
    )


def test_speech_in_the_center_of_surround_sound_stands_out() -> None:
    music = [np.roll(HUM + HISS * 20, 1000 * n) * np.float32(0.3) for n in range(5)]
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    found = mixed(names, music[0], music[1], SPEECH, HUM * 3, music[2], music[3])
    plain = np.stack([*music[:4], SPEECH, HUM * 3]).mean(axis=0)
    assert likeness(found) > 0.75
    assert likeness(found) > likeness(plain) + 0.25


@pytest.mark.parametrize(
    ("names", "shares"),
    [
        ("FL FR", [1, 1]),
        ("FL FR FC LFE BL BR", [2, 2, 4, 0, 1, 1]),
        ("FL FR FC LFE BL BR SL SR", [2, 2, 4, 0, 1, 1, 1, 1]),
        ("FL FR BL BR", [1, 1, 1, 1]),
        ("FL FR LFE", [1, 1, 0]),
        ("AMBI0 AMBI1 AMBI2 AMBI3", [1, 0, 0, 0]),
        ("LFE", [1]),
        ("NONE NONE NONE", [1, 1, 1]),
    ],
)
def test_the_share_of_each_channel(names: str, shares: list[float]) -> None:
    expected = np.array(shares) / sum(shares)
    np.testing.assert_allclose(weights_of(names.split()), expected, rtol=1e-6)


def test_opposite_channels_of_a_file_do_not_cancel(tmp_path: Path) -> None:
    whole = np.round(SPEECH * 32768).astype(np.int16)
    path = write_wav(tmp_path / "a.wav", np.stack([whole, -whole], axis=1))
    found = audio.load_audio(Source.of(path)).samples
    np.testing.assert_allclose(np.abs(found), np.abs(SPEECH), atol=1e-4)


@given(start=st.floats(0, 1.2), length=st.floats(0, 1.0))
@settings(max_examples=15, deadline=None)
def test_a_span_of_opposite_channels_is_that_slice_of_the_whole(
    start: float, length: float
) -> None:
    whole = audio.load_audio(OPPOSITE).samples
    found = audio.load_span(OPPOSITE, start, start + length).samples
    first, last = round(start * RATE), round((start + length) * RATE)
    np.testing.assert_array_equal(found, whole[first:last])


def _opposite() -> Source:
    values = np.round(SPEECH * 32767).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.stack([values, -values], axis=1).tobytes())
    return Source.of(content.getvalue())


OPPOSITE = _opposite()


def stereo_file(path: Path) -> Path:
    left, right = (np.full(8_000, level, np.int16) for level in (1000, -3000))
    samples = np.stack([left, right])
    return write_tracks(path, Track(samples=samples, layout="stereo"))


def test_channels_can_be_kept_apart_or_picked(tmp_path: Path) -> None:
    source = Source.of(stereo_file(tmp_path / "a.mka"))
    apart = [block.samples for block in sound_blocks(source, channels="separate")]
    both = np.concatenate(apart, axis=1)
    np.testing.assert_allclose(both[:, 0], [1000 / 32768, -3000 / 32768])
    assert both.shape == (2, 8_000)
    for number in (1, 2):
        picked = [block.samples for block in sound_blocks(source, channels=number)]
        np.testing.assert_array_equal(np.concatenate(picked, axis=1)[0], both[number - 1])


def test_a_channel_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = Source.of(stereo_file(tmp_path / "a.mka"))
    with pytest.raises(ChannelNotFoundError, match=r"a\.mka: has no channel 3: .* channels 1 to 2"):
        list(sound_blocks(source, channels=3))


@pytest.mark.parametrize("fault", [np.nan, np.inf, 1e30])
def test_a_channel_without_numbers_does_not_spoil_the_other(tmp_path: Path, fault: float) -> None:
    samples = np.stack([SPEECH, np.full_like(SPEECH, fault)], axis=1)
    data = samples.astype("<f4").tobytes()
    path = tmp_path / "a.wav"
    header = struct.pack("<IHHIIHH", 16, 3, 2, RATE, RATE * 8, 8, 32)
    size = struct.pack("<I", len(data))
    path.write_bytes(b"RIFF" + size + b"WAVEfmt " + header + b"data" + size + data)
    assert likeness(audio.load_audio(Source.of(path)).samples) > 0.99
