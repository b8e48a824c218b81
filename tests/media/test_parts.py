"""Recordings that were put together, and streams that change, are heard to their end."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from media_makers import encode_sound, tone, write_wav
from support.sound_files import Track, write_tracks

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.media import parts
from gemma4cli.media.parts import parts_of
from gemma4cli.media.sound import audio
from gemma4cli.messages import Source

LOW, HIGH = 440.0, 1320.0


def sound(hertz: float, rate: int, channels: int = 1) -> npt.NDArray[np.int16]:
    return np.stack([tone(1.0, rate, hertz)] * channels)


def part(path: Path, hertz: float, codec: str, rate: int, channels: int = 1) -> bytes:
    """A second of a tone as a file of its own."""
    layout = "mono" if channels == 1 else "stereo"
    track = Track(samples=sound(hertz, rate, channels), rate=rate, codec=codec, layout=layout)
    return write_tracks(path, track).read_bytes()


def pitch(samples: npt.NDArray[np.float32]) -> float:
    window = samples * np.hanning(len(samples))
    spectrum = np.abs(np.fft.rfft(window))
    return float(spectrum.argmax() * SAMPLE_RATE / len(samples))


def assert_both_are_heard(source: Source, seconds: float = 2.0) -> None:
    """The low tone for a second, then the high one, both at their true pitch."""
    samples = audio.load_audio(source).samples
    assert len(samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.2)
    assert pitch(samples[4_000:12_000]) == pytest.approx(LOW, abs=5)
    assert pitch(samples[-12_000:-4_000]) == pytest.approx(HIGH, abs=5)


CHAINS = [
    pytest.param("a.opus", "libopus", (48_000, 1), (48_000, 2), id="Opus to stereo"),
    pytest.param("a.opus", "libopus", (48_000, 1), (48_000, 1), id="equal Opus"),
    pytest.param("a.oga", "flac", (44_100, 1), (22_050, 2), id="Ogg FLAC at another rate"),
    pytest.param("a.flac", "flac", (44_100, 1), (22_050, 2), id="FLAC at another rate"),
    pytest.param("a.wav", "pcm_s16le", (44_100, 1), (22_050, 2), id="WAV at another rate"),
    pytest.param("a.aac", "aac", (44_100, 1), (24_000, 2), id="AAC at another rate"),
    pytest.param("a.mp3", "libmp3lame", (44_100, 1), (22_050, 2), id="MP3 at another rate"),
    pytest.param("a.m4a", "aac", (44_100, 1), (48_000, 2), id="MP4"),
    pytest.param("a.mka", "pcm_s16le", (44_100, 1), (22_050, 2), id="Matroska"),
    pytest.param("a.aiff", "pcm_s16be", (44_100, 1), (22_050, 2), id="AIFF"),
    pytest.param("a.caf", "pcm_s16le", (44_100, 1), (22_050, 2), id="CAF"),
    pytest.param("a.au", "pcm_s16be", (44_100, 1), (22_050, 2), id="AU"),
    pytest.param("a.w64", "pcm_s16le", (44_100, 1), (22_050, 2), id="Wave64"),
    pytest.param("a.flv", "aac", (44_100, 1), (22_050, 2), id="FLV"),
    pytest.param("a.wv", "wavpack", (44_100, 1), (22_050, 2), id="WavPack"),
    pytest.param("a.nut", "pcm_s16le", (44_100, 1), (22_050, 2), id="NUT"),
    pytest.param("a.wma", "wmav2", (44_100, 1), (22_050, 2), id="WMA"),
]


@pytest.mark.parametrize(("name", "codec", "first", "second"), CHAINS)
def test_files_put_together_are_heard_to_the_end(
    tmp_path: Path, name: str, codec: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    whole = part(tmp_path / name, LOW, codec, *first) + part(tmp_path / name, HIGH, codec, *second)
    assert_both_are_heard(Source.of(whole, name=name))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.opus", "libopus"),
        ("a.wav", "pcm_s16le"),
        ("a.flac", "flac"),
        ("a.mka", "pcm_s16le"),
        ("a.ts", "mp2"),
        ("a.mpg", "mp2"),
    ],
)
def test_the_length_of_a_chain_is_that_of_its_parts(tmp_path: Path, name: str, codec: str) -> None:
    first = part(tmp_path / name, LOW, codec, 48_000)
    whole = first + part(tmp_path / name, HIGH, codec, 48_000, 2)
    assert audio.audio_seconds(Source.of(whole)) == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.opus", "libopus", 48_000), ("a.mp3", "libmp3lame", 22_050)]
)
def test_a_chain_has_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str, rate: int
) -> None:
    first = part(tmp_path / name, LOW, codec, 48_000)
    whole = first + part(tmp_path / name, HIGH, codec, rate, 2)
    with caplog.at_level(logging.WARNING):
        audio.load_audio(Source.of(whole))
    assert caplog.text == ""


@pytest.mark.parametrize("second", ["libopus", "aac"])
def test_live_streams_put_together_are_heard_to_the_end(second: str) -> None:
    """Such as a browser records; their segments have no length."""
    parts = [
        live_matroska(hertz, codec, channels)
        for hertz, codec, channels in ((LOW, "libopus", 1), (HIGH, second, 2))
    ]
    assert_both_are_heard(Source.of(b"".join(parts), name="a.mkv"))


def live_matroska(hertz: float, codec: str, channels: int) -> bytes:
    """A second of a tone, written to what cannot seek."""
    written = Unseekable()
    layout = "mono" if channels == 1 else "stereo"
    samples = sound(hertz, 48_000, channels).astype(np.float32) / 32768
    kind = "fltp" if codec == "aac" else "flt"
    with av.open(written, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=48_000, layout=layout)
        encode_sound(container, stream, samples, kind, 48_000)
    return written.getvalue()


class Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


def test_a_flash_video_may_change_its_codec_and_back(tmp_path: Path) -> None:
    """libav makes new tracks of what follows, which only have what is left of the clock."""
    data, clock = bytearray(), 0
    for hertz, codec in ((LOW, "libmp3lame"), (HIGH, "aac"), (LOW, "libmp3lame")):
        whole = part(tmp_path / "a.flv", hertz, codec, 44_100)
        data += whole[:13] if not data else b""
        at, last = 13, 0
        while at < len(whole):
            size = 11 + int.from_bytes(whole[at + 1 : at + 4], "big") + 4
            tag = bytearray(whole[at : at + size])
            last = int.from_bytes(tag[4:7], "big")
            tag[4:7] = (clock + last).to_bytes(3, "big")
            data += tag if tag[0] == 8 else b""
            at += size
        clock += last + 26
    samples = audio.load_audio(Source.of(bytes(data))).samples
    assert len(samples) / SAMPLE_RATE == pytest.approx(3.15, abs=0.15)
    for second, hertz in ((0.5, LOW), (1.5, HIGH), (2.6, LOW)):
        at = round(second * SAMPLE_RATE)
        assert pitch(samples[at - 4_000 : at + 4_000]) == pytest.approx(hertz, abs=5)


def test_a_track_of_a_transport_stream_may_take_over_for_a_while(tmp_path: Path) -> None:
    """Such as another program's insertion, with a PID of its own."""
    path = tmp_path / "a.ts"
    kept = [(LOW, "mp2", 257), (HIGH, "aac", 300), (LOW, "ac3", 257)]
    parts = [transport_stream(path, hertz, codec, pid, 1) for hertz, codec, pid in kept]
    samples = audio.load_audio(Source.of(b"".join(parts))).samples
    assert len(samples) / SAMPLE_RATE == pytest.approx(3.0, abs=0.15)
    for second, hertz in ((0.5, LOW), (1.5, HIGH), (2.5, LOW)):
        at = round(second * SAMPLE_RATE)
        assert pitch(samples[at - 4_000 : at + 4_000]) == pytest.approx(hertz, abs=5)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.wav", "adpcm_ima_wav"), ("a.wav", "pcm_s16le")]
)
def test_a_whole_file_is_not_reported_as_cut_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str
) -> None:
    """Neither because of a pause, nor because a program wrote a wrong byte rate."""
    pause = {"pause_after": 1.5, "pause": 4.0} if name == "a.m4a" else {}
    samples = np.tile(sound(LOW, 44_100), 3)
    track = Track(samples=samples, rate=44_100, codec=codec, **pause)
    data = bytearray(write_tracks(tmp_path / name, track).read_bytes())
    if name == "a.wav":
        at = data.index(b"fmt ") + 16
        data[at : at + 4] = struct.pack("<I", 1_000)
    with caplog.at_level(logging.WARNING):
        audio.load_audio(Source.of(bytes(data)))
    assert caplog.text == ""


