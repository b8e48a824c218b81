"""Download one file of the hub into its cache, resuming an interrupted transfer of a large one.

huggingface_hub starts an interrupted file over, with Xet and with HTTP (docs/log.md has the
numbers). Here the received bytes stay in the cache as ``<blob>.incomplete`` and only the rest is
requested: from the Xet storage, which sends in parallel, or by HTTP if a file is not stored there.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from time import sleep as pause
from typing import TYPE_CHECKING, BinaryIO

from ..errors import DownloadError
from ..locks import Lock, lock
from .blobs import write_small
from .requests import SECONDS, SECONDS_OF_FILE, authorization, hub_answer, small_answer, within

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

logger = logging.getLogger(__name__)

OnBytes = Callable[[int], None]
"""Called with the number of bytes downloaded so far."""

_WINDOW = 128_000_000
"""Bytes requested from the Xet storage at once. They arrive out of order and are written in order,
so an interruption loses up to this much."""

UNREACHABLE = "the hub cannot be reached; the partial download is kept, try again later"

TOO_SLOW = "the hub sends too slowly; the partial download is kept, try again later"

_TRIES, _PROGRESS = 5, 10_000
"""Give up after this many consecutive HTTP connections that break before so many bytes."""


_XET_SECONDS = 600.0
"""Give up on the Xet storage after this long without the next bytes: on a slow line, a whole range
of up to 64 MB comes before its first byte is handed over."""

_PACE_SECONDS, _PACE_BYTES = 60.0, 60_000
"""Give up on a connection that brings fewer bytes in this time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedFile:
    """A file of one ``commit`` to download from ``url``, and what the hub lists of it.

    ``blob`` is the path of its content in the cache. ``sha256`` is that of a large file; ``sha1``
    that of a small one, as git computes it.
    """

    repo: str
    commit: str
    url: str
    blob: Path
    size: int
    sha256: str | None
    sha1: str | None


def downloaded_bytes(blob: Path) -> int:
    """Bytes of a blob that are in the cache, complete or not."""
    for path in (blob, _part(blob)):
        if path.is_file():
            return path.stat().st_size
    return 0


def fetch_small(wanted: WantedFile) -> bytes:
    """The content of a file, downloaded at once unless it is in the cache.

    Raises DownloadError, OSError, and the errors of huggingface_hub.
    """
    if wanted.blob.is_file():
        content = wanted.blob.read_bytes()
        if _matches(wanted, content):
            return content
    content = small_answer(
        wanted.repo,
        wanted.url,
        most_bytes=wanted.size,
        seconds=SECONDS_OF_FILE,
        commit=wanted.commit,
    )
    if len(content) < wanted.size:
        raise DownloadError(
            wanted.repo, f"{wanted.url}: the hub lists {wanted.size:,} bytes and sends fewer"
        )
    if not _matches(wanted, content):
        raise _wrong_checksum(wanted)
    write_small(wanted.blob, content)
    return content


def _matches(wanted: WantedFile, content: bytes) -> bool:
    if wanted.sha256 is not None:
        return hashlib.sha256(content).hexdigest() == wanted.sha256
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == wanted.sha1


def _wrong_checksum(wanted: WantedFile) -> DownloadError:
    return DownloadError(
        wanted.repo, f"{wanted.url}: the checksum does not match the hub's: try again"
    )


def transfer(wanted: WantedFile, on_bytes: OnBytes) -> None:
    """Download a file to where the cache expects its content, unless it exists.

    Raises DownloadError, and the errors of huggingface_hub.
    """
    part = _part(wanted.blob)
    if wanted.blob.exists():
        if wanted.blob.stat().st_size == wanted.size:
            on_bytes(wanted.size)
            return
        wanted.blob.replace(part)  # a copy that was cut off
    wanted.blob.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        _lock(wanted.repo, file)
        if wanted.blob.exists():  # another process has just finished
            part.unlink(missing_ok=True)
            on_bytes(wanted.size)
            return
        if file.tell() > wanted.size:
            _start_over(file)
        logger.debug("%s: from byte %d of %d", wanted.url, file.tell(), wanted.size)
        _complete(wanted, file, on_bytes)
        file.flush()
        os.fsync(file.fileno())
        _check(wanted, part)
        part.replace(wanted.blob)


def _part(blob: Path) -> Path:
    """The partial download of a blob, under the name that huggingface_hub uses for such files."""
    return blob.with_name(f"{blob.name}.incomplete")


def _lock(repo: str, file: BinaryIO) -> None:
    """Keep another g4 from writing the same file; the lock ends with the process."""
    if lock(file.fileno()) is Lock.TAKEN:
        raise DownloadError(repo, "another g4 is downloading it")
    file.seek(0, os.SEEK_END)


