"""Sources: files, pipes, standard input and memory become seekable streams."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path

import pytest

from gemma4cli.errors import MediaDecodeError, MediaError, MediaNotFoundError
from gemma4cli.media.kinds import HEAD_BYTES, sniff
from gemma4cli.media.sources import open_source, settle
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


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaDecodeError, match="is a folder"):
        open_source(Source.of(tmp_path))


def test_a_device_is_refused() -> None:
    with pytest.raises(MediaDecodeError, match="is a device"):
        open_source(Source.of("/dev/null"))


@pytest.mark.parametrize("as_bytes", [True, False])
def test_an_empty_source_is_refused(tmp_path: Path, as_bytes: bool) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(MediaDecodeError, match="is empty"):
        open_source(Source.of(b"") if as_bytes else Source.of(path))


def test_a_file_that_may_not_be_read_says_so(
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


def test_a_terminal_is_no_media_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", FakeStdin(b"", terminal=True))
    with pytest.raises(MediaError, match="standard input is a terminal"):
        open_source(STDIN)


def test_closed_standard_input_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "JPEG", "image"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "WebP", "image"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "WAV", "audio"),
        (b"RIFF\x24\x00\x00\x00AVI LIST", "AVI", "video"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC", "image"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", "AVIF", "image"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00miafavif", "AVIF", "image"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "HEIC", "image"),
        (b"\x00\x00\x00\x14ftypM4A \x00\x00\x02\x00isom", "M4A", "audio"),
        (b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00mp41", "MP4 or MOV", "video"),
        (b"%PDF-1.7\n", "PDF", "other"),
        (b"BM\x36\x00\x0c\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00", "BMP", "image"),
        (b"P6\n4 4\n255\n", "PNM", "image"),
    ],
)
def test_content_tells_the_kind(head: bytes, name: str, kind: str) -> None:
    found = sniff(head[:HEAD_BYTES])
    assert found is not None
    assert (found.name, found.kind) == (name, kind)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"B",
        b"P",
        b"hello there",
        b"BMW is a car maker. Other",
        b"I think WEBP is a format",
        b"FORM\x24\x00\x00\x00WAVEfmt ",
    ],
)
def test_other_content_tells_nothing(head: bytes) -> None:
    assert sniff(head) is None