def test_recordings_of_pipes_put_together_are_heard_to_the_end(tmp_path: Path) -> None:
    """Their headers do not say how long they are."""
    parts = []
    for hertz, rate in ((LOW, 16_000), (HIGH, 44_100)):
        data = bytearray(write_wav(tmp_path / "a.wav", sound(hertz, rate)[0], rate).read_bytes())
        at = data.index(b"data") + 4
        data[4:8] = data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
        parts.append(bytes(data))
    assert_both_are_heard(Source.of(b"".join(parts)))


def test_a_part_that_cannot_be_read_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = part(tmp_path / "a.wav", LOW, "pcm_s16le", 16_000)
    broken = bytearray(part(tmp_path / "a.wav", HIGH, "pcm_s16le", 16_000))
    at = broken.index(b"fmt ") + 8
    broken[at : at + 2] = b"\xfe\x7f"  # a codec that nobody knows
    with caplog.at_level(logging.WARNING):
        found = audio.load_audio(Source.of(first + bytes(broken), name="joined.wav"))
    assert found.seconds == pytest.approx(1.0, abs=0.05)
    assert "joined.wav: the sound from second 1.0 on was left out" in caplog.text


@pytest.mark.parametrize(
    ("codec", "pid"), [("mp2", 300), ("mp2", 257), ("ac3", 257), ("aac", 300), ("aac", 257)]
)
def test_a_transport_stream_may_change_its_codec_and_its_pid(
    tmp_path: Path, codec: str, pid: int
) -> None:
    parts = []
    for hertz, name, at, channels in ((LOW, "aac", 257, 1), (HIGH, codec, pid, 2)):
        path = tmp_path / "a.ts"
        parts.append(transport_stream(path, hertz, name, at, channels))
    assert_both_are_heard(Source.of(b"".join(parts), name="a.ts"), seconds=2.05)


