"""The files of a conversation on disk: their names, and how they are read, written and removed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checked_json import JsonError, read_object
from ..errors import ConversationError, SavedConversationError
from ..messages import Message, Part, TextPart
from ..own_files import whole_file
from .file import Conversation, read_conversation

FILE, MEDIA, LOCK = "conversation.json", "media", "lock"
PROMPT_CACHE = "prompt-cache.safetensors"
_LARGER_THAN_EMPTY = 4096


def read_saved(path: Path) -> Conversation:
    """A conversation whose media have the names that the user gave them."""
    conversation = read_conversation(path, regular=True)
    messages = tuple(
        _with_names(message, data)
        for message, data in zip(conversation.messages, json_of(path)["messages"], strict=True)
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


def json_of(path: Path) -> dict[str, Any]:
    """The object in a conversation file. Raises ConversationError."""
    try:
        return read_object(path)
    except OSError as exc:
        raise ConversationError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    except JsonError as exc:
        raise ConversationError(f"{path}: {exc}") from exc


def model_in(data: Mapping[str, Any]) -> str | None:
    model = data.get("model")
    return model if isinstance(model, str) and model else None


def is_empty(path: Path) -> bool:
    """Whether a conversation file holds no messages; g4 0.1 wrote such files."""
    try:
        return path.stat().st_size < _LARGER_THAN_EMPTY and json_of(path).get("messages") == []
    except (OSError, ConversationError):
        return False


@contextmanager
def disk_errors(name: str, action: str = "saved") -> Iterator[None]:
    """OSErrors as errors that name the conversation and the failed action."""
    try:
        yield
    except OSError as exc:
        file = f"{exc.filename}: " if exc.filename else ""
        raise SavedConversationError(
            name, f"cannot be {action} ({file}{exc.strerror or exc})"
        ) from exc


def write_atomically(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file that only its owner can read. Raises OSError."""
    text = json.dumps(data, ensure_ascii=False, indent=1)
    with whole_file(path) as file:
        file.write(f"{text}\n".encode(errors="backslashreplace"))


def remove_if_empty(folder: Path) -> bool:
    """Remove a locked folder, unless something is in it. Raises OSError."""
    if folder.is_symlink():
        return False
    with suppress(OSError):  # a link, not a folder, or not empty
        (folder / MEDIA).rmdir()
    if any(path.name != LOCK for path in folder.iterdir()):
        return False
    (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()
    return True
