"""What to type where arguments need an option before them, or another command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .files import is_file, is_question, is_text_file, looks_like_a_file, medium_of
from .lines import Known, Word, typed_line, words

_OUTPUTS = frozenset({".srt", ".vtt", ".tsv", ".txt", ".json", ".jsonl", ".csv", ".md"})


def argument_answer(path: str, line: Sequence[str], known: Known) -> str | None:
    """What to type for arguments that the command would take for something else."""
    given = list(words(line, known))
    arguments = [word for word in given if not word.is_option]
    if path == "chat":
        return _files_of_a_chat(path, line, arguments)
    if path not in ("describe", "transcribe", "video") or len(arguments) < 2:
        return None
    *others, last = arguments
    value = last.value or ""
    if Path(value).suffix.lower() in _OUTPUTS and not any(w.name in _WRITES for w in given):
        new = [*_without(line, [last]), "-o", value]
        return f"results are written with -o; type: {typed_line(path, new)}"
    if path == "transcribe" and is_question(value):
        files = [line[word.index] for word in others]
        options = _without(line, arguments)
        new = [value, *(each for file in files for each in ("-a", file)), *options]
        return f"a question about a recording is for chat; type: {typed_line('chat', new)}"
    return None


_WRITES = ("-o", "--output", "--json")


def _files_of_a_chat(path: str, line: Sequence[str], arguments: Sequence[Word]) -> str | None:
    several = len(arguments) > 1
    flags = {
        word.index: flag
        for word in arguments
        if (flag := _attaches(word.value or "", missing_too=several))
    }
    if not flags and not several:
        return None
    question = " ".join(line[word.index] for word in arguments if word.index not in flags)
    attached = [each for index, flag in flags.items() for each in (flag, line[index])]
    new = [*([question] if question else []), *attached, *_without(line, arguments)]
    if not flags:
        return f"a question goes into quotes; type: {typed_line(path, new)}"
    names = " and ".join(sorted(set(flags.values())))
    return f"{path} takes files with {names}; type: {typed_line(path, new)}"


def _attaches(name: str, *, missing_too: bool) -> str | None:
    """The option of a chat that attaches this file; None for other words."""
    if not is_file(name) and not (missing_too and looks_like_a_file(name)):
        return None
    if medium_of(name):
        return "-a"
    return "--file" if looks_like_a_file(name) and is_text_file(name) else None


def _without(line: Sequence[str], some: Sequence[Word]) -> Iterator[str]:
    places = {word.index for word in some}
    yield from (each for index, each in enumerate(line) if index not in places)
