"""The slash commands that attach something to the next question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import MediaError, OptionError
from ...media.recognition import kind_of
from ...media.urls import is_url
from ...messages import AudioPart, MediaKind, Source
from ..run.addresses import media_source
from ..run.pages import Pages, page_sources, pages_of
from .attachments import not_a_medium
from .file_names import path_of, split_names
from .material import read_text_file
from .microphone import record_part

if TYPE_CHECKING:
    from .repl import Repl

Run = Callable[["Repl", str], None]
"""Takes the text after the command's name."""

_PAGES = re.compile(r"(?:^|\s)--pages(?:=|\s+)(\S+)(?=\s|$)")


def attach_as(kind: MediaKind | None) -> Run:
    """Attaches files as one kind of medium, or as what they are."""
    name = kind or "attach"

    def attach(repl: Repl, rest: str) -> None:
        try:
            rest, pages = _without_pages(rest)
        except OptionError as error:
            repl.env.say(str(error))
            return
        for given in files_after(repl, f"/{name}", rest):
            try:
                source = _source(given, fetches=repl.fetches)
                found = kind_of(source)
            except MediaError as error:
                repl.env.say(f"{given}: {error.problem}")
                continue
            if (problem := _mismatch(kind, found)) is not None:
                repl.env.say(f"{given}: {problem}")
            elif (attached := kind or found) is not None:
                for page in _pages_of(repl, attached, source, pages):
                    repl.attach(attached, page)

    return attach


def _without_pages(rest: str) -> tuple[str, Pages | None]:
    """What follows a command, without ``--pages``. Raises OptionError."""
    found = _PAGES.search(rest)
    if found is None:
        return rest, None
    return rest[: found.start()] + rest[found.end() :], pages_of(found[1])


def _pages_of(repl: Repl, kind: MediaKind, source: Source, pages: Pages | None) -> list[Source]:
    """The chosen pages of an image; says what is wrong if there are none."""
    if kind != "image" or pages is None:
        return [source]
    try:
        return page_sources(source, pages)
    except MediaError as error:
        repl.env.say(str(error))
        return []


def _source(given: str, *, fetches: bool) -> Source:
    return media_source(given if is_url(given) else str(path_of(given)), fetches=fetches)


def _mismatch(wanted: MediaKind | None, found: MediaKind | None) -> str | None:
    """Why a medium cannot be attached as what it is wanted for; None if it can, or may."""
    match wanted, found:
        case None, None:
            return not_a_medium("/file")
        case (("image" | "video"), "audio"):
            return "is a recording without pictures: attach it with /audio"
        case (("audio" | "video"), "image"):
            return "is an image: attach it with /image"
    return None


def files_after(repl: Repl, command: str, rest: str) -> list[str]:
    """The file names after a command; if there is none, says so."""
    names = split_names(rest)
    if not names:
        repl.env.say(f"{command} needs a file")
    return names


def one_file_after(repl: Repl, command: str, rest: str) -> Path | None:
    """The file after a command; if there is not exactly one, says so."""
    names = files_after(repl, command, rest)
    if len(names) > 1:
        repl.env.say(f"{command} takes one file; put quotes around a name with spaces")
        return None
    return path_of(names[0]) if names else None


def attach_text(repl: Repl, rest: str) -> None:
    """Attach text files."""
    for name in files_after(repl, "/file", rest):
        repl.attached_texts.append(read_text_file(repl.env, path_of(name), name))
        repl.env.say(f"{name} is attached to the next question")


def attach_recording(repl: Repl, rest: str) -> None:
    """Record a clip and attach it; ``rest`` may name a microphone."""
    number = 1 + sum(part.source.name.startswith("recording") for part in _audio_parts(repl))
    name = f"recording {number}"
    repl.attached_media.append(record_part(repl.env, rest or repl.device, name))
    repl.env.say(f"{name} is attached to the next question")


def _audio_parts(repl: Repl) -> Iterable[AudioPart]:
    parts = [part for message in repl.chat.history for part in message.parts]
    return (part for part in (*parts, *repl.attached_media) if isinstance(part, AudioPart))