def _start_over(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _check(wanted: WantedFile, part: Path) -> None:
    sha = hashlib.sha256() if wanted.sha256 else hashlib.sha1(usedforsecurity=False)
    if wanted.sha256 is None:
        sha.update(b"blob %d\0" % wanted.size)
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: sha).hexdigest()
    if digest != (wanted.sha256 or wanted.sha1):
        part.unlink()
        raise _wrong_checksum(wanted)


def _complete(wanted: WantedFile, file: BinaryIO, on_bytes: OnBytes) -> None:
    """Append the missing bytes, reconnecting by HTTP while connections make progress."""
    from huggingface_hub.errors import HTTPError

    on_bytes(file.tell())
    if file.tell() == wanted.size:
        return
    metadata = _metadata(wanted)
    tries = 0
    while (start := file.tell()) < wanted.size:
        broken: HTTPError | None = None
        try:
            for chunk in _chunks(wanted, metadata, file):
                if file.tell() + len(chunk) > wanted.size:
                    raise DownloadError(
                        wanted.repo,
                        f"{wanted.url}: the hub lists {wanted.size:,} bytes and sends more",
                    )
                file.write(chunk)
                on_bytes(file.tell())
        except HTTPError as exc:
            broken = exc
        tries = 0 if file.tell() >= start + _PROGRESS else tries + 1
        if tries == _TRIES:
            raise DownloadError(wanted.repo, UNREACHABLE) from broken
        if broken is not None:
            logger.info("%s: %s; resuming at byte %d", wanted.url, broken, file.tell())
            pause(1)


def _metadata(wanted: WantedFile) -> HfFileMetadata | None:
    """What says whether a file is stored by Xet; None if that is not known.

    What is wrong with the answers is then said by the plain transfer.
    """
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.errors import HTTPError

    if constants.HF_HUB_DISABLE_XET:
        return None
    try:
        with within(wanted.repo, SECONDS):
            return get_hf_file_metadata(wanted.url)
    except (HTTPError, ValueError):
        return None


def _chunks(wanted: WantedFile, metadata: HfFileMetadata | None, file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file, from the end of ``file``."""
    xet = metadata.xet_file_data if metadata is not None else None
    if xet is None:
        return _by_http(wanted, file)
    return _in_time(wanted, _by_xet(wanted, xet.file_hash, xet.refresh_route, file.tell()))


def _in_time(wanted: WantedFile, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """``chunks``, read by a thread: the Xet library tries for minutes, and no signal ends that."""
    import threading
    from queue import Empty, Queue

    read: Queue[bytes | DownloadError | None] = Queue(maxsize=4)
    left = threading.Event()

    def fill() -> None:
        try:
            for chunk in chunks:
                read.put(chunk)
                if left.is_set():
                    return
            read.put(None)
        except DownloadError as exc:
            read.put(exc)

    threading.Thread(target=fill, daemon=True).start()
    try:
        while (got := read.get(timeout=_XET_SECONDS)) is not None:
            if isinstance(got, DownloadError):
                raise got
            yield got
    except Empty as exc:
        raise DownloadError(wanted.repo, TOO_SLOW) from exc
    finally:
        left.set()
        while not read.empty():
            read.get_nowait()


def _by_xet(wanted: WantedFile, content: str, token_url: str, offset: int) -> Iterator[bytes]:
    """``content`` is the file's hash in the storage; ``token_url``, on the hub, grants access."""
    from hf_xet import XetFileInfo, XetSession

    info = XetFileInfo(content, wanted.size)
    try:
        with XetSession().new_download_stream_group(
            token_refresh_url=token_url, token_refresh_headers=authorization()
        ) as group:
            for start in range(offset, wanted.size, _WINDOW):
                end = min(start + _WINDOW, wanted.size)
                yield from group.download_stream(info, start=start, end=end)
    except (OSError, RuntimeError) as exc:
        raise DownloadError(
            wanted.repo,
            f"the transfer was interrupted ({exc}); the partial download is kept: try again "
            "later, or with HF_HUB_DISABLE_XET=1",
        ) from exc


def _by_http(wanted: WantedFile, file: BinaryIO) -> Iterator[bytes]:
    from huggingface_hub import constants

    with hub_answer(wanted.repo, wanted.url, offset=file.tell(), commit=wanted.commit) as response:
        if response.status_code != 206:  # the server sends the whole file
            _start_over(file)
        since, received, most = monotonic(), 0, constants.DOWNLOAD_CHUNK_SIZE
        for block in response.iter_bytes():
            received += len(block)
            yield from (block[at : at + most] for at in range(0, len(block), most))
            if monotonic() - since > _PACE_SECONDS:
                if received < _PACE_BYTES:
                    raise DownloadError(wanted.repo, TOO_SLOW)
                since, received = monotonic(), 0
