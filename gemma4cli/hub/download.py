"""A repository of the hub into the local cache: what g4 reads of it, and nothing else.

Weights are written by a download that goes on where another one broke off, which huggingface_hub's
own does not do inside a file; everything else, and the cache's order, is huggingface_hub's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import DownloadError, UnsupportedModelError
from ..models.config import Gemma4Config

logger = logging.getLogger(__name__)

WEIGHTS = "model*.safetensors"
FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
)
"""What is read of a repository beside its weights."""

_SPARE = 100_000_000
"""Bytes of disk that stay free."""

OnBytes = Callable[[int], None]
"""Told how many bytes are there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file of the repository. ``here`` is what of its ``size`` in bytes is cached."""

    name: str
    size: int
    here: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """What fetching a repository takes, looked up and not begun. ``folder`` is the cache's."""

    repo: str
    folder: Path
    files: tuple[RemoteFile, ...]
    disk_free: int

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def here(self) -> int:
        return sum(file.here for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes still to come."""
        return self.size - self.here


def plan(repo: str) -> Download:
    """Ask the hub what there is to fetch. Raises DownloadError."""
    from huggingface_hub import HfApi, constants

    with _told(repo):
        info = HfApi().model_info(repo, files_metadata=True)
    root = _root(repo)
    files = []
    for sibling in info.siblings or ():
        if not (sibling.rfilename in FILES or fnmatch(sibling.rfilename, WEIGHTS)):
            continue
        lfs = sibling.lfs
        etag = lfs.sha256 if lfs is not None else sibling.blob_id
        files.append(
            RemoteFile(
                name=sibling.rfilename,
                size=sibling.size or 0,
                here=_here(root / "blobs" / str(etag)),
            )
        )
    if not any(file.name == "config.json" for file in files):
        raise DownloadError(repo, "has no config.json, so it holds no checkpoint that g4 reads")
    if not any(fnmatch(file.name, WEIGHTS) for file in files):
        raise DownloadError(repo, "has no weights as safetensors files; g4 reads no others")
    cache = Path(constants.HF_HUB_CACHE)
    return Download(repo=repo, folder=root, files=tuple(files), disk_free=_disk_free(cache))


def require_disk(download: Download) -> None:
    """Raise DownloadError where the disk has no room for what is missing."""
    if download.missing + _SPARE > download.disk_free:
        raise DownloadError(
            download.repo,
            f"{download.missing / 1e9:.2f} GB are to come and the disk of {download.folder.parent} "
            f"has {download.disk_free / 1e9:.2f} GB free: make room, or set HF_HUB_CACHE to a "
            "folder on another disk",
        )


def fetch(download: Download, on_bytes: OnBytes) -> Path:
    """Fetch what is missing and return the folder; what broke off before goes on.

    Raises DownloadError, and UnsupportedModelError before any weights come where the repository
    is no Gemma 4.
    """
    from huggingface_hub import snapshot_download

    repo = download.repo
    require_disk(download)
    weights = [file for file in download.files if fnmatch(file.name, WEIGHTS)]
    small = [file for file in download.files if file not in weights]
    with _told(repo), _no_bars():
        folder = Path(snapshot_download(repo, allow_patterns=[file.name for file in small]))
        _require_gemma4(repo, folder)
        done = sum(file.size for file in small)
        for file in weights:
            _fetch_weights(repo, file, _Meter(on_bytes, done))
            done += file.size
        names = [file.name for file in download.files]
        folder = Path(snapshot_download(repo, allow_patterns=names))
    on_bytes(download.size)
    return folder


def _require_gemma4(repo: str, folder: Path) -> None:
    try:
        raw = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise DownloadError(repo, f"its config.json cannot be read ({exc})") from exc
    if not isinstance(raw, dict):
        raise UnsupportedModelError(repo, "its config.json describes no model")
    Gemma4Config.from_dict(raw)


class _Meter:
    """Counts bytes on their way; ``before`` are those of the files that came first."""

    def __init__(self, on_bytes: OnBytes, before: int) -> None:
        self._on_bytes = on_bytes
        self._before = before

    def tell(self, count: int) -> None:
        self._on_bytes(self._before + count)


class _CountedFile:
    """A file that tells a meter how long it has become; it can do what ``http_get`` asks of it."""

    def __init__(self, file: BinaryIO, meter: _Meter) -> None:
        self._file = file
        self._meter = meter

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._meter.tell(self._file.tell())
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        return self._file.truncate(size)


def _fetch_weights(repo: str, file: RemoteFile, meter: _Meter) -> None:
    """Put one file of weights where the cache expects its content, unless it is there."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, file.name)
    metadata = get_hf_file_metadata(url)
    if metadata.etag is None:
        raise DownloadError(repo, f"the hub does not say which version of {file.name} it has")
    blob = _root(repo) / "blobs" / metadata.etag
    if blob.exists():
        meter.tell(file.size)
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = _part(blob)
    with part.open("ab") as opened:
        _lock(repo, opened)
        begun = opened.tell()
        if begun > file.size:
            opened.truncate(0)
            begun = 0
        logger.debug("%s: goes on from byte %d of %d", file.name, begun, file.size)
        meter.tell(begun)
        http_get(
            url,
            cast(BinaryIO, _CountedFile(opened, meter)),
            resume_size=begun,
            headers=build_hf_headers(),
            expected_size=metadata.size,
        )
        opened.flush()
        os.fsync(opened.fileno())
        _check(repo, file.name, part, metadata.etag)
        part.replace(blob)


def _lock(repo: str, file: BinaryIO) -> None:
    """Keep another g4 from writing the same file; the lock ends with the process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise DownloadError(repo, "another g4 is fetching it") from exc
    except OSError:  # a disk without locks
        logger.debug("no locks in %s", file.name)
    file.seek(0, os.SEEK_END)


def _check(repo: str, name: str, part: Path, etag: str) -> None:
    """Compare what came with its checksum, where the hub names files by it."""
    if len(etag) != 64:
        return
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != etag:
        part.unlink()
        raise DownloadError(repo, f"{name} came with another checksum than the hub's: try again")


def _root(repo: str) -> Path:
    """The folder of a repository in the cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repo, repo_type="model")
    return Path(constants.HF_HUB_CACHE) / name


