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

import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Self

from ..errors import OptionError, SavedConversationError
from ..locks import Lock, lock
from ..own_files import close_to_others, private_folder
from .file import Conversation, conversation_data
from .media_copies import MediaFolder, copies_in
from .saved_files import (
    FILE,
    LOCK,
    MEDIA,
    PROMPT_CACHE,
    disk_errors,
    is_empty,
    json_of,
    model_in,
    read_saved,
    remove_if_empty,
    write_atomically,
)

_UNFINISHED = re.compile(r"\.(new\.|g4-\w*-\d+-)\w{8}")
_NAME = re.compile(r"\w[\w .@+-]*")
_LONGEST_NAME = 200
"""Bytes; file systems take 255."""


class SavedConversation:
    """One conversation, locked until it is closed. Its ``folder`` is created if missing.

    Raises SavedConversationError if another process has it open, or the disk fails.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.path = folder / FILE
        self.prompt_cache = folder / PROMPT_CACHE
        self._folder = folder
        self._media = MediaFolder(folder / MEDIA)
        self._lock = self._locked()

    def _locked(self) -> int:
        """The descriptor of the locked file."""
        path = self._folder / LOCK
        while True:
            with disk_errors(self.name):
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
                _remove_unfinished(self._folder, self._folder / MEDIA)
                return handle
            os.close(handle)

    @classmethod
    def create(cls, sessions: Path) -> Self:
        """A new one, named after the current time."""
        stem = datetime.now().strftime("%Y-%m-%d_%H.%M.%S")
        for number in range(1, 1000):
            folder = sessions / (stem if number == 1 else f"{stem}-{number}")
            with disk_errors(folder.name):
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
        return read_saved(self.path) if self.path.exists() and not is_empty(self.path) else None

    @property
    def model(self) -> str | None:
        """The model that answered last. Raises ConversationError for a damaged file."""
        return model_in(json_of(self.path)) if self.path.exists() else None

    def write(self, conversation: Conversation, *, model: str) -> None:
        """Save the conversation; it is on disk when this returns.

        One without a question, because it was taken back, is removed.
        """
        with disk_errors(self.name):
            self._media.mine |= copies_in(self.path)
            if not any(message.role == "user" for message in conversation.messages):
                self.path.unlink(missing_ok=True)
                self._drop_prompt_cache()
                self._media.drop_unused()
                return
            data = conversation_data(conversation, self._media.copy)
            write_atomically(self.path, {**data, "model": model})
            self._media.drop_unused()

    def delete(self) -> bool:
        """Delete the conversation; False if its folder stays, for what g4 did not write in it.

        Raises SavedConversationError.
        """
        with disk_errors(self.name, "deleted"):
            self._media.mine |= copies_in(self.path)
            if not self.path.is_dir():
                self.path.unlink(missing_ok=True)
            self._drop_prompt_cache()
            self._media.drop_unused()
            return remove_if_empty(self._folder)

    def close(self) -> None:
        """Unlock the conversation; a folder in which nothing is saved is removed."""
        with suppress(OSError):
            if is_empty(self.path):
                self.path.unlink()
            if not os.path.lexists(self.path):
                self._drop_prompt_cache()
                self._media.drop_unused()
                remove_if_empty(self._folder)
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


def save_copy(path: Path, conversation: Conversation, *, model: str) -> None:
    """Write a conversation file anywhere, copies of its media in a folder beside it.

    Raises SavedConversationError.
    """
    if path.is_dir():
        raise SavedConversationError(str(path), "cannot be saved (is a folder)")
    with disk_errors(str(path)):
        media = MediaFolder(path.with_name(f"{path.stem}.media"))
        path.parent.stat()  # or else the media would make the folder
        write_atomically(path, {**conversation_data(conversation, media.copy), "model": model})


def _remove_unfinished(*folders: Path) -> None:
    """Remove what killed processes left in the folders of a conversation that is locked."""
    for folder in folders:
        with suppress(OSError):
            if folder.is_symlink() or folder.parent.is_symlink():
                continue
            for path in list(folder.iterdir()):
                if _UNFINISHED.fullmatch(path.name) and path.is_file():
                    path.unlink()
