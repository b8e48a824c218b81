"""Sound: exact samples from any container, spans, gaps, and errors that name the cause."""

from __future__ import annotations

import logging
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soxr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from media_makers import numbered, tone, write_audio, write_video, write_wav
from PIL import Image

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.errors import MediaDecodeError, MediaNotFoundError, NoAudioTrackError
from gemma4cli.media.sound import audio
from gemma4cli.messages import Source


def load(path: Path) -> npt.NDArray[np.float32]:
    return audio.load_audio(Source.of(path)).samples


def noise(count: int) -> npt.NDArray[np.int16]:
    values = np.random.default_rng(0).integers(-32768, 32768, count)
    return values.astype(np.int16)


def scaled(samples: npt.NDArray[np.int16], sample_format: str) -> npt.NDArray[np.generic]:
    """The samples in another format, lossless except for 8 bits."""
    kind = sample_format.removesuffix("p")
    if kind == "u8":
        return ((samples >> 8) + 128).astype(np.uint8)
    if kind == "s32":
        return samples.astype(np.int32) << 16
    if kind == "s16":
        return samples
    return (samples / 32768).astype(np.float32 if kind == "flt" else np.float64)


def test_16_bit_wav_at_16_khz_is_exact(tmp_path: Path) -> None:
    samples = noise(50_001)
    clip = audio.load_audio(Source.of(write_wav(tmp_path / "a.wav", samples)))
    assert clip.samples.dtype == np.float32
    assert clip.name == str(tmp_path / "a.wav")
    np.testing.assert_array_equal(clip.samples, samples.astype(np.float32) / 32768)


LOSSLESS = [
    ("pcm_s24le", "s32", "wav"),
    ("pcm_s32le", "s32", "wav"),
    ("pcm_f32le", "flt", "wav"),
    ("pcm_f64le", "dbl", "wav"),
    ("pcm_s16le", "s16", "mka"),
    ("flac", "s16", "flac"),
    ("alac", "s16p", "m4a"),
]


def test_lossless_formats_are_exact(tmp_path: Path) -> None:
    samples = noise(20_000)
    for codec, sample_format, suffix in LOSSLESS:
        path = write_audio(
            tmp_path / f"{codec}.{suffix}",
            scaled(samples, sample_format)[None, :],
            codec=codec,
            sample_format=sample_format,
        )
        np.testing.assert_array_equal(
            load(path), samples.astype(np.float32) / 32768, err_msg=path.name
        )


def test_8_bit_wav_is_centered(tmp_path: Path) -> None:
    samples = np.array([[0, 64, 128, 192, 255]], np.uint8)
    path = write_audio(tmp_path / "a.wav", samples, codec="pcm_u8", sample_format="u8")
    np.testing.assert_array_equal(load(path), [-1.0, -0.5, 0.0, 0.5, 127 / 128])


def test_stereo_is_averaged(tmp_path: Path) -> None:
    both = np.stack([noise(5_000), noise(10_000)[5_000:]], axis=1)
    expected = both.astype(np.float32).mean(axis=1) / 32768
    np.testing.assert_array_equal(load(write_wav(tmp_path / "a.wav", both)), expected)


def test_five_point_one_has_speech_in_the_center_and_bass_left_out(tmp_path: Path) -> None:
    """The center counts twice as much as a front channel, four times as much as a rear one."""
    levels = (600, 200, -60, 9000, 40, 80)
    channels = np.stack([np.full(1_000, level, np.int16) for level in levels])
    path = write_audio(
        tmp_path / "a.wav", channels, codec="pcm_s16le", sample_format="s16", layout="5.1"
    )
    expected = (600 / 2 + 200 / 2 - 60 + 40 / 4 + 80 / 4) / 2.5
    np.testing.assert_allclose(load(path), np.full(1_000, expected / 32768), rtol=1e-6)


