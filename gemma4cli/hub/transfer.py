"""Download one large file of the hub into its cache, resuming an interrupted transfer.

huggingface_hub starts an interrupted file over, with Xet and with HTTP (docs/log.md has the
numbers). Here the received bytes stay in the cache as ``<blob>.incomplete`` and only the rest is
requested: from the Xet storage, which sends in parallel, or by HTTP if a file is not stored there.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..errors import DownloadError

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

logger = logging.getLogger(__name__)

OnBytes = Callable[[int], None]
"""Called with the number of bytes downloaded so far."""

_WINDOW = 128_000_000
"""Bytes requested from the Xet storage at once. They arrive out of order and are written in order,
so an interruption loses up to this much."""

UNREACHABLE = "the hub cannot be reached; the partial download is kept, try again later"

_TRIES = 5
"""Give up after this many consecutive HTTP connections that break without receiving a byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LargeFile:
    """A file to download from ``url``. ``blob`` is the path of its content in the cache."""

    repo: str
    url: str
    blob: Path
    size: int
    sha256: str


def downloaded_bytes(blob: Path) -> int:
    """Bytes of a blob that are in the cache, complete or not."""
    for path in (blob, _part(blob)):
        if path.is_file():
            return path.stat().st_size
    return 0


def transfer(wanted: LargeFile, on_bytes: OnBytes) -> None:
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
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise DownloadError(repo, "another g4 is downloading it") from exc
    except OSError:  # a file system without locks
        logger.debug("cannot lock %s", file.name)
    file.seek(0, os.SEEK_END)


def _start_over(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _check(wanted: LargeFile, part: Path) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wanted.sha256:
        part.unlink()
        raise DownloadError(
            wanted.repo, f"{wanted.url}: the checksum does not match the hub's: try again"
        )


def _complete(wanted: LargeFile, file: BinaryIO, on_bytes: OnBytes) -> None:
    """Append the missing bytes, reconnecting by HTTP while connections make progress."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    on_bytes(file.tell())
    if file.tell() == wanted.size:
        return
    metadata = get_hf_file_metadata(wanted.url)
    tries = 0
    while (start := file.tell()) < wanted.size:
        broken: HTTPError | None = None
        try:
            for chunk in _chunks(wanted, metadata, file):
                file.write(chunk)
                on_bytes(file.tell())
        except HfHubHTTPError:
            raise
        except HTTPError as exc:
            broken = exc
        tries = 0 if file.tell() > start else tries + 1
        if tries == _TRIES:
            raise DownloadError(wanted.repo, UNREACHABLE) from broken
        if broken is not None:
            logger.info("%s: %s; resuming at byte %d", wanted.url, broken, file.tell())
            time.sleep(1)


def _chunks(wanted: LargeFile, metadata: HfFileMetadata, file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file, from the end of ``file``."""
    from huggingface_hub import constants

    xet = metadata.xet_file_data
    if xet is None or constants.HF_HUB_DISABLE_XET:
        return _by_http(wanted, file)
    return _by_xet(wanted, xet.file_hash, xet.refresh_route, file.tell())


def _by_xet(wanted: LargeFile, content: str, token_url: str, offset: int) -> Iterator[bytes]:
    """``content`` is the file's hash in the storage; ``token_url``, on the hub, grants access."""
    from hf_xet import XetFileInfo, XetSession

    info = XetFileInfo(content, wanted.size)
    try:
        with XetSession().new_download_stream_group(
            token_refresh_url=token_url, token_refresh_headers=_authorization()
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


def _by_http(wanted: LargeFile, file: BinaryIO) -> Iterator[bytes]:
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import hf_raise_for_status

    resume = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    headers = {"Accept-Encoding": "identity", **resume, **_authorization()}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", wanted.url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        if response.status_code != 206:  # the server sends the whole file
            _start_over(file)
        yield from response.iter_bytes(constants.DOWNLOAD_CHUNK_SIZE)


def _authorization() -> dict[str, str]:
    """The user's token, only for the hub: it is not sent to a host after a redirect."""
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}
