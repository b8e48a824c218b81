"""Sound that is heard as it comes from a pipe, and what it has in common with a file's."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scripted import Says, Tape, piece, segments, stream, texts
from support.samples import sample
from support.sound_files import Track, write_tracks

import gemma4cli
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import Gemma4Error
from gemma4cli.media import containers, feeds, part_starts, sources
from gemma4cli.media.feeds import Feed
from gemma4cli.media.sound.audio import load_audio
from gemma4cli.messages import Source
from gemma4cli.options import TranscribeOptions
from gemma4cli.transcript import SegmentReady
from gemma4cli.transcription.cut import Limits, Piece
from gemma4cli.transcription.recordings import FileRecording

PATIENCE = 120.0
"""Seconds after which a pipe is closed that a test would otherwise wait for; then it fails."""

LIMITS = Limits(longest=10.0)


def speech(number: int) -> npt.NDArray[np.int16]:
    samples = load_audio(Source.of(sample(f"speech0{number}.wav"))).samples
    return np.round(samples * 32767).astype(np.int16)


def pause(seconds: float) -> npt.NDArray[np.int16]:
    return np.zeros(round(seconds * 16_000), np.int16)


FIRST, SECOND = speech(4), speech(7)
SPOKEN = np.concatenate([FIRST, pause(5.0), SECOND, pause(1.0)])[None]
AT_48_KHZ = np.repeat(SPOKEN, 3, axis=1)

FORMATS = {
    "a.wav": Track(samples=SPOKEN),
    "a.flac": Track(samples=SPOKEN, codec="flac"),
    "a.ogg": Track(samples=AT_48_KHZ, rate=48_000, codec="libopus"),
    "a.webm": Track(samples=AT_48_KHZ, rate=48_000, codec="libopus"),
    "a.mka": Track(samples=SPOKEN, at=2.5),
    "a.ts": Track(samples=SPOKEN, codec="aac"),
    "a.aac": Track(samples=SPOKEN, codec="aac"),
    "a.mp3": Track(samples=SPOKEN, codec="libmp3lame"),
    "a.flv": Track(samples=SPOKEN, codec="aac"),
    "a.aiff": Track(samples=SPOKEN, codec="pcm_s16be"),
    "a.au": Track(samples=SPOKEN, codec="pcm_s16be"),
    "a.wma": Track(samples=SPOKEN, codec="wmav2"),
    "a.avi": Track(samples=SPOKEN),
}
STORED = {"a.m4a": Track(samples=SPOKEN, codec="aac"), "a.caf": Track(samples=SPOKEN)}


@contextmanager
def pipe_of(
    data: bytes, monkeypatch: pytest.MonkeyPatch, *, open: bool = False
) -> Iterator[Source]:
    """A pipe as standard input; with ``open``, its writer does not end after the data."""
    reader, writer = os.pipe()
    stdin = io.TextIOWrapper(os.fdopen(reader, "rb"))
    monkeypatch.setattr(sources.sys, "stdin", stdin)
    done = threading.Event()

    def write() -> None:
        with os.fdopen(writer, "wb") as stream:
            try:
                stream.write(data)
                stream.flush()
            except BrokenPipeError:
                return
            if open:
                assert done.wait(PATIENCE), "the pipe was waited for"

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield Source(name="-")
    finally:
        done.set()
        stdin.close()
        thread.join()


Heard = tuple[list[tuple[float, float, bytes] | str], float]


def heard(source: Source, folder: Path, options: TranscribeOptions | None = None) -> Heard:
    """The pieces and notices of a recording, at last its error, and its length."""
    recording = FileRecording(source, spool_to=folder, options=options)
    found: list[tuple[float, float, bytes] | str] = []
    try:
        for each in recording.pieces(LIMITS):
            if isinstance(each, Piece):
                found.append((each.start, each.end, each.samples.tobytes()))
            elif each is not None:
                found.append(each.text.replace(f"{source.name}: ", "it: ", 1))
    except Gemma4Error as error:
        found.append(str(error).replace(f"{source.name}: ", "it: ", 1))
    return found, recording.position()


@pytest.mark.parametrize("name", FORMATS | STORED)
def test_a_pipe_is_heard_like_its_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tracks(tmp_path / name, (FORMATS | STORED)[name])
    folder = tmp_path / "temporary"
    folder.mkdir()
    with pipe_of(path.read_bytes(), monkeypatch) as source:
        assert heard(source, folder) == (expected := heard(Source.of(path), folder))
    assert len(expected[0]) == 2
    assert len(list(folder.iterdir())) == (name in STORED)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mka", "a.mp3", "a.aiff", "a.flv"])
def test_a_pipe_of_recordings_that_were_put_together_is_heard_like_their_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = write_tracks(tmp_path / name, FORMATS[name]).read_bytes()
    joined = tmp_path / f"joined-{name}"
    joined.write_bytes(part + part)
    with pipe_of(part + part, monkeypatch) as source:
        assert heard(source, tmp_path) == (expected := heard(Source.of(joined), tmp_path))
    assert len(expected[0]) >= 3


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.webm", "a.ts", "a.mp3", "a.m4a"])
def test_what_a_killed_writer_has_sent_is_heard(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_tracks(tmp_path / name, (FORMATS | STORED)[name]).read_bytes()
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole[: len(whole) * 9 // 10])
    with pipe_of(cut.read_bytes(), monkeypatch) as source:
        assert heard(source, tmp_path) == heard(Source.of(cut), tmp_path)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_wav_without_a_length_is_heard_to_its_end(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_tracks(tmp_path / "a.wav", FORMATS["a.wav"])
    data = bytearray(whole.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = size.to_bytes(4, "little")
    with pipe_of(bytes(data), monkeypatch) as source:
        assert heard(source, tmp_path) == heard(Source.of(whole), tmp_path)


def test_a_wav_is_heard_beyond_the_length_that_its_writer_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (containers, part_starts):
        monkeypatch.setattr(module, "NO_SIZE", 60_000)
    whole = write_tracks(tmp_path / "a.wav", FORMATS["a.wav"])
    data = bytearray(whole.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = (64_000).to_bytes(4, "little")  # two seconds
    with pipe_of(bytes(data), monkeypatch) as source:
        found, seconds = heard(source, tmp_path)
    assert len(found) == 2
    assert seconds == pytest.approx(SPOKEN.shape[1] / 16_000, abs=0.01)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_an_mp3_ends_where_its_encoder_says(
    rate: int, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in mid-speech, so that the padding would be part of the last piece."""
    samples = np.tile(FIRST[:24_000], (2 if layout == "stereo" else 1, 1))
    track = Track(samples=samples, rate=rate, codec="libmp3lame", layout=layout)
    path = write_tracks(tmp_path / "a.mp3", track)
    with pipe_of(path.read_bytes(), monkeypatch) as source:
        assert heard(source, tmp_path) == heard(Source.of(path), tmp_path)


