"""The parts of a turn: its text, media, and the text of attached files."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ...errors import ConversationError
from ...media.kinds import HEAD_BYTES, sniff
from ...messages import AudioPart, ImagePart, MediaKind, Part, Source, TextPart, VideoPart

MEDIA_PARTS: Mapping[str, Callable[[Source], Part]] = {
    "image": lambda source: ImagePart(source=source),
    "audio": lambda source: AudioPart(source=source),
    "video": lambda source: VideoPart(source=source),
}
"""The part that an option (``--image``) or a slash command (``/image``) attaches."""

_LONGEST_FILE = 1 << 20
"""Bytes of text; more than fits any context."""

_WORD = re.compile(r"""'([^'\n]+)'|"([^"\n]+)"|((?:\\.|[^\s'"\\])(?:\\.|[^\s\\])*)""")
_FILE_URL = re.compile(r"file://(?:localhost)?(/.*)", re.DOTALL)
_PUNCTUATION = ".,;:!?)"


def in_card_order(text: str, media: Sequence[Part]) -> tuple[Part, ...]:
    """Images and videos before the text, audio after it, as the model card recommends."""
    audio = [part for part in media if isinstance(part, AudioPart)]
    visual = [part for part in media if not isinstance(part, AudioPart)]
    return (*visual, TextPart(text=text), *audio)


def sources_of(parts: Sequence[Part]) -> list[Source]:
    """The sources of the media among ``parts``."""
    media = [part for part in parts if not isinstance(part, TextPart)]
    clips = [part for part in media if isinstance(part, VideoPart)]
    whole = [part.source for part in media if part.source is not None]
    return [*whole, *(frame for clip in clips for frame in clip.frames)]


def with_attached_text(question: str, attached: Sequence[str]) -> str:
    """A question followed by the attached texts; the same format as -p with a pipe."""
    return "\n\n".join(text for text in (question, *attached) if text)


def read_text_file(path: Path, name: str) -> str:
    """A text file to attach, headed by its name. Raises ConversationError."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE + 1)
    except OSError as exc:
        raise ConversationError(f"{name}: {exc.strerror or exc}") from exc
    if len(content) > _LONGEST_FILE:
        raise ConversationError(f"{name}: is longer than any context; attach a part of it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConversationError(f"{name}: is not text; attach media with /image or /audio") from exc
    return f"{path.name}:\n{text.rstrip()}"


def media_kind(path: Path) -> MediaKind | None:
    """The kind of a media file by its content, or else its suffix; None for other files."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            found = sniff(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return None
    guess = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
    if found is None:
        return "audio" if guess == "audio" else "video" if guess == "video" else None
    if found.kind == "video" and guess == "audio":
        # Containers of video may hold sound alone.
        return "audio"
    return None if found.kind == "other" else found.kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """Typed text and the files dropped into it; their paths are replaced by their names.

    ``text`` is empty if only files were dropped.
    """

    text: str
    files: tuple[tuple[MediaKind, Path], ...]


def find_dropped(typed: str) -> Dropped:
    """Find paths of media files among the words: bare, quoted, escaped, or as file URLs."""
    whole = path_of(typed.strip())
    if (kind := media_kind(whole)) is not None:
        return Dropped(text="", files=((kind, whole),))
    files: list[tuple[MediaKind, Path]] = []

    def replaced(word: re.Match[str]) -> str:
        given = word[0]
        ending = given[len(given.rstrip(_PUNCTUATION)) :]
        for candidate, rest in ((given, ""), (given[: len(given) - len(ending)], ending)):
            path = path_of(candidate)
            if (found := media_kind(path)) is not None:
                files.append((found, path))
                return f"{path.name}{rest}"
        return given

    text = _WORD.sub(replaced, typed)
    if not _WORD.sub("", typed).strip() and len(files) == len(_WORD.findall(typed)):
        text = ""
    return Dropped(text=text, files=tuple(files))


def path_of(word: str) -> Path:
    """The path in a word as a shell or a terminal's drag and drop writes it."""
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        word = word[1:-1]
    elif url := _FILE_URL.fullmatch(word):
        word = unquote(url[1])
    else:
        word = re.sub(r"\\(.)", r"\1", word)
    path = Path(word)
    try:
        return path.expanduser()
    except (RuntimeError, ValueError):  # "~nobody", and names with a null character
        return path
