"""Conversations on disk: a folder for each, with a conversation file and its media.

    NAME/conversation.json     as ``file`` reads it, with "model" and the media's names
    NAME/media/DIGEST.png      copies, so that moving or changing the original breaks nothing
    NAME/prompt-cache.safetensors   what was computed of it; may be removed at any time
    NAME/lock                  locked while a process has the conversation open

A turn is on disk when ``write`` returns; files are replaced atomically. Only their owner can read
them. What g4 did not write is never removed, nor anything that a link leads to. Knows no model and
no terminal.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import mkstemp
from typing import Any, Self

from ..bounded import read_bounded
from ..checked_json import JsonError, read_object
from ..errors import (
    ConversationError,
    Gemma4Error,
    OptionError,
    SavedConversationError,
    unexpected,
)
from ..leftovers import prefix, remove_leftovers
from ..locks import Lock, lock
from ..messages import Message, Part, Source, TextPart
from ..own_files import close_to_others, private_folder, whole_file
from .file import Conversation, conversation_data, read_conversation

_FILE, _MEDIA, _LOCK = "conversation.json", "media", "lock"
_PROMPT_CACHE = "prompt-cache.safetensors"
_REFERENCE = re.compile(rf'"{_MEDIA}/([0-9a-f]{{32}}(?:\.[a-z0-9]{{1,8}})?)"')
_UNFINISHED = re.compile(r"\.(new\.|g4-\w*-\d+-)\w{8}")
_NAME = re.compile(r"\w[\w .@+-]*")
_LARGER_THAN_EMPTY = 4096
_LONGEST_NAME = 200
"""Bytes; file systems take 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedSummary:
    """A conversation as a list shows it; ``used`` is its last use, in seconds since 1970.

    ``problem`` says why a damaged one cannot be read; None if it can. ``fault`` is what g4 did not
    expect in it; None usually.
    """

    name: str
    used: float
    turns: int
    first_words: str
    model: str | None
    problem: str | None = None
    fault: Gemma4Error | None = field(default=None, repr=False, compare=False)


