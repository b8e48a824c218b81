"""What to type instead of options that a command does not have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .files import is_file, looks_like_a_file, medium_of
from .lines import Known, Word, typed_line, words
from .options import FILE, OPTION_HABITS, OptionHabit
from .similar import similar

SPELLED = frozenset(
    name for habit in OPTION_HABITS for name in habit.typed if re.fullmatch(r"-[A-Za-z]{2,}", name)
)
"""Options of several letters after one dash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """A line with one habit replaced, and why; without a line there is only advice."""

    line: list[str] | None
    why: str


def option_answer(path: str, line: Sequence[str], known: Known) -> str | None:
    """What to do about the options of a command's line that it does not have.

    ``path`` is the command without "g4". None if nothing is known to do.
    """
    current, whys, first = list(line), [], None
    # Each replacement takes away an unknown option or one of few values.
    for _ in line:
        found = _first_habit(path, current, known)
        if found is None:
            break
        word, habit = found
        first = first or word.name
        step = _replaced(path, current, word, habit)
        if step.line is None:
            return f"{word.name}: {step.why}"
        current = step.line
        reason = f"{word.name}: {step.why}"
        whys += [reason] if step.why and reason not in whys else []
    if first is None:
        return None
    reason = "; ".join(whys) or f"{path or 'g4'} has no {first}"
    return f"{reason}; type: {typed_line(path, current)}"


def files_answer(path: str, line: Sequence[str], known: Known) -> str | None:
    """What to type where a chat is given files without an option."""
    arguments = [word for word in words(line, known) if not word.is_option]
    files = [word for word in arguments if medium_of(word.value or "") and is_file(word.value)]
    if "-a" not in known or not files:
        return None
    attached = [each for word in files for each in ("-a", line[word.index])]
    question = " ".join(line[word.index] for word in arguments if word not in files)
    options = [each for i, each in enumerate(line) if i not in {w.index for w in arguments}]
    new = [*([question] if question else []), *attached, *options]
    return f"{path} takes files with -a; type: {typed_line(path, new)}"


def unknown_option(line: Sequence[str], known: Known) -> Word | None:
    """The first option that the command does not have."""
    found = (each for each in words(line, known, SPELLED) if each.is_option and not each.known)
    return next(found, None)


def _first_habit(path: str, line: Sequence[str], known: Known) -> tuple[Word, OptionHabit] | None:
    for word in words(line, known, SPELLED):
        if not word.is_option or not line[word.index].replace("_", "-").startswith(word.name):
            continue
        for habit in OPTION_HABITS:
            if _counts(habit, path, word, known):
                return word, habit
        meant = [] if word.known else similar(word.name, known)
        if len(meant) == 1:
            takes = known[meant[0]]
            return word, OptionHabit(
                typed=(word.name,),
                instead=f"{meant[0]} {{}}" if takes else meant[0],
                takes_value=takes,
            )
    return None


def _counts(habit: OptionHabit, path: str, word: Word, known: Known) -> bool:
    if word.name not in habit.typed or (habit.commands and path not in habit.commands):
        return False
    if word.known and not habit.values:
        return False
    target = habit.instead.partition(" ")[0]
    if target.startswith("-") and target not in known:
        return False
    return not habit.values or _has_value(habit, word)


def _has_value(habit: OptionHabit, word: Word) -> bool:
    if word.value is None:
        return False
    return word.value.lower() in habit.values or (
        FILE in habit.values and looks_like_a_file(word.value)
    )


def _replaced(path: str, line: Sequence[str], word: Word, habit: OptionHabit) -> _Step:
    if habit.advice:
        return _Step(line=None, why=habit.advice.format(command=path.rpartition(" ")[2] or "g4"))
    used, value = word.used, word.value
    if not habit.takes_value and (value or "").lower() not in ("true", "false", "1", "0"):
        used = 0
    elif habit.takes_value and used and (value or "").startswith("--"):
        used, value = 0, None
    if habit.instead.endswith("{}/"):
        value = (value or "DIR").rstrip("/")
    new = [each.replace("{}", value or "VALUE") for each in habit.instead.split()]
    return _Step(line=[*line[: word.index], *new, *line[word.index + 1 + used :]], why=habit.why)
