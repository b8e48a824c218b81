"""Text that goes with a question: from standard input and from files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ...errors import ConversationError
from ...media.near_names import existing, suggestion
from ...media.recognition import kind_of_stream
from ...plain_text import decode_text
from ..environment import Environment

LONGEST_TEXT = 16 << 20
"""Bytes; no context holds as much."""

STDIN = "standard input"


def with_attached_text(question: str, attached: Sequence[str], *, last: bool = False) -> str:
    """A question followed by the attached texts; the same format as -p with a pipe.

    With ``last`` the question follows the texts, so that prompts with other questions begin alike.
    """
    texts = (*attached, question) if last else (question, *attached)
    return "\n\n".join(text for text in texts if text)


def read_text_file(env: Environment, path: Path, name: str, *, quiet: bool = False) -> str:
    """A text file to attach, headed by its name. Raises ConversationError."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_TEXT + 1)
    except FileNotFoundError as exc:
        similar = suggestion(path)
        hint = "" if similar is None else f"; did you mean {similar}?"
        raise ConversationError(f"{name}: no such file{hint}") from exc
    except (OSError, ValueError) as exc:
        problem = getattr(exc, "strerror", None) or str(exc)
        raise ConversationError(f"{name}: cannot be read ({problem})") from exc
    return f"{path.name}:\n{_text(env, content, name, '', quiet=quiet).rstrip()}"


def texts_of(env: Environment, names: Sequence[str], *, quiet: bool) -> list[str]:
    """The texts of the files with these names. Raises ConversationError."""
    return [read_text_file(env, existing(Path(name)), name, quiet=quiet) for name in names]


def piped_text(env: Environment, *, quiet: bool = False) -> str:
    """The text of standard input, without the space around it. Raises ConversationError."""
    return _text(env, piped_bytes(env), STDIN, " -", quiet=quiet).strip()


def piped_bytes(env: Environment) -> bytes:
    """The bytes of standard input, as many as ``LONGEST_TEXT`` and one at most."""
    buffer = getattr(env.stdin, "buffer", None)
    if buffer is None:  # a stream without bytes, such as io.StringIO
        return env.stdin.read().encode("utf-8", "surrogateescape")
    content: bytes = buffer.read(LONGEST_TEXT + 1)
    return content


def _text(env: Environment, content: bytes, name: str, argument: str, *, quiet: bool) -> str:
    """Bytes as text, with a notice of what was changed; ``argument`` follows --image in errors."""
    is_too_long = len(content) > LONGEST_TEXT
    found = None if is_too_long else decode_text(content)
    if found is None:
        kind = kind_of_stream(io.BytesIO(content))
        problem = _TOO_LONG if is_too_long else _UNKNOWN
        if kind is not None:
            how = f"--{kind}{argument}" if argument else f"--{kind} or /{kind}"
            problem = f"is not text but {_NAMES[kind]}: attach it with {how}"
        raise ConversationError(f"{name}: {problem}")
    if found.notice and not quiet:
        env.say(f"{name}: {found.notice}")
    return found.text


_TOO_LONG = f"is longer than {LONGEST_TEXT >> 20} MB, more than any context; take a part"
_UNKNOWN = "is not text in UTF-8, UTF-16 or Windows-1252; convert it first"
_NAMES = {"image": "an image", "audio": "a recording", "video": "a video"}
