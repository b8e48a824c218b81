"""One large file of the hub into its cache, going on where an earlier transfer broke off.

huggingface_hub starts an interrupted file over, by Xet as by HTTP (docs/log.md has the numbers).
Here the bytes that have come stay in the cache as ``<blob>.incomplete`` and only the rest is
asked for: from the Xet storage, which sends in parallel, or by HTTP where a file is not kept there.
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
"""Told how many bytes are there."""

_WINDOW = 128_000_000
"""Bytes asked of the Xet storage at once. They arrive out of order and are written in order, so an
interruption loses up to this much."""

BROKEN = "the hub cannot be reached; what has come so far is kept, try again later"

_TRIES = 5
"""HTTP connections that break one after another without a byte in between before giving up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LargeFile:
    """A file to fetch from ``url``. ``blob`` is where the cache keeps its content."""

    repo: str
    url: str
    blob: Path
    size: int
    sha256: str


def here_of(blob: Path) -> int:
    """Bytes of a blob that have come."""
    for path in (blob, _part(blob)):
        if path.is_file():
            return path.stat().st_size
    return 0


def transfer(wanted: LargeFile, on_bytes: OnBytes) -> None:
    """Put a file where the cache expects its content, unless it is there.

    Raises DownloadError, and the errors of huggingface_hub.
    """
    if wanted.blob.exists():
        on_bytes(wanted.size)
        return
    wanted.blob.parent.mkdir(parents=True, exist_ok=True)
    part = _part(wanted.blob)
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
    """What has come of a blob, under a name that the hub's tools know for unfinished files."""
    return blob.with_name(f"{blob.name}.incomplete")


def _lock(repo: str, file: BinaryIO) -> None:
    """Keep another g4 from writing the same file; the lock ends with the process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise DownloadError(repo, "another g4 is fetching it") from exc
    except OSError:  # a disk without locks
        logger.debug("no locks in %s", file.name)
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
            wanted.repo, f"{wanted.url} came with another checksum than the hub's: try again"
        )


def _complete(wanted: LargeFile, file: BinaryIO, on_bytes: OnBytes) -> None:
    """Append what is missing. A broken HTTP connection is replaced as long as bytes come."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    on_bytes(file.tell())
    if file.tell() == wanted.size:
        return
    metadata = get_hf_file_metadata(wanted.url)
    tries = 0
    while (begun := file.tell()) < wanted.size:
        broken: HTTPError | None = None
        try:
            for piece in _pieces(wanted, metadata, file):
                file.write(piece)
                on_bytes(file.tell())
        except HfHubHTTPError:
            raise
        except HTTPError as exc:
            broken = exc
        tries = 0 if file.tell() > begun else tries + 1
        if tries == _TRIES:
            raise DownloadError(wanted.repo, BROKEN) from broken
        if broken is not None:
            logger.info("%s: %s; going on from byte %d", wanted.url, broken, file.tell())
            time.sleep(1)


def _pieces(wanted: LargeFile, metadata: HfFileMetadata, file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file, from where ``file`` ends."""
    from huggingface_hub import constants

    xet = metadata.xet_file_data
    if xet is None or constants.HF_HUB_DISABLE_XET:
        return _by_http(wanted, file)
    return _by_xet(wanted, xet.file_hash, xet.refresh_route, file.tell())


def _by_xet(wanted: LargeFile, content: str, token_url: str, begun: int) -> Iterator[bytes]:
    """``content`` is what the storage calls it; ``token_url``, on the hub, gives access to it."""
    from hf_xet import XetFileInfo, XetSession

    info = XetFileInfo(content, wanted.size)
    try:
        with XetSession().new_download_stream_group(
            token_refresh_url=token_url, token_refresh_headers=_authorization()
        ) as group:
            for start in range(begun, wanted.size, _WINDOW):
                end = min(start + _WINDOW, wanted.size)
                yield from group.download_stream(info, start=start, end=end)
    except (OSError, RuntimeError) as exc:
        raise DownloadError(
            wanted.repo,
            f"the transfer broke off ({exc}); what has come so far is kept: try again later, "
            "or with HF_HUB_DISABLE_XET=1",
        ) from exc


def _by_http(wanted: LargeFile, file: BinaryIO) -> Iterator[bytes]:
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import hf_raise_for_status

    begun = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    headers = {"Accept-Encoding": "identity", **begun, **_authorization()}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", wanted.url, headers=headers, timeout=timeout) as response:
        hf_raise_for_status(response)
        if response.status_code != 206:  # the whole file comes
            _start_over(file)
        yield from response.iter_bytes(constants.DOWNLOAD_CHUNK_SIZE)


def _authorization() -> dict[str, str]:
    """The user's token, for the hub alone: a redirect to another host goes without it."""
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}