def test_planar_stereo_is_averaged(tmp_path: Path) -> None:
    channels = np.stack([noise(4_000), -(noise(4_000) // 2)])
    path = write_audio(
        tmp_path / "a.m4a", channels, codec="alac", sample_format="s16p", layout="stereo"
    )
    np.testing.assert_array_equal(load(path), channels.astype(np.float32).mean(axis=0) / 32768)


def test_resampling_in_blocks_equals_resampling_at_once(tmp_path: Path) -> None:
    for rate in (8_000, 11_025, 22_050, 44_100, 48_000, 96_000):
        samples = tone(3.3, rate)
        expected = soxr.resample(samples.astype(np.float32) / 32768, rate, SAMPLE_RATE, "HQ")
        found = load(write_wav(tmp_path / "a.wav", samples, rate))
        assert abs(len(found) - 3.3 * SAMPLE_RATE) <= 1, rate
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{rate} Hz")


@given(blocks=st.lists(st.integers(0, 9000), max_size=6), rate=st.sampled_from([8_000, 44_100]))
def test_the_sizes_of_resampled_blocks_do_not_matter(blocks: list[int], rate: int) -> None:
    samples = noise(sum(blocks)).astype(np.float32) / 32768
    parts = np.split(samples, np.cumsum(blocks)[:-1]) if blocks else []
    found = np.concatenate([np.zeros(0, np.float32), *audio.resampled((rate, p) for p in parts)])
    whole = np.concatenate([np.zeros(0, np.float32), *audio.resampled(iter([(rate, samples)]))])
    np.testing.assert_allclose(found, whole, atol=1e-6)


@pytest.mark.parametrize(
    ("codec", "sample_format", "suffix", "rate", "extra"),
    [
        ("libmp3lame", "s16p", "mp3", 44_100, 0),
        ("libopus", "s16", "opus", 48_000, 0),
        ("aac", "fltp", "m4a", 44_100, 1_100),
        ("ac3", "fltp", "mka", 48_000, 2_000),
    ],
)
def test_lossy_formats_come_close(
    tmp_path: Path, codec: str, sample_format: str, suffix: str, rate: int, extra: int
) -> None:
    """``extra`` is padding at the end that the container does not record."""
    if codec not in av.codecs_available:
        pytest.skip(f"this libav has no {codec}")
    path = write_audio(
        tmp_path / f"a.{suffix}",
        scaled(tone(2, rate), sample_format)[None, :],
        codec=codec,
        sample_format=sample_format,
        rate=rate,
    )
    found = load(path)
    assert 2 * SAMPLE_RATE - 500 <= len(found) <= 2 * SAMPLE_RATE + extra
    spectrum = np.abs(np.fft.rfft(found[8_000:24_000]))
    assert spectrum.argmax() == 440
    assert 0.4 < np.abs(found[8_000:24_000]).max() < 0.6


def test_the_sound_of_a_clip_is_heard(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", [numbered(0)] * 20, sound=noise(32_000))
    np.testing.assert_array_equal(load(path), noise(32_000).astype(np.float32) / 32768)


def test_bytes_and_files_with_a_wrong_suffix_are_read(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.txt", noise(100))
    assert len(load(path)) == 100
    assert len(audio.load_audio(Source.of(path.read_bytes())).samples) == 100


def test_a_file_name_that_looks_like_a_url_is_a_file(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "http:%03d.wav", noise(100))
    assert len(load(path)) == 100


@pytest.fixture(scope="module")
def recordings(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[int, tuple[Source, npt.NDArray[np.float32]]]:
    """1.2 s of noise at two rates: the file in memory, and all its samples."""
    path = tmp_path_factory.mktemp("recordings") / "a.wav"
    sources = {
        rate: Source.of(write_wav(path, noise(6 * rate // 5), rate).read_bytes())
        for rate in (16_000, 44_100)
    }
    return {rate: (source, audio.load_audio(source).samples) for rate, source in sources.items()}


SECOND = st.floats(0, 1.5)


@settings(max_examples=30)
@given(rate=st.sampled_from([16_000, 44_100]), start=SECOND, length=st.none() | SECOND)
@example(rate=44_100, start=0.0, length=None)
@example(rate=44_100, start=1.1, length=6.1)
@example(rate=16_000, start=0.5, length=0.0)
@example(rate=16_000, start=7.0, length=1.0)
def test_a_span_is_that_slice_of_the_whole(
    recordings: dict[int, tuple[Source, npt.NDArray[np.float32]]],
    rate: int,
    start: float,
    length: float | None,
) -> None:
    source, whole = recordings[rate]
    end = None if length is None else start + length
    first, last = round(start * 16_000), None if end is None else round(end * 16_000)
    found = audio.load_span(source, start, end).samples
    np.testing.assert_array_equal(found, whole[first:last])


def test_blocks_stay_small(tmp_path: Path) -> None:
    source = Source.of(write_wav(tmp_path / "a.wav", np.tile(noise(48_000), 20), 48_000))
    blocks = list(audio.iter_audio(source))
    assert max(len(block) for block in blocks) <= 1.2 * SAMPLE_RATE * audio.BLOCK_SECONDS
    assert sum(len(block) for block in blocks) == 20 * SAMPLE_RATE


def test_reading_may_stop_at_any_block(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", noise(160_000))
    blocks = audio.iter_audio(Source.of(path))
    next(blocks)
    blocks.close()


@settings(max_examples=30)
@given(origin=st.floats(-0.75, 0.75), start=SECOND, length=st.none() | SECOND)
@example(origin=-0.75, start=0.0, length=0.5)
@example(origin=0.5, start=0.25, length=0.75)
def test_an_origin_moves_second_zero(
    recordings: dict[int, tuple[Source, npt.NDArray[np.float32]]],
    origin: float,
    start: float,
    length: float | None,
) -> None:
    source, samples = recordings[16_000]
    whole = np.concatenate([np.zeros(12_000, np.float32), samples])
    end = None if length is None else start + length
    found = audio.load_span(source, start, end, origin).samples
    shift = 12_000 - round(-origin * 16_000)
    first = round(start * 16_000) + shift
    last = None if end is None else round(end * 16_000) + shift
    np.testing.assert_array_equal(found, whole[first:last])


def with_gap(path: Path, gap: int) -> Path:
    """Two seconds of sound, with a gap of ``gap`` samples in the time stamps after the first."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index, first in enumerate((0, 16_000 + gap)):
            part = noise(32_000)[index * 16_000 :][None, :16_000]
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
            frame.pts = first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_gap_in_the_time_stamps_is_silence(tmp_path: Path) -> None:
    found = load(with_gap(tmp_path / "a.mka", 40_000))
    expected = noise(32_000).astype(np.float32) / 32768
    assert len(found) == 72_000
    np.testing.assert_array_equal(found[:16_000], expected[:16_000])
    np.testing.assert_array_equal(found[16_000:56_000], 0)
    np.testing.assert_array_equal(found[56_000:], expected[16_000:])


@pytest.mark.parametrize("gap", [1_000, 5_000 * 16_000])
def test_jitter_and_clock_jumps_are_not_filled(tmp_path: Path, gap: int) -> None:
    assert len(load(with_gap(tmp_path / "a.mka", gap))) == 32_000


def test_values_out_of_range_are_bounded(tmp_path: Path) -> None:
    samples = np.array([[2.0, -3.0, np.nan, np.inf, 0.25]], np.float32)
    path = write_audio(tmp_path / "a.wav", samples, codec="pcm_f32le", sample_format="flt")
    np.testing.assert_array_equal(load(path), [1.0, -1.0, 0.0, 1.0, 0.25])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"gone\.wav"):
        load(tmp_path / "gone.wav")


def test_text_is_not_sound(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("just some words, long enough to be looked at\n" * 50)
    with pytest.raises(MediaDecodeError, match=r"notes\.wav: not an audio or video file"):
        load(path)


def test_subtitles_have_no_audio_track(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n")
    with pytest.raises(NoAudioTrackError, match="has no audio track"):
        load(path)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", noise(1_000))
    path = tmp_path / "list.wav"
    path.write_text("ffconcat version 1.0\nfile a.wav\n")
    with pytest.raises(MediaDecodeError):
        load(path)


def test_an_image_is_not_sound(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
        with pytest.raises(MediaDecodeError, match=r"is an image .*g4 describe"):
            load(tmp_path / name)


def test_a_silent_clip_has_no_audio_track(tmp_path: Path) -> None:
    with pytest.raises(NoAudioTrackError, match="has no audio track"):
        load(write_video(tmp_path / "a.mp4", [numbered(0)] * 3))


def test_a_wav_without_samples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoAudioTrackError, match="has no samples"):
        load(write_wav(tmp_path / "a.wav", np.zeros(0, np.int16)))


def test_a_truncated_wav_header_is_an_error(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", noise(1_000))
    data = path.read_bytes()
    for kept in (12, 20, 30):
        path.write_bytes(data[:kept])
        with pytest.raises(MediaDecodeError, match="damaged or truncated WAV"):
            load(path)


def test_a_truncated_wav_yields_the_samples_that_exist(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", noise(32_000))
    path.write_bytes(path.read_bytes()[: 44 + 20_000])
    np.testing.assert_array_equal(load(path), noise(32_000)[:10_000].astype(np.float32) / 32768)


def test_a_truncated_mp4_is_an_error(tmp_path: Path) -> None:
    path = write_audio(
        tmp_path / "a.m4a",
        scaled(tone(2), "fltp")[None, :],
        codec="aac",
        sample_format="fltp",
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaDecodeError, match=r"a damaged or truncated (M4A|MP4 or MOV) file"):
        load(path)


def aac_in_matroska(path: Path, damaged: slice) -> Path:
    """Two seconds of sound; the packets in ``damaged`` are overwritten with noise."""
    samples = scaled(tone(2, 44_100), "fltp")[None, :]
    write_audio(path, samples, codec="aac", sample_format="fltp", rate=44_100)
    data = bytearray(path.read_bytes())
    noise_bytes = np.random.default_rng(0).integers(0, 256, len(data), np.uint8).tobytes()
    blocks = []
    at = data.index(b"\x1f\x43\xb6\x75")  # the first cluster
    while at + 8 < len(data):
        size = struct.unpack(">H", data[at + 1 : at + 3])[0] & 0x3FFF
        if data[at] == 0xA3 and data[at + 3] == 0x81 and at + 3 + size <= len(data):
            blocks.append(slice(at + 7, at + 3 + size))  # its content, after a header of 4
            at += 3 + size
        else:
            at += 1
    for block in blocks[damaged]:
        data[block] = noise_bytes[block]
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("suffix", "codec"), [("wav", "pcm_s16le"), ("flac", "flac")])
def test_a_truncated_file_is_logged(
    suffix: str, codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = scaled(tone(8, 16_000), "s16")[None, :]
    path = tmp_path / f"cut.{suffix}"
    write_audio(path, samples, codec=codec, sample_format="s16", rate=16_000)
    with caplog.at_level(logging.WARNING):
        assert len(load(path)) == 8 * 16_000
        assert "cut short" not in caplog.text
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert len(load(path)) < 6 * 16_000
    assert "cut." in caplog.text
    assert "s of 8.0 s" in caplog.text


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_recording_written_to_a_pipe_is_complete(
    size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its header was written before the length was known."""
    samples = scaled(tone(2, 16_000), "s16")[None, :]
    path = tmp_path / "piped.wav"
    write_audio(path, samples, codec="pcm_s16le", sample_format="s16", rate=16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert len(load(path)) == 2 * 16_000
    assert "cut short" not in caplog.text


def test_sound_is_missed_behind_a_chunk_of_odd_size(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A byte of padding follows such a chunk, which its size does not count."""
    samples = scaled(tone(8, 16_000), "s16")[None, :]
    path = tmp_path / "cut.wav"
    write_audio(path, samples, codec="pcm_s16le", sample_format="s16", rate=16_000)
    data = path.read_bytes()
    at = data.index(b"data")
    odd = b"note" + struct.pack("<I", 3) + b"abc\0"
    path.write_bytes(data[:at] + odd + data[at : len(data) // 2])
    with caplog.at_level(logging.WARNING):
        load(path)
    assert "s of 8.0 s" in caplog.text


def test_tags_that_are_not_utf_8_are_no_obstacle(tmp_path: Path) -> None:
    """Old recorders write names in the encoding of their country."""
    data = write_wav(tmp_path / "a.wav", noise(16_000)).read_bytes()
    name = "Übung für Jörg\0".encode("latin-1") + b"\0"
    tags = b"INFO" + b"INAM" + struct.pack("<I", len(name)) + name
    data = data[:36] + b"LIST" + struct.pack("<I", len(tags)) + tags + data[36:]
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(UnicodeDecodeError):
        name.decode()
    expected = noise(16_000).astype(np.float32) / 32768
    np.testing.assert_array_equal(load(tmp_path / "a.wav"), expected)
    assert audio.audio_seconds(Source.of(tmp_path / "a.wav")) == 1.0


def test_damage_in_the_middle_keeps_the_rest_and_the_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load(aac_in_matroska(tmp_path / "whole.mka", slice(0, 0)))
    with caplog.at_level(logging.WARNING):
        found = load(aac_in_matroska(tmp_path / "damaged.mka", slice(30, 45)))
    assert "damaged audio packets were left out" in caplog.text
    assert abs(len(found) - len(whole)) < 0.1 * SAMPLE_RATE
    np.testing.assert_array_equal(found[:9_000], whole[:9_000])
    np.testing.assert_allclose(found[-8_000:], whole[-8_000:], atol=0.02)


def test_nothing_decodable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaDecodeError, match="none of its sound can be decoded"):
        load(aac_in_matroska(tmp_path / "a.mka", slice(None)))


@pytest.mark.ffmpeg
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is missing")
@pytest.mark.parametrize("name", ["a.ogg", "a.wma", "a.aiff", "a.ac3", "a.webm", "a.mp4"])
def test_files_written_by_ffmpeg_are_read(tmp_path: Path, name: str) -> None:
    wav = write_wav(tmp_path / "in.wav", tone(1.5, 8_000), 8_000)
    command = ["ffmpeg", "-v", "error", "-i", str(wav), str(tmp_path / name)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip(f"this ffmpeg does not write {name}")
    assert abs(len(load(tmp_path / name)) - 1.5 * SAMPLE_RATE) < 0.15 * SAMPLE_RATE


def test_joined_raw_streams_of_other_rates_are_whole_and_without_gaps(tmp_path: Path) -> None:
    """libav counts the time of raw AAC from the first rate, which is wrong after the change."""
    pair = [
        write_audio(
            tmp_path / f"{rate}.aac",
            (tone(2, rate) / 32768).astype(np.float32)[None],
            codec="aac",
            sample_format="fltp",
            rate=rate,
        )
        for rate in (16_000, 44_100)
    ]
    joined = tmp_path / "joined.aac"
    joined.write_bytes(b"".join(path.read_bytes() for path in pair))
    samples = load(joined)
    assert len(samples) / SAMPLE_RATE == pytest.approx(4, abs=0.3)
    assert np.abs(samples[8000:56_000]).reshape(-1, 800).max(axis=1).min() > 0.3


def test_samples_that_are_too_few_for_speech_are_refused(tmp_path: Path) -> None:
    """Measurements are stored as WAV too; a kilobyte of them may last for hours."""
    with pytest.raises(MediaDecodeError, match=r"a\.wav: has a sample rate of 1 Hz, too low"):
        load(write_wav(tmp_path / "a.wav", noise(3_600), 1))
    assert len(load(write_wav(tmp_path / "a.wav", noise(3_000), 1_000))) == 3 * SAMPLE_RATE


def test_many_gaps_are_filled_up_to_an_hour_in_all(tmp_path: Path) -> None:
    """A few kilobytes of time stamps must not become hours of silence in memory."""
    with av.open(str(tmp_path / "a.mka"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(noise(1_600)[None], format="s16", layout="mono")
            frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
            frame.pts = index * 1000 * 16_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    blocks = audio.iter_audio(Source.of(tmp_path / "a.mka"))
    assert 3000 < sum(map(len, blocks)) / SAMPLE_RATE < 3610


def test_of_a_long_recording_only_the_start_is_loaded(tmp_path: Path) -> None:
    source = Source.of(write_wav(tmp_path / "a.wav", np.tile(noise(16_000), 20)))
    whole = audio.load_audio(source)
    start = audio.load_audio(source, longest=5.0)
    assert (start.seconds, len(start.samples)) == (20.0, 6 * SAMPLE_RATE)
    np.testing.assert_array_equal(start.samples, whole.samples[: 6 * SAMPLE_RATE])
    short = audio.load_audio(source, longest=30.0)
    assert (short.seconds, short.whole) == (20.0, None)
    np.testing.assert_array_equal(short.samples, whole.samples)


def test_a_long_recording_whose_header_has_no_length_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "audio_seconds", lambda *_: None)
    source = Source.of(write_wav(tmp_path / "a.wav", np.tile(noise(16_000), 20)))
    assert audio.load_audio(source, longest=5.0).seconds == 20.0
