"""Files, pipes, standard input and memory open as seekable streams; first bytes give the kind."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.bounded import read_bounded
from gemma4cli.errors import MediaDecodeError, MediaError, MediaNotFoundError, OptionError
from gemma4cli.media.kinds import HEAD_BYTES, FileKind, Kind, sniff
from gemma4cli.media.limits import stream_limit
from gemma4cli.media.sources import feed_of, open_source, settle, spool
from gemma4cli.messages import Source

STDIN = Source(name="-")


class FakeStdin:
    """Standard input with given bytes."""

    closed = False

    def __init__(self, data: bytes, *, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(data)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def test_a_file_opens_at_its_first_byte_and_seeks(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    with open_source(Source.of(path)) as stream:
        assert stream.read(3) == b"012"
        stream.seek(8)
        assert stream.read() == b"89"


def test_bytes_open_any_number_of_times() -> None:
    source = Source.of(b"abc")
    for _ in range(2):
        with open_source(source) as stream:
            assert stream.read() == b"abc"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"gone\.png: no such file"):
        open_source(Source.of(tmp_path / "gone.png"))


def test_a_file_below_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(MediaNotFoundError):
        open_source(Source.of(tmp_path / "a" / "b.png"))


@pytest.mark.parametrize("name", ["nul\0byte", ""])
def test_a_source_that_names_nothing_is_missing(name: str) -> None:
    source = Source.of(name) if name else Source(name="nothing")
    with pytest.raises(MediaNotFoundError):
        open_source(source)


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaDecodeError, match="is a folder"):
        open_source(Source.of(tmp_path))


def test_a_device_is_an_error() -> None:
    with pytest.raises(MediaDecodeError, match="is a device"):
        open_source(Source.of("/dev/null"))


@pytest.mark.parametrize("as_bytes", [True, False])
def test_an_empty_source_is_an_error(tmp_path: Path, as_bytes: bool) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(MediaDecodeError, match="is empty"):
        open_source(Source.of(b"") if as_bytes else Source.of(path))


def test_a_file_without_read_permission_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(b"x")

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MediaError, match=r"secret\.png: cannot be read: permission denied"):
        open_source(Source.of(path))


def test_standard_input_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", FakeStdin(b"piped"))
    with open_source(STDIN) as stream:
        assert stream.read() == b"piped"


def test_settled_standard_input_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", FakeStdin(b"piped"))
    settled = settle(STDIN)
    assert settled == Source(name="-", data=b"piped")
    assert settle(settled) is settled


def test_standard_input_cannot_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", FakeStdin(b"piped"))
    open_source(STDIN).close()
    with pytest.raises(MediaDecodeError, match="was already read"):
        open_source(STDIN)


def test_standard_input_from_a_terminal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", FakeStdin(b"", terminal=True))
    with pytest.raises(MediaError, match="standard input is a terminal"):
        open_source(STDIN)


def test_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(MediaError, match="standard input is closed"):
        open_source(STDIN)


def test_a_named_pipe_is_read_whole(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"through a pipe",))
    writer.start()
    with open_source(Source.of(pipe)) as stream:
        assert stream.read() == b"through a pipe"
        assert stream.seek(0) == 0
    writer.join()


HEADS: list[tuple[bytes, str, Kind]] = [
    (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG", "image"),
    (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "WebP", "image"),
    (b"RIFF\x24\x00\x00\x00WAVEfmt ", "WAV", "audio"),
    (b"RIFF\x24\x00\x00\x00AVI LIST", "AVI", "video"),
    (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC", "image"),
    (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", "AVIF", "image"),
    (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "HEIC", "image"),
    (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00miafavif", "AVIF", "image"),
    (b"\x00\x00\x00\x14ftypM4A \x00\x00\x02\x00isom", "M4A", "audio"),
    (b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00mp41", "MP4 or MOV", "video"),
    (b"%PDF-1.7\n", "PDF", "other"),
    (b"BM\x36\x00\x0c\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00", "BMP", "image"),
    (b"P6\n4 4\n255\n", "PNM", "image"),
]


def test_the_first_bytes_identify_the_kind_of_a_file() -> None:
    found = [(head, sniff(head[:HEAD_BYTES])) for head, _, _ in HEADS]
    assert found == [(head, FileKind(name=name, kind=kind)) for head, name, kind in HEADS]


def test_other_bytes_identify_nothing() -> None:
    heads = [
        b"",
        b"B",
        b"P",
        b"hello there",
        b"BMW is a car maker. Other",
        b"I think WEBP is a format",
        b"FORM\x24\x00\x00\x00WAVEfmt ",
    ]
    assert [head for head in heads if sniff(head) is not None] == []


@given(head=st.binary(max_size=HEAD_BYTES))
def test_any_bytes_can_be_sniffed(head: bytes) -> None:
    found = sniff(head)
    assert found is None or found.kind in get_args(Kind)


@given(size=st.binary(min_size=4, max_size=4), brands=st.binary(max_size=HEAD_BYTES - 8))
def test_any_brands_can_be_sniffed(size: bytes, brands: bytes) -> None:
    """Whatever the box says about its size."""
    found = sniff(size + b"ftyp" + brands)
    assert found is not None
    assert found.kind in get_args(Kind)


@given(known=st.sampled_from(HEADS), rest=st.binary(max_size=HEAD_BYTES))
def test_bytes_after_a_complete_header_change_nothing(
    known: tuple[bytes, str, Kind], rest: bytes
) -> None:
    head, name, kind = known
    assert sniff((head + rest)[:HEAD_BYTES]) == FileKind(name=name, kind=kind)


class Endless(io.RawIOBase):
    """The same bytes again and again; ``given`` counts them."""

    def __init__(self, pattern: bytes, head: bytes = b"") -> None:
        self._pattern, self._head = pattern, head
        self.given = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "asks for an end that never comes"
        head, self._head = self._head, b""
        data = (head + self._pattern * (size // len(self._pattern) + 1))[:size]
        self.given += len(data)
        return data


def from_stdin(monkeypatch: pytest.MonkeyPatch, stream: Endless) -> Source:
    fake = FakeStdin(b"")
    fake.buffer = stream  # type: ignore[assignment]
    monkeypatch.setattr(sys, "stdin", fake)
    return STDIN


def spool_stdin(source: Source, folder: Path, is_wanted: Callable[[BinaryIO], bool]) -> Source:
    feed = feed_of(source)
    assert feed is not None
    with closing(feed):
        return spool(source, feed, folder, is_wanted)


@pytest.mark.parametrize("pattern", [b"\0", b"y\n"])
def test_standard_input_without_end_is_read_up_to_a_limit_that_can_be_changed(
    pattern: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G4_MAX_STREAM_MB", "3")
    stream = Endless(pattern)
    with pytest.raises(MediaDecodeError, match=r"more than 3 MB: save it .* G4_MAX_STREAM_MB"):
        settle(from_stdin(monkeypatch, stream))
    assert stream.given <= 5 << 20


def test_a_pipe_without_end_that_is_not_sound_is_refused_by_its_beginning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = Endless(b"y\n")
    with pytest.raises(MediaDecodeError, match="not an audio or video file"):
        spool_stdin(from_stdin(monkeypatch, stream), tmp_path, lambda head: False)
    assert stream.given <= 8 << 20
    assert not list(tmp_path.iterdir())


def test_a_recording_without_end_fills_no_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("G4_MAX_STREAM_MB", "6")
    with pytest.raises(MediaDecodeError, match="more than 6 MB"):
        spool_stdin(from_stdin(monkeypatch, Endless(b"\0")), tmp_path, lambda head: True)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 6 << 20


def test_a_small_file_may_not_be_a_device_without_end() -> None:
    with pytest.raises(OSError, match="larger than 1 MB"):
        read_bounded(Path("/dev/zero"), 1 << 20)


@pytest.mark.parametrize("given", ["abc", "-1", "0", "1e999", "nan", "9" * 5000])
def test_a_limit_of_streams_that_is_no_size_is_an_error(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G4_MAX_STREAM_MB", given)
    with pytest.raises(OptionError, match="G4_MAX_STREAM_MB must be a number of MB") as caught:
        stream_limit(256)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("given", "size"), [("", 256 << 20), ("0.5", 1 << 19), ("1e3", 1000 << 20)]
)
def test_a_limit_of_streams_may_be_any_size(
    given: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G4_MAX_STREAM_MB", given)
    assert stream_limit(256) == size
