"""Download a repository of the hub into the local cache: only the files that g4 reads.

What the hub lists is checked (``listing``), each file has to match it (``transfer``), and all come
from the one commit that was listed.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..checked_json import JsonError, parse
from ..errors import DownloadError, UnsupportedModelError
from ..models.drafter_config import parse_config
from . import adapter_names
from .blobs import link, set_main
from .hub_errors import hub_errors
from .listing import FILES, WEIGHTS, ListedFile, Listing, read_listing
from .transfer import OnBytes, WantedFile, downloaded_bytes, fetch_small, transfer

__all__ = ["FILES", "WEIGHTS", "Download", "RemoteFile", "fetch", "plan"]

_SPARE = 100_000_000
"""Bytes of disk to leave free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file of the repository. ``here`` is how many of its bytes are cached."""

    name: str
    here: int
    wanted: WantedFile

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.wanted.size

    @property
    def is_large(self) -> bool:
        """Whether it must be resumable."""
        return self.name.endswith(".safetensors")


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
    with hub_errors(repo):
        root = repo_folder(repo)
        listing = read_listing(repo)
    files = _wanted(repo, listing)
    with hub_errors(repo):
        return Download(
            repo=repo,
            commit=listing.commit,
            folder=root,
            files=tuple(_remote_file(repo, listing.commit, root, each) for each in files),
            disk_free=_disk_free(root),
        )


def _wanted(repo: str, listing: Listing) -> list[ListedFile]:
    """The files of a model, or those of an adapter. Raises DownloadError if it is neither."""
    of_adapter = (adapter_names.CONFIG, *adapter_names.WEIGHTS)
    of_model = [file for file in listing.files if file.name not in of_adapter]
    names = [file.name for file in of_model]
    has_weights = any(name.endswith(".safetensors") for name in names)
    if "config.json" in names and has_weights:
        return of_model
    adapter = [file for file in listing.files if file.name in of_adapter]
    if len(adapter) > 1 and any(file.name == adapter_names.CONFIG for file in adapter):
        return adapter
    if "config.json" not in names:
        raise DownloadError(repo, "has no config.json, so g4 cannot read it as a checkpoint")
    raise DownloadError(repo, "has no safetensors files, the only weights that g4 reads")


def _remote_file(repo: str, commit: str, root: Path, listed: ListedFile) -> RemoteFile:
    from huggingface_hub import hf_hub_url

    blob = root / "blobs" / str(listed.sha256 or listed.sha1)
    moved = root / "snapshots" / commit / listed.name
    is_moved = moved.is_file() and not moved.is_symlink() and not blob.exists()
    wanted = WantedFile(
        repo=repo,
        commit=commit,
        url=hf_hub_url(repo, listed.name, revision=commit),
        blob=moved if is_moved else blob,
        size=listed.size,
        sha256=listed.sha256,
        sha1=listed.sha1,
    )
    return RemoteFile(name=listed.name, here=downloaded_bytes(wanted.blob), wanted=wanted)


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
    repo, snapshot = download.repo, download.folder / "snapshots" / download.commit
    require_disk(download)
    # The config first: it may be that of another architecture.
    small = sorted(
        (file for file in download.files if not file.is_large),
        key=lambda file: file.name != "config.json",
    )
    large = [file for file in download.files if file.is_large]
    done = 0
    with hub_errors(repo):
        for file in small:
            content = fetch_small(file.wanted)
            if file.name == "config.json":
                _require_gemma4(repo, content)
            done += file.size
        for file in small:
            link(file.wanted.blob, snapshot / file.name)
        set_main(download.folder, download.commit)
        for file in large:
            transfer(file.wanted, _after(done, on_bytes))
            link(file.wanted.blob, snapshot / file.name)
            done += file.size
    on_bytes(download.size)
    return snapshot


def _after(done: int, on_bytes: OnBytes) -> OnBytes:
    """Adds the bytes of the files before to those of the current file."""
    return lambda count: on_bytes(done + count)


def _require_gemma4(repo: str, content: bytes) -> None:
    try:
        raw = parse(content)
    except JsonError as exc:
        raise DownloadError(repo, f"its config.json cannot be read ({exc})") from exc
    if not isinstance(raw, dict):
        raise UnsupportedModelError(repo, "its config.json does not describe a model")
    parse_config(raw)


def _disk_free(folder: Path) -> int:
    """Bytes free on the disk where ``folder`` is or will be."""
    return shutil.disk_usage(nearest_folder(folder)).free


def nearest_folder(folder: Path) -> Path:
    """``folder``, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))
