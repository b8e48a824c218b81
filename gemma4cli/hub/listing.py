"""What the hub says is in a repository, checked: names, sizes and checksums are not trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from ..checked_json import JsonError, parse
from ..errors import DownloadError
from . import adapter_names
from .requests import small_answer

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
    adapter_names.CONFIG,
)
"""The files that g4 reads in addition to the weights."""

_MOST_BYTES = 16_000_000
_MOST_BYTES_OF_WEIGHTS = 10**12
_MOST_BYTES_OF_FILE = 256_000_000
_MOST_FILES = 2000
_LONGEST_NAME = 200
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|^/|^[A-Za-z]:|(^|/)\.\.?(/|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedFile:
    """A file that g4 reads. ``size`` is in bytes.

    ``sha256`` is that of a large file; ``sha1`` that of a small one, as git computes it.
    """

    name: str
    size: int
    sha256: str | None
    sha1: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The files of one revision that g4 reads."""

    commit: str
    files: tuple[ListedFile, ...]


def read_listing(repo: str) -> Listing:
    """Ask the hub. Raises DownloadError, and the errors of huggingface_hub."""
    from huggingface_hub import constants

    url = f"{constants.ENDPOINT}/api/models/{quote(repo)}?blobs=true"
    return _listing(repo, small_answer(repo, url, most_bytes=_MOST_BYTES))


def _listing(repo: str, body: bytes) -> Listing:
    try:
        answer = parse(body)
    except JsonError as exc:
        raise _unexpected(repo, f"it {exc.problem}") from exc
    if not isinstance(answer, dict):
        raise _unexpected(repo, "it is not an object")
    commit, siblings = answer.get("sha"), answer.get("siblings")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise _unexpected(repo, "it names no commit")
    if not isinstance(siblings, list) or not all(isinstance(each, dict) for each in siblings):
        raise _unexpected(repo, "it lists no files")
    files = [file for each in siblings if (file := _file(repo, each)) is not None]
    if len(files) > _MOST_FILES or len({file.name.lower() for file in files}) < len(files):
        raise _unexpected(repo, "it lists files twice, or too many")
    return Listing(commit=commit, files=tuple(files))


def _file(repo: str, listed: Mapping[str, Any]) -> ListedFile | None:
    """A file of a listing; None for one that g4 does not read."""
    name = listed.get("rfilename")
    if not isinstance(name, str):
        raise _unexpected(repo, "a file has no name")
    is_weights = (fnmatchcase(name, WEIGHTS) and "/" not in name) or name in adapter_names.WEIGHTS
    is_read = is_weights or name in FILES
    if _UNSAFE.search(name):
        raise DownloadError(repo, f"the hub lists a file under an unsafe name, {name[:80]!r}")
    if not is_read:
        return None
    if len(name.encode()) > _LONGEST_NAME:
        raise DownloadError(
            repo,
            f"the hub lists weights under a name of more than {_LONGEST_NAME} bytes, "
            f"{name[:40]!r}…, which g4 does not save",
        )
    most = _MOST_BYTES_OF_WEIGHTS if is_weights else _MOST_BYTES_OF_FILE
    size = listed.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= most:
        raise _unexpected(repo, f"{name} has no size that can be right")
    lfs = listed.get("lfs")
    if lfs is None:
        return ListedFile(name=name, size=size, sha256=None, sha1=_sha(repo, listed, "blobId"))
    if not isinstance(lfs, dict) or not _is(lfs.get("sha256"), _SHA256.fullmatch):
        raise _without_checksum(repo, name)
    return ListedFile(name=name, size=size, sha256=lfs["sha256"], sha1=None)


def _sha(repo: str, listed: Mapping[str, Any], key: str) -> str:
    if not _is(value := listed.get(key), _SHA1.fullmatch):
        raise _without_checksum(repo, listed["rfilename"])
    return str(value)


def _is(value: object, matches: Callable[[str], object]) -> bool:
    return isinstance(value, str) and bool(matches(value))


def _without_checksum(repo: str, name: str) -> DownloadError:
    return _unexpected(
        repo, f"{name} has no checksum, the lfs.sha256 of a large file or the blobId of a small one"
    )


def _unexpected(repo: str, why: str) -> DownloadError:
    return DownloadError(
        repo,
        f"the hub's answer is not what g4 expects ({why}): perhaps a login page of the network, "
        "or HF_ENDPOINT names no hub",
    )