class SavedConversation:
    """One conversation, locked until it is closed. Its ``folder`` is created if missing.

    Raises SavedConversationError if another process has it open, or the disk fails.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.path = folder / _FILE
        self.prompt_cache = folder / _PROMPT_CACHE
        self._folder = folder
        self._media = _MediaFolder(folder / _MEDIA)
        self._lock = self._locked()

    def _locked(self) -> int:
        """The descriptor of the locked file."""
        path = self._folder / _LOCK
        while True:
            with _disk_errors(self.name):
                private_folder(self._folder)
                close_to_others(self._folder.parent)
                close_to_others(self._folder)
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if lock(handle) is Lock.TAKEN:
                os.close(handle)
                raise SavedConversationError(
                    self.name,
                    "another g4 has it open: leave that one first, or choose another name",
                )
            # Another process may have removed the folder between the two steps.
            if os.fstat(handle).st_nlink:
                _remove_unfinished(self._folder, self._folder / _MEDIA)
                return handle
            os.close(handle)

    @classmethod
    def create(cls, sessions: Path) -> Self:
        """A new one, named after the current time."""
        stem = datetime.now().strftime("%Y-%m-%d_%H.%M.%S")
        for number in range(1, 1000):
            folder = sessions / (stem if number == 1 else f"{stem}-{number}")
            with _disk_errors(folder.name):
                try:
                    private_folder(sessions)
                    close_to_others(sessions)
                    folder.mkdir(mode=0o700)
                except FileExistsError:
                    continue
            return cls(folder)
        raise SavedConversationError(stem, "too many conversations started this second")

    def read(self) -> Conversation | None:
        """The conversation so far; None if nothing is saved yet. Raises ConversationError."""
        return _read(self.path) if self.path.exists() and not _is_empty(self.path) else None

    @property
    def model(self) -> str | None:
        """The model that answered last. Raises ConversationError for a damaged file."""
        return _model_in(_json_of(self.path)) if self.path.exists() else None

    def write(self, conversation: Conversation, *, model: str) -> None:
        """Save the conversation; it is on disk when this returns.

        One without a question, because it was taken back, is removed.
        """
        with _disk_errors(self.name):
            self._media.mine |= _copies_in(self.path)
            if not any(message.role == "user" for message in conversation.messages):
                self.path.unlink(missing_ok=True)
                self._drop_prompt_cache()
                self._media.drop_unused()
                return
            data = conversation_data(conversation, self._media.copy)
            _write_atomically(self.path, {**data, "model": model})
            self._media.drop_unused()

    def delete(self) -> bool:
        """Delete the conversation; False if its folder stays, for what g4 did not write in it.

        Raises SavedConversationError.
        """
        with _disk_errors(self.name, "deleted"):
            self._media.mine |= _copies_in(self.path)
            if not self.path.is_dir():
                self.path.unlink(missing_ok=True)
            self._drop_prompt_cache()
            self._media.drop_unused()
            return _remove_if_empty(self._folder)

    def close(self) -> None:
        """Unlock the conversation; a folder in which nothing is saved is removed."""
        with suppress(OSError):
            if _is_empty(self.path):
                self.path.unlink()
            if not os.path.lexists(self.path):
                self._drop_prompt_cache()
                self._media.drop_unused()
                _remove_if_empty(self._folder)
        os.close(self._lock)

    def _drop_prompt_cache(self) -> None:
        if not self._folder.is_symlink() and not self.prompt_cache.is_dir():
            self.prompt_cache.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_name(name: str) -> None:
    """Raise OptionError for a name that cannot name a folder."""
    if not _NAME.fullmatch(name) or len(name.encode()) > _LONGEST_NAME:
        raise OptionError(
            f"conversation {name!r}: a name has letters, digits, spaces and . _ @ + - and starts "
            "with a letter"
        )


def list_saved(sessions: Path) -> list[SavedSummary]:
    """All conversations in a folder, the one used last first; damaged ones come last.

    Raises ConversationError for a folder that cannot be read.
    """
    try:
        paths = _in_each(sessions, _FILE)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise ConversationError(f"{sessions}: cannot be read ({exc.strerror or exc})") from exc
    found = [summary for path in paths if (summary := _fenced_summary(path)) is not None]
    return sorted(found, key=lambda each: (each.problem is None, each.used), reverse=True)


def remove_abandoned(sessions: Path) -> None:
    """Remove what processes left that were ended from outside: empty folders, unfinished files."""
    try:
        locks = _in_each(sessions, _LOCK)
    except OSError:
        return
    for lock_path in locks:
        folder = lock_path.parent
        if not folder.is_symlink():
            remove_leftovers(folder)
        try:
            if (folder / _FILE).exists():
                continue
            handle = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if lock(handle) is Lock.OURS and not (folder / _FILE).exists():
                with suppress(OSError):
                    _remove_if_empty(folder)
        finally:
            os.close(handle)


def drop_prompt_caches(sessions: Path, limit: int, newest: Path) -> None:
    """Remove the oldest prompt caches until those of all conversations take ``limit`` bytes.

    ``newest`` stays, which has just been written.
    """
    try:
        paths = _in_each(sessions, _PROMPT_CACHE)
        found = [(path.lstat(), path) for path in paths if not path.parent.is_symlink()]
    except OSError:
        return
    files = [(status, path) for status, path in found if stat.S_ISREG(status.st_mode)]
    total = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda each: each[0].st_mtime):
        if total > limit and path != newest:
            total -= status.st_size
            with suppress(OSError):
                path.unlink()


def save_copy(path: Path, conversation: Conversation, *, model: str) -> None:
    """Write a conversation file anywhere, copies of its media in a folder beside it.

    Raises SavedConversationError.
    """
    if path.is_dir():
        raise SavedConversationError(str(path), "cannot be saved (is a folder)")
    with _disk_errors(str(path)):
        media = _MediaFolder(path.with_name(f"{path.stem}.media"))
        path.parent.stat()  # or else the media would make the folder
        _write_atomically(path, {**conversation_data(conversation, media.copy), "model": model})


def _read(path: Path) -> Conversation:
    """A conversation whose media have the names that the user gave them."""
    conversation = read_conversation(path, regular=True)
    messages = tuple(
        _with_names(message, data)
        for message, data in zip(conversation.messages, _json_of(path)["messages"], strict=True)
    )
    return replace(conversation, messages=messages)


def _with_names(message: Message, data: Mapping[str, Any]) -> Message:
    if isinstance(message.content, str):
        return message
    return replace(
        message,
        content=tuple(
            _with_name(part, each.get("name"))
            for part, each in zip(message.content, data["content"], strict=True)
        ),
    )


def _with_name(part: Part, name: object) -> Part:
    if isinstance(part, TextPart) or part.source is None or not isinstance(name, str):
        return part
    return replace(part, source=replace(part.source, name=name))


def _in_each(sessions: Path, name: str) -> list[Path]:
    """The files of this name in the folders of all conversations. Raises OSError."""
    paths = [sessions / folder / name for folder in os.listdir(sessions)]
    return [path for path in paths if os.path.lexists(path)]


def _fenced_summary(path: Path) -> SavedSummary | None:
    """A conversation's summary, whatever is wrong with it; None for one that holds no messages."""
    try:
        return None if _is_empty(path) else _summary(path)
    except (OSError, ConversationError) as exc:
        problem, fault = str(exc), None
    except Exception as exc:  # noqa: BLE001 - one odd conversation does not hide the others
        fault = unexpected(exc)
        problem = f"{path}: {fault}"
    return SavedSummary(
        name=path.parent.name,
        used=_last_use(path),
        turns=0,
        first_words="(cannot be read)",
        model=None,
        problem=problem,
        fault=fault,
    )


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _summary(path: Path) -> SavedSummary:
    """Raises OSError and ConversationError for a damaged one."""
    used = path.stat().st_mtime
    messages = read_conversation(path, regular=True).messages
    model = _model_in(_json_of(path))
    asked = [message for message in messages if message.role == "user"]
    words = [part.text for part in asked[0].parts if isinstance(part, TextPart)] if asked else []
    return SavedSummary(
        name=path.parent.name,
        used=used,
        turns=len(asked),
        first_words=" ".join(" ".join(words).split()),
        model=model,
    )


