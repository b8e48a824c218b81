"""Download a repository of the hub into the local cache: only the files that g4 reads.

Small files are downloaded by huggingface_hub's ``snapshot_download``, which also links the snapshot
at the end. Large ones are downloaded by ``transfer``, which resumes an interrupted download.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DownloadError, UnsupportedModelError
from ..models.config import Gemma4Config
from .transfer import UNREACHABLE, LargeFile, OnBytes, downloaded_bytes, transfer

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

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
"""The files that g4 reads in addition to the weights."""

_SPARE = 100_000_000
"""Bytes of disk to leave free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file of the repository. ``here`` is how many of its ``size`` bytes are cached.

    ``large`` is how to download a file that must be resumable; None for small files.
    """

    name: str
    size: int
    here: int
    large: LargeFile | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """A planned download.

    ``folder`` is the repository's folder in the cache, ``commit`` the revision of ``files``, and
    ``disk_free`` is in bytes.
    """

    repo: str
    commit: str
    folder: Path
    files: tuple[RemoteFile, ...]
    disk_free: int

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def here(self) -> int:
        """Bytes already in the cache."""
        return sum(file.here for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes still to download."""
        return self.size - self.here


def cache_folder() -> Path:
    """The cache folder of huggingface_hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def repo_folder(repo: str) -> Path:
    """The folder of a repository in the cache, by the layout that huggingface_hub documents.

    Raises HFValidationError for a string that cannot be a repository name.
    """
    from huggingface_hub import hf_hub_url

    hf_hub_url(repo, "config.json")  # checks the name
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def plan(repo: str) -> Download:
    """Ask the hub for the files of a repository. Raises DownloadError."""
    from huggingface_hub import HfApi

    with _hub_errors(repo):
        root = repo_folder(repo)
        info = HfApi().model_info(repo, files_metadata=True)
    commit = str(info.sha)
    files = [
        _remote_file(repo, commit, root, sibling)
        for sibling in info.siblings or ()
        if sibling.rfilename in FILES or fnmatch(sibling.rfilename, WEIGHTS)
    ]
    if not any(file.name == "config.json" for file in files):
        raise DownloadError(repo, "has no config.json, so g4 cannot read it as a checkpoint")
    if not any(fnmatch(file.name, WEIGHTS) for file in files):
        raise DownloadError(repo, "has no safetensors files, the only weights that g4 reads")
    return Download(
        repo=repo,
        commit=commit,
        folder=root,
        files=tuple(files),
        disk_free=_disk_free(root),
    )


def _remote_file(repo: str, commit: str, root: Path, listed: RepoSibling) -> RemoteFile:
    from huggingface_hub import hf_hub_url

    name, size = listed.rfilename, listed.size or 0
    if listed.lfs is None or name == "config.json":
        blob = root / "blobs" / str(listed.blob_id)
        return RemoteFile(name=name, size=size, here=downloaded_bytes(blob), large=None)
    sha256 = listed.lfs.sha256
    large = LargeFile(
        repo=repo,
        url=hf_hub_url(repo, name, revision=commit),
        blob=root / "blobs" / sha256,
        size=size,
        sha256=sha256,
    )
    return RemoteFile(name=name, size=size, here=downloaded_bytes(large.blob), large=large)


def require_disk(download: Download) -> None:
    """Raise DownloadError if the missing files do not fit on the disk."""
    if download.missing + _SPARE > download.disk_free:
        raise DownloadError(
            download.repo,
            f"{download.missing / 1e9:.2f} GB are still to download and the disk of "
            f"{download.folder.parent} has {download.disk_free / 1e9:.2f} GB free: free disk "
            "space, or set HF_HUB_CACHE to a folder on another disk",
        )


def fetch(download: Download, on_bytes: OnBytes) -> Path:
    """Download the missing bytes and return the folder; partial files are resumed.

    Raises DownloadError, and UnsupportedModelError before any weights are downloaded if the
    repository is not a Gemma 4.
    """
    from huggingface_hub import HfApi, snapshot_download

    repo = download.repo
    require_disk(download)
    small = [file for file in download.files if file.large is None]
    large = [file.large for file in download.files if file.large is not None]
    with _hub_errors(repo), _no_bars():
        revision = HfApi().resolve_revision(repo)
        if revision.resolved != download.commit:
            raise DownloadError(repo, "has just changed on the hub: try again")
        names = [file.name for file in small]
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=names))
        _require_gemma4(repo, folder)
        done = sum(file.size for file in small)
        for wanted in large:
            transfer(wanted, _after(done, on_bytes))
            done += wanted.size
        names = [file.name for file in download.files]
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=names))
    on_bytes(download.size)
    return folder


def _after(done: int, on_bytes: OnBytes) -> OnBytes:
    """Adds the bytes of the files before to those of the current file."""
    return lambda count: on_bytes(done + count)


def _require_gemma4(repo: str, folder: Path) -> None:
    try:
        raw = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise DownloadError(repo, f"its config.json cannot be read ({exc})") from exc
    if not isinstance(raw, dict):
        raise UnsupportedModelError(repo, "its config.json does not describe a model")
    Gemma4Config.from_dict(raw)


def _disk_free(folder: Path) -> int:
    """Bytes free on the disk where ``folder`` is or will be."""
    return shutil.disk_usage(nearest_folder(folder)).free


def nearest_folder(folder: Path) -> Path:
    """``folder``, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


@contextmanager
def _no_bars() -> Iterator[None]:
    """Disable the progress bars of huggingface_hub."""
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
def _hub_errors(repo: str) -> Iterator[None]:
    """Errors of huggingface_hub and of the network as DownloadError."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionResolutionError,
    )

    try:
        yield
    except HFValidationError as exc:
        raise DownloadError(repo, "is not a valid repository name") from exc
    except OfflineModeIsEnabled as exc:
        raise DownloadError(
            repo, "cannot download while offline (--offline or HF_HUB_OFFLINE)"
        ) from exc
    except GatedRepoError as exc:
        raise DownloadError(
            repo, f"request access at https://huggingface.co/{repo}, then run: hf auth login"
        ) from exc
    except RepositoryNotFoundError as exc:
        raise DownloadError(
            repo, "the hub has no such repository; for a private one run: hf auth login"
        ) from exc
    except HfHubHTTPError as exc:
        if exc.response.status_code == 401:
            raise DownloadError(repo, "the hub rejects your token; run: hf auth login") from exc
        raise DownloadError(repo, f"the hub answers: {str(exc).splitlines()[0]}") from exc
    except (
        HTTPError,
        LocalEntryNotFoundError,
        RevisionResolutionError,
        ConnectionError,
        TimeoutError,
    ) as exc:
        raise DownloadError(repo, UNREACHABLE) from exc
    except OSError as exc:
        raise DownloadError(repo, f"cannot be saved ({exc.strerror or exc})") from exc
