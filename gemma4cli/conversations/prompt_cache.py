"""A conversation's prompt cache on disk: how its file is read, replaced and bounded.

Only its owner can read it, and it is replaced as a whole. A file that cannot be used costs time
and nothing else, so that is a notice. One that g4 did not write stays as it is.

``G4_PROMPT_CACHE_MB`` replaces the limit of its size.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..leftovers import remove_leftovers
from ..limit_variables import limit_of
from ..own_files import whole_file

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel, Turns
    from ..engine.model import LoadedModel
    from ..engine.turn_cache import TurnCache

LIMIT_VARIABLE = "G4_PROMPT_CACHE_MB"
_LIMIT_MB = 2048
_MOST_LIMIT_MB = 1e9
_MOST_CHECKPOINTS, _MOST_OF_OWN = 6, 2
"""A turn adds two checkpoints; the others are where other prompts begin to differ."""
_START = 512
"""Bytes in which a prompt cache says that it is one."""


def prompt_cache_limit() -> int:
    """The most bytes of a prompt cache, and of those of all kept conversations; 0 for none.

    Raises OptionError.
    """
    megabytes = limit_of(LIMIT_VARIABLE, _LIMIT_MB, "MB", most=_MOST_LIMIT_MB, zero=True)
    return int(megabytes * (1 << 20))


def prompt_cache_of(model: AnsweringModel, path: Path, *, shared: bool) -> PromptCache | None:
    """A model's prompt cache; None for one that runs in other processes. Raises OptionError."""
    if not model.keeps_turns:
        return None
    from ..engine.model import LoadedModel

    assert isinstance(model, LoadedModel), "it keeps turns in this process"
    if model.is_divided:
        return None
    return PromptCache(model, path, shared=shared)


class PromptCache:
    """The file of one model's keys and values.

    ``shared``: conversations that begin alike use it, not only one, and its place is the user's.
    Create it right after the model is loaded, see ``key_of``. Raises OptionError.
    """

    def __init__(self, model: LoadedModel, path: Path, *, shared: bool) -> None:
        self.path = path
        self.shared = shared
        self._model = model
        self._limit = prompt_cache_limit()
        self._key = _key(model) if self._limit else None

    def read(self, turns: Turns, prompt: Sequence[int | str]) -> str | None:
        """Let ``turns`` hold what ``prompt`` can continue from; returns what is wrong, if any."""
        from ..engine.cache_layout import PromptCacheError
        from ..engine.prompt_cache import read

        if self._key is None:
            return None
        try:
            if self._is_foreign():
                return f"{self.path}: is not a prompt cache; it is not used, and stays as it is"
            with open(self.path, "rb", opener=_without_waiting) as file:
                size = os.fstat(file.fileno()).st_size
                if size > self._limit:
                    raise PromptCacheError(f"is larger than {self._limit / (1 << 20):,g} MB")
                if size:
                    read(file, size, self._key, self._model, _held_by(turns), prompt)
        except FileNotFoundError:
            return None
        except PromptCacheError as exc:
            return f"{self.path}: {exc}; {_ANEW}"
        except OSError as exc:
            return f"{self.path}: cannot be read ({exc.strerror or exc}); {_ANEW}"
        return None

    def write(self, turns: Turns) -> str | None:
        """Replace the file by what ``turns`` hold; returns why it stays as it is, if it does."""
        from ..engine.cache_layout import PromptCacheError
        from ..engine.prompt_cache import write

        held = _held_by(turns).held()
        if held is None or self._key is None or self._key != _key(self._model):
            return None
        most = _MOST_CHECKPOINTS if self.shared else _MOST_OF_OWN
        try:
            if self._is_foreign():
                return None
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.path.parent)
            with whole_file(self.path) as file:
                write(file, self._key, held, most=most, limit=self._limit)
        except PromptCacheError as exc:
            return f"{self.path}: {exc}, so it is not kept; {LIMIT_VARIABLE} allows more"
        except OSError as exc:
            return f"{self.path}: cannot be written ({exc.strerror or exc})"
        return None

    def _is_foreign(self) -> bool:
        """Whether the file is one that g4 did not write. Raises OSError for no regular file."""
        try:
            with open(self.path, "rb", opener=_without_waiting) as file:
                start = file.read(_START)
        except FileNotFoundError:
            return False
        return self.shared and bool(start) and not _says_so(start)


_ANEW = "the prompt is computed anew"


def _says_so(start: bytes) -> bool:
    """Whether the first bytes are those of a prompt cache, be it damaged or cut off."""
    from ..engine.cache_layout import FORMAT

    text = start[8:]
    begins = f'{{"__metadata__": {{"format": "{FORMAT}"'.encode()
    return FORMAT.encode() in text or (bool(text) and begins.startswith(text))


def _held_by(turns: Turns) -> TurnCache:
    from ..engine.turn_cache import TurnCache

    assert isinstance(turns, TurnCache), "they are those of the model, which runs in this process"
    return turns


def _key(model: LoadedModel) -> str | None:
    """The model's key; None if its files cannot be read any more."""
    from ..engine.prompt_cache import key_of

    try:
        return key_of(model)
    except OSError:
        return None


def _without_waiting(path: str, flags: int) -> int:
    """Open a regular file; a pipe is not waited for. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return descriptor
