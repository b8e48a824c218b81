"""Second 0 of a recording is where a player starts, and silence costs no memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from media_makers import tone, write_wav
from support.sound_files import Track, write_tracks

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.media.pictures import video
from gemma4cli.media.sound import audio
from gemma4cli.media.sound.sound_blocks import sound_blocks
from gemma4cli.messages import Source

AAC = 44_100


def beep(seconds: float = 1.5, rate: int = 16_000) -> npt.NDArray[np.int16]:
    return tone(seconds, rate)[None]


def heard_at(path: Path) -> list[tuple[float, float]]:
    """Start and end of each stretch of sound, in seconds, by the blocks' positions."""
    found: list[tuple[float, float]] = []
    for block in sound_blocks(Source.of(path)):
        start, end = (at / SAMPLE_RATE for at in (block.at, block.at + block.samples.shape[1]))
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.mkv", "pcm_s16le", 16_000),
        ("a.mkv", "aac", AAC),
        ("a.webm", "libopus", 48_000),
        ("a.mp4", "aac", AAC),
        ("a.mov", "pcm_s16le", 16_000),
        ("a.ts", "aac", AAC),
        ("a.flv", "aac", AAC),
        ("a.mpg", "mp2", 48_000),
    ],
)
def test_sound_that_begins_after_the_picture_keeps_its_time(
    tmp_path: Path, name: str, codec: str, rate: int
) -> None:
    track = Track(samples=beep(1.5, rate), at=1.2, rate=rate, codec=codec)
    format = "matroska" if name.endswith("webm") else None
    ((start, end),) = heard_at(write_tracks(tmp_path / name, track, picture=0, format=format))
    assert start == pytest.approx(1.2, abs=0.06)
    assert end == pytest.approx(2.7, abs=0.1)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.mkv", "pcm_s16le", 16_000), ("a.ts", "aac", AAC), ("a.flv", "aac", AAC)],
)
def test_a_container_may_start_late(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    track = Track(samples=beep(1.5, rate), at=101.2, rate=rate, codec=codec)
    ((start, _),) = heard_at(write_tracks(tmp_path / name, track, picture=100))
    assert start == pytest.approx(1.2, abs=0.06)


def test_a_short_delay_is_kept(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", Track(samples=beep(), at=0.08), picture=0)
    ((start, _),) = heard_at(path)
    assert start == pytest.approx(0.08, abs=0.01)


def test_the_length_of_an_ogg_that_starts_late_is_that_of_its_sound(tmp_path: Path) -> None:
    track = Track(samples=beep(1.5, 48_000), at=50, rate=48_000, codec="libopus")
    path = write_tracks(tmp_path / "a.opus", track)
    assert audio.audio_seconds(Source.of(path)) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("name", ["a.mka", "a.ts"])
def test_a_recording_cut_from_a_stream_begins_at_0(tmp_path: Path, name: str) -> None:
    track = Track(samples=beep(1.5, AAC), at=500, rate=AAC, codec="aac")
    ((start, _),) = heard_at(write_tracks(tmp_path / name, track))
    assert start == 0


def test_a_picture_that_begins_after_the_sound_does_not_move_it(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", Track(samples=beep(4.0)), picture=1.5)
    assert heard_at(path) == [(0.0, 4.0)]


def test_the_delays_of_encoders_are_no_delay(tmp_path: Path) -> None:
    for name, codec, rate in (("a.mkv", "libopus", 48_000), ("a.m4a", "aac", AAC)):
        path = write_tracks(tmp_path / name, Track(samples=beep(1.5, rate), rate=rate, codec=codec))
        ((start, _),) = heard_at(path)
        assert start == 0, name


def test_sound_before_the_start_of_a_clip_is_not_played(tmp_path: Path) -> None:
    """Clips that were cut without encoding hold packets from before their first second."""
    track = Track(samples=beep(3.0, AAC), at=-1.0, rate=AAC, codec="aac")
    ((start, end),) = heard_at(write_tracks(tmp_path / "a.mp4", track, picture=0))
    assert start == 0
    assert end == pytest.approx(2.0, abs=0.1)


def paused(path: Path, pause: float) -> Path:
    """A second of sound, a pause that only the time stamps show, another second."""
    track = Track(samples=beep(2.048), pause_after=1.024, pause=pause)
    return write_tracks(path, track)


def test_a_short_pause_in_the_time_stamps_is_filled(tmp_path: Path) -> None:
    assert heard_at(paused(tmp_path / "a.mka", 3.0)) == [(0.0, 5.048)]


def test_of_a_long_pause_only_the_time_is_kept(tmp_path: Path) -> None:
    hours = 5 * 3600.0
    found = heard_at(paused(tmp_path / "a.mka", hours))
    assert found == [(0.0, 1.024), (hours + 1.024, hours + 2.048)]


def test_sound_that_begins_a_day_late_takes_no_memory(tmp_path: Path) -> None:
    day = 24 * 3600.0
    path = write_tracks(
        tmp_path / "a.mkv", Track(samples=beep(), at=day), picture=0, options={"live": "1"}
    )
    tracemalloc.start()
    ((start, _),) = heard_at(path)
    clip = video.load_sound(Source.of(path), video.probe_video(Source.of(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert start == day
    assert peak < 50_000_000
    assert clip is not None
    assert not clip.samples.any()


def test_a_clock_that_is_set_anew_does_not_move_what_follows(tmp_path: Path) -> None:
    """Transport streams that were put together begin their clocks anew."""
    parts = [
        write_tracks(
            tmp_path / f"{at}.ts", Track(samples=beep(1.5, AAC), at=at, rate=AAC, codec="aac")
        ).read_bytes()
        for at in (7200, 10)
    ]
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    ((start, end),) = heard_at(tmp_path / "a.ts")
    assert start == 0
    assert end == pytest.approx(3.0, abs=0.15)


def test_the_claimed_end_counts_from_the_same_second(tmp_path: Path) -> None:
    for name, at in (("a.mp4", 0), ("a.ts", 100), ("a.mkv", 0)):
        track = Track(samples=beep(1.5, AAC), at=at + 1.2, rate=AAC, codec="aac")
        path = write_tracks(tmp_path / name, track, picture=at)
        assert audio.audio_seconds(Source.of(path)) == pytest.approx(2.7, abs=0.2), name


def test_positions_agree_with_the_samples_of_the_whole(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(3.3, 44_100), 44_100)
    blocks = list(sound_blocks(Source.of(path)))
    due = 0
    for block in blocks:
        assert block.at == due
        due += block.samples.shape[1]
    whole = audio.load_audio(Source.of(path)).samples
    np.testing.assert_array_equal(np.concatenate([b.samples[0] for b in blocks]), whole)