# While the pipe is open


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.webm", "a.ts", "a.aac", "a.mp3"])
def test_a_segment_comes_while_the_pipe_is_open(
    name: str, tiny: LoadedModel, says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says("one", "two")
    path = write_tracks(tmp_path / name, FORMATS[name])
    with pipe_of(path.read_bytes(), monkeypatch, open=True) as source:
        events = gemma4cli.stream_transcribe(tiny, [source], options=TranscribeOptions(batch=8))
        first = next(event for event in events if isinstance(event, SegmentReady))
        assert first.segment.text == "one"
        events.close()


@pytest.mark.parametrize("after", [b"", bytes(100_000)])
def test_a_wav_that_says_its_length_is_heard_to_its_end_before_more_is_waited_for(
    after: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tracks(tmp_path / "a.wav", Track(samples=FIRST[None]))
    with pipe_of(path.read_bytes() + after, monkeypatch, open=True) as source:
        pieces = FileRecording(source, spool_to=tmp_path).pieces(LIMITS)
        first = next(each for each in pieces if isinstance(each, Piece))
        ((start, end, samples),), _ = heard(Source.of(path), tmp_path)
        assert (first.start, first.end, first.samples.tobytes()) == (start, end, samples)
        pieces.close()  # type: ignore[attr-defined]


def test_leaving_ends_the_wait_for_a_pipe_in_which_nothing_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pipe_of(b"", monkeypatch, open=True) as source:
        pieces = FileRecording(source, spool_to=tmp_path).pieces(LIMITS)
        assert next(pieces) is None
        pieces.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name.startswith("ahead")]


def test_pieces_do_not_wait_for_a_batch_while_nothing_comes(tiny: LoadedModel, says: Says) -> None:
    script = says(*"abcde")
    items = [None, piece(0), None, piece(10), piece(20), piece(30), None, piece(40)]
    events = list(stream(tiny, Tape(items), batch=2))
    assert texts(events) == list("abcde")
    assert [each.start for each in segments(events)] == [0, 10, 20, 30, 40]
    assert script.sizes == [1, 2, 1, 1]


# What is kept


class Endless(io.RawIOBase):
    """A stream with a beginning, and then the same again and again."""

    def __init__(self, head: bytes, pattern: bytes, most: int) -> None:
        self._head, self._pattern = head, pattern
        self.left = most

    def read(self, size: int = -1, /) -> bytes:
        head, self._head = self._head, b""
        data = (head + self._pattern * (size // len(self._pattern) + 1))[: min(size, self.left)]
        self.left -= len(data)
        return data


@contextmanager
def endless(
    head: bytes, pattern: bytes, monkeypatch: pytest.MonkeyPatch, most: int
) -> Iterator[Endless]:
    stream = Endless(head, pattern, most)
    stdin = type("Stdin", (), {"buffer": stream, "closed": False, "isatty": lambda self: False})
    monkeypatch.setattr(sources.sys, "stdin", stdin())
    yield stream


def test_long_silence_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "KEPT_BYTES", 1 << 20)
    header = write_tracks(tmp_path / "a.wav", Track(samples=pause(0.1)[None])).read_bytes()
    header = header[: header.index(b"data") + 4] + b"\xff\xff\xff\xff"
    kept = []
    received = Feed._receive

    def counted(feed: Feed) -> bool:
        kept.append(feed.kept)
        return received(feed)

    monkeypatch.setattr(Feed, "_receive", counted)
    with endless(header, bytes(2), monkeypatch, 10 << 20):
        found, seconds = heard(Source(name="-"), tmp_path)
    assert found == []
    assert seconds == pytest.approx((10 << 20) / 32_000, abs=0.1)
    assert max(kept) <= 1 << 20


@pytest.mark.parametrize("pattern", [bytes(1), b"y\n", bytes(range(256)) * 7 + b"\xff\xfb"])
def test_a_pipe_without_an_end_or_a_header_is_refused_soon(
    pattern: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endless(b"", pattern, monkeypatch, 1 << 30) as stream:
        (error,), _ = heard(Source(name="-"), tmp_path)
    assert error == "it: not an audio or video file"
    assert (1 << 30) - stream.left <= 24 << 20


def test_a_format_that_needs_its_end_is_read_up_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G4_MAX_STREAM_MB", "20")
    data = write_tracks(tmp_path / "a.m4a", STORED["a.m4a"]).read_bytes()
    with endless(data, bytes(1), monkeypatch, 1 << 30) as stream:
        (error,), _ = heard(Source(name="-"), tmp_path)
    assert isinstance(error, str)
    assert error.startswith("it: has more than 20 MB")
    assert (1 << 30) - stream.left <= 24 << 20


def test_a_header_that_does_not_end_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT_BYTES", 1 << 20)
    monkeypatch.setenv("G4_MAX_STREAM_MB", "8")
    tag = b"ID3\x04\0\0\x7f\x7f\x7f\x7f"  # 256 MB of names and covers
    with endless(tag, bytes(1), monkeypatch, 1 << 30) as stream:
        (error,), _ = heard(Source(name="-"), tmp_path)
    assert isinstance(error, str)
    assert error.startswith("it: ")
    assert (1 << 30) - stream.left <= 12 << 20


# Tracks


def two_tracks(path: Path, seconds: float) -> Path:
    return write_tracks(
        path,
        Track(samples=pause(seconds)[None], language="ger"),
        Track(samples=FIRST[None], language="eng"),
    )


@pytest.mark.parametrize("kept", [1 << 18, feeds.KEPT_BYTES])
def test_the_next_track_is_heard_if_the_first_has_no_speech(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT_BYTES", kept)
    path = two_tracks(tmp_path / "a.mka", 20.0)
    with pipe_of(path.read_bytes(), monkeypatch) as source:
        assert heard(source, tmp_path) == heard(Source.of(path), tmp_path)


def test_no_copy_is_left_of_tracks_whose_first_one_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    tracks = [Track(samples=SPOKEN), Track(samples=SPOKEN)]
    path = write_tracks(tmp_path / "a.mka", *tracks)
    with pipe_of(path.read_bytes(), monkeypatch) as source:
        assert heard(source, folder) == heard(Source.of(path), folder)
    assert list(folder.iterdir()) == []


def test_a_track_that_is_past_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G4_MAX_STREAM_MB", "1")
    path = two_tracks(tmp_path / "a.mka", 40.0)
    folder = tmp_path / "temporary"
    folder.mkdir()
    with pipe_of(path.read_bytes(), monkeypatch) as source:
        found, _ = heard(source, folder)
    assert found[1:] == [
        "it: audio track 1 (German): no speech; the others cannot be heard any more in a pipe; "
        "choose with --track, or pass a file"
    ]
    assert list(folder.iterdir()) == []


def test_a_track_that_a_pipe_lacks_is_an_error_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = two_tracks(tmp_path / "a.mka", 2.0)
    with pipe_of(path.read_bytes(), monkeypatch, open=True) as source:
        (error,), _ = heard(source, tmp_path, TranscribeOptions(track="fr"))
    assert "it has 1 (German), 2 (English)" in error
