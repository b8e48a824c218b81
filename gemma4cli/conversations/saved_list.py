"""All conversations of a folder: their list, and what of them is removed when its time is over."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConversationError, Gemma4Error, unexpected
from ..leftovers import remove_leftovers
from ..locks import Lock, lock
from ..messages import TextPart
from .file import read_conversation
from .saved_files import FILE, LOCK, PROMPT_CACHE, is_empty, json_of, model_in, remove_if_empty


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


def list_saved(sessions: Path) -> list[SavedSummary]:
    """All conversations in a folder, the one used last first; damaged ones come last.

    Raises ConversationError for a folder that cannot be read.
    """
    try:
        paths = _in_each(sessions, FILE)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise ConversationError(f"{sessions}: cannot be read ({exc.strerror or exc})") from exc
    found = [summary for path in paths if (summary := _fenced_summary(path)) is not None]
    return sorted(found, key=lambda each: (each.problem is None, each.used), reverse=True)


def remove_abandoned(sessions: Path) -> None:
    """Remove what killed processes left: empty folders, unfinished files."""
    try:
        locks = _in_each(sessions, LOCK)
    except OSError:
        return
    for lock_path in locks:
        folder = lock_path.parent
        if not folder.is_symlink():
            remove_leftovers(folder)
        try:
            if (folder / FILE).exists():
                continue
            handle = os.open(lock_path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if lock(handle) is Lock.OURS and not (folder / FILE).exists():
                with suppress(OSError):
                    remove_if_empty(folder)
        finally:
            os.close(handle)


def drop_prompt_caches(sessions: Path, limit: int, newest: Path) -> None:
    """Remove the oldest prompt caches until those of all conversations take ``limit`` bytes.

    ``newest`` stays, which has just been written.
    """
    try:
        paths = _in_each(sessions, PROMPT_CACHE)
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


def _in_each(sessions: Path, name: str) -> list[Path]:
    """The files of this name in the folders of all conversations. Raises OSError."""
    paths = [sessions / folder / name for folder in os.listdir(sessions)]
    return [path for path in paths if os.path.lexists(path)]


def _fenced_summary(path: Path) -> SavedSummary | None:
    """A conversation's summary, whatever is wrong with it; None for one that holds no messages."""
    try:
        return None if is_empty(path) else _summary(path)
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
    model = model_in(json_of(path))
    asked = [message for message in messages if message.role == "user"]
    words = [part.text for part in asked[0].parts if isinstance(part, TextPart)] if asked else []
    return SavedSummary(
        name=path.parent.name,
        used=used,
        turns=len(asked),
        first_words=" ".join(" ".join(words).split()),
        model=model,
    )