def transport_stream(path: Path, hertz: float, codec: str, pid: int, channels: int) -> bytes:
    """A second of a tone in a transport stream, with the PID ``pid``."""
    layout = "mono" if channels == 1 else "stereo"
    track = Track(samples=sound(hertz, 48_000, channels), rate=48_000, codec=codec, layout=layout)
    # The muxer counts PIDs of tracks from here.
    options = {"mpegts_start_pid": str(pid)}
    return write_tracks(path, track, options=options).read_bytes()


def test_two_tracks_of_a_transport_stream_do_not_take_over_from_each_other(
    tmp_path: Path,
) -> None:
    tracks = [
        Track(samples=np.tile(sound(hertz, 48_000), seconds), rate=48_000, codec="mp2")
        for hertz, seconds in ((LOW, 2), (HIGH, 4))
    ]
    samples = audio.load_audio(Source.of(write_tracks(tmp_path / "a.ts", *tracks))).samples
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.1)
    assert pitch(samples[-12_000:-4_000]) == pytest.approx(LOW, abs=5)


def test_the_end_of_a_transport_stream_is_heard_once(tmp_path: Path) -> None:
    track = Track(samples=sound(LOW, 44_100), rate=44_100, codec="aac")
    found = audio.load_audio(Source.of(write_tracks(tmp_path / "a.ts", track, picture=0)))
    assert found.seconds == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("name", ["a.ogg", "a.wav", "a.flac", "a.mp4", "a.mka"])
def test_an_ordinary_file_is_one_part(tmp_path: Path, name: str) -> None:
    codec = {"a.ogg": "libopus", "a.flac": "flac", "a.mp4": "aac"}.get(name, "pcm_s16le")
    (span,) = parts_of(Source.of(part(tmp_path / name, LOW, codec, 48_000)))
    assert (span.start, span.stop) == (0, None)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            struct.pack(">I4s4x4x", 16, b"ftyp") + struct.pack(">I4sQ", 1, b"moov", 2**63 + 5),
            id="MP4",
        ),
        pytest.param(
            b"\x1a\x45\xdf\xa3" + bytes([0x01]) + (2**56 - 2).to_bytes(7, "big")[-7:] + bytes(8),
            id="Matroska",
        ),
    ],
)
def test_a_box_may_claim_more_bytes_than_a_file_can_have(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "claims"
    path.write_bytes(content)
    (span,) = parts_of(Source.of(path))
    assert (span.start, span.stop) == (0, None)


def test_the_short_last_packet_of_gsm_is_no_damage(caplog: pytest.LogCaptureFixture) -> None:
    frames = [b"\xd2" + np.random.default_rng(n).bytes(32) for n in range(50)]
    data = b"".join(frames) + frames[0][:24]
    with caplog.at_level(logging.WARNING):
        found = audio.load_audio(Source.of(data))
    assert found.seconds == pytest.approx(1.0, abs=0.05)
    assert caplog.text == ""


def test_the_short_last_packet_of_amr_is_no_damage(caplog: pytest.LogCaptureFixture) -> None:
    frames = [b"\x3c" + np.random.default_rng(n).bytes(31) for n in range(50)]
    data = b"#!AMR\n" + b"".join(frames) + frames[0][:17]
    with caplog.at_level(logging.WARNING):
        found = audio.load_audio(Source.of(data))
    assert found.seconds == pytest.approx(1.0, abs=0.05)
    assert caplog.text == ""


def test_sound_after_the_length_in_a_header_is_searched_for_no_parts(tmp_path: Path) -> None:
    """The length of a WAV of more than 4 GB does not fit into its header."""
    data = bytearray(write_wav(tmp_path / "a.wav", np.zeros(500_000, np.int16)).read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 1_000)
    (span,) = parts_of(Source.of(bytes(data)))
    assert (span.start, span.stop) == (0, None)


def test_a_large_file_is_searched_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_LARGE", 1_000)
    one = part(tmp_path / "a.flac", LOW, "flac", 44_100)
    two = part(tmp_path / "a.flac", HIGH, "flac", 22_050)
    path = tmp_path / "joined.flac"
    source = Source.of(path)
    path.write_bytes(one + two)
    assert len(parts_of(source)) == 2
    assert parts_of(source) is parts_of(source)
    path.write_bytes(one)
    assert len(parts_of(source)) == 1