def _part(blob: Path) -> Path:
    """What has come of a blob, under the name that huggingface_hub gave to such files."""
    return blob.with_name(f"{blob.name}.incomplete")


def _here(blob: Path) -> int:
    for path in (blob, _part(blob)):
        if path.is_file():
            return path.stat().st_size
    return 0


def _disk_free(folder: Path) -> int:
    """Bytes free where ``folder`` is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def _no_bars() -> Iterator[None]:
    """huggingface_hub shows no progress of its own."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """Errors of huggingface_hub, and of the network below it, as DownloadError."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    unreachable = "the hub cannot be reached; what has come so far is kept, try again later"
    try:
        yield
    except HFValidationError as exc:
        raise DownloadError(repo, "is no valid repository name") from exc
    except OfflineModeIsEnabled as exc:
        raise DownloadError(
            repo, "offline (--offline or HF_HUB_OFFLINE), so nothing can be fetched"
        ) from exc
    except GatedRepoError as exc:
        raise DownloadError(
            repo, f"ask for access at https://huggingface.co/{repo}, then run: hf auth login"
        ) from exc
    except RepositoryNotFoundError as exc:
        raise DownloadError(
            repo, "the hub has no such repository; for a private one run: hf auth login"
        ) from exc
    except HfHubHTTPError as exc:
        raise DownloadError(repo, f"the hub answers: {str(exc).splitlines()[0]}") from exc
    except (HTTPError, LocalEntryNotFoundError, ConnectionError) as exc:
        raise DownloadError(repo, unreachable) from exc
    except OSError as exc:
        raise DownloadError(repo, f"cannot be kept ({exc.strerror or exc})") from exc