def _is_empty(path: Path) -> bool:
    """Whether a conversation file holds no messages; g4 0.1 wrote such files."""
    try:
        return path.stat().st_size < _LARGER_THAN_EMPTY and _json_of(path).get("messages") == []
    except (OSError, ConversationError):
        return False


def _json_of(path: Path) -> dict[str, Any]:
    """The object in a conversation file. Raises ConversationError."""
    try:
        return read_object(path)
    except OSError as exc:
        raise ConversationError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    except JsonError as exc:
        raise ConversationError(f"{path}: {exc}") from exc


def _model_in(data: Mapping[str, Any]) -> str | None:
    model = data.get("model")
    return model if isinstance(model, str) and model else None


class _MediaFolder:
    """Copies of media, named by their content. Each source is copied once.

    ``mine`` are the names of copies that this conversation may remove.
    """

    def __init__(self, folder: Path) -> None:
        self.mine: set[str] = set()
        self._folder = folder
        # By identity: the file of an equal source may have changed since.
        self._known: dict[int, tuple[Source, str]] = {}
        self._used: set[str] = set()

    def copy(self, source: Source) -> str:
        """Copy a source if it is new; the copy's path, relative to the parent of this folder."""
        known = self._known.get(id(source))
        if known is None:
            known = self._known[id(source)] = (source, self._write_copy(source))
        self._used.add(known[1])
        return f"{self._folder.name}/{known[1]}"

    def drop_unused(self) -> None:
        """Remove those of ``mine`` that were not asked for since the last call.

        Nothing is removed where the folder, or that of the conversation, is a link: others may use
        what lies there.
        """
        unused = self.mine - self._used
        self._used.clear()
        if self._folder.is_symlink() or self._folder.parent.is_symlink():
            return
        for name in unused:
            if _is_copy(self._folder / name):
                (self._folder / name).unlink()
        self.mine -= unused

    def _write_copy(self, source: Source) -> str:
        if source.path is not None and source.path.parent == self._folder:
            return source.path.name
        self._folder.mkdir(exist_ok=True, mode=0o700)
        handle, name = mkstemp(dir=self._folder, prefix=prefix())
        written = Path(name)
        try:
            with open(handle, "w+b") as file:
                if source.data is not None:
                    file.write(source.data)
                else:
                    assert source.path is not None, "standard input was read when it was opened"
                    with source.path.open("rb") as original:
                        shutil.copyfileobj(original, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            suffix = re.search(r"\.[a-z0-9]{1,8}$", source.name.lower())
            copy = f"{digest[:32]}{suffix[0] if suffix else ''}"
            is_new = not os.path.lexists(self._folder / copy)
            written.replace(self._folder / copy)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        if is_new:
            self.mine.add(copy)
        return copy


@contextmanager
def _disk_errors(name: str, action: str = "saved") -> Iterator[None]:
    """OSErrors as errors that name the conversation and the failed action."""
    try:
        yield
    except OSError as exc:
        file = f"{exc.filename}: " if exc.filename else ""
        raise SavedConversationError(
            name, f"cannot be {action} ({file}{exc.strerror or exc})"
        ) from exc


def _write_atomically(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file that only its owner can read. Raises OSError."""
    text = json.dumps(data, ensure_ascii=False, indent=1)
    with whole_file(path) as file:
        file.write(f"{text}\n".encode(errors="backslashreplace"))


def _copies_in(path: Path) -> set[str]:
    """The names of the copies that a conversation file refers to, also one that is damaged."""
    try:
        content = read_bounded(path, regular=True)
    except OSError:
        return set()
    return set(_REFERENCE.findall(content.decode("utf-8", "replace")))


def _is_copy(path: Path) -> bool:
    """Whether g4 wrote a file in a media folder: its name is that of its content."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False
    return path.name.startswith(digest[:32])


def _remove_unfinished(*folders: Path) -> None:
    """Remove what killed processes left in the folders of a conversation that is locked."""
    for folder in folders:
        with suppress(OSError):
            if folder.is_symlink() or folder.parent.is_symlink():
                continue
            for path in list(folder.iterdir()):
                if _UNFINISHED.fullmatch(path.name) and path.is_file():
                    path.unlink()


def _remove_if_empty(folder: Path) -> bool:
    """Remove a locked folder, unless something is in it. Raises OSError."""
    if folder.is_symlink():
        return False
    with suppress(OSError):  # a link, not a folder, or not empty
        (folder / _MEDIA).rmdir()
    if any(path.name != _LOCK for path in folder.iterdir()):
        return False
    (folder / _LOCK).unlink(missing_ok=True)
    folder.rmdir()
    return True
