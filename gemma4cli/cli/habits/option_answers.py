"""What to type instead of options that a command does not have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .files import looks_like_a_file
from .lines import Known, Word, typed_line, words
from .options import FILE, NUMBER, OPTION_HABITS, OptionHabit
from .similar import similar

SPELLED = frozenset(
    name
    for habit in OPTION_HABITS
    for name in habit.typed
    if re.fullmatch(r"-[A-Za-z][A-Za-z-]+", name)
)
"""Options of several letters after one dash."""


_NUMBER = re.compile(r"\d+")
_SWITCHES = ("true", "false", "1", "0", "on", "off")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A line with habits replaced, and why; without a line there is only advice."""

    line: list[str] | None
    why: str


def option_answer(path: str, line: Sequence[str], known: Known) -> str | None:
    """What to do about the options of a command's line that it does not have.

    ``path`` is the command without "g4". None if nothing is known to do.
    """
    replaced = with_options_replaced(path, line, known)
    if replaced is None:
        return None
    if replaced.line is None:
        return replaced.why
    return f"{replaced.why}; type: {typed_line(path, replaced.line)}"


def with_options_replaced(path: str, line: Sequence[str], known: Known) -> Step | None:
    """The line with options that the command has, and why; None if it has no option from habit."""
    current, whys, first = list(line), [], ""
    # Each replacement takes away an unknown option or one of few values.
    for _ in line:
        found = _first_habit(path, current, known)
        if found is None:
            break
        word, habit = found
        first = first or (
            f"{word.name} does not take {word.value}"
            if word.known
            else f"{path or 'g4'} has no {word.name}"
        )
        step = _replaced(path, current, word, habit)
        if step.line is None:
            return Step(line=None, why=f"{word.name}: {step.why}")
        current = step.line
        reason = f"{word.name}: {step.why}"
        whys += [reason] if step.why and reason not in whys else []
    return Step(line=current, why="; ".join(whys) or first) if first else None


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
    return (
        word.value.lower() in habit.values
        or (FILE in habit.values and looks_like_a_file(word.value))
        or (NUMBER in habit.values and bool(_NUMBER.fullmatch(word.value)))
    )


def _replaced(path: str, line: Sequence[str], word: Word, habit: OptionHabit) -> Step:
    if habit.advice:
        return Step(line=None, why=habit.advice.format(command=path.rpartition(" ")[2] or "g4"))
    used, value = word.used, word.value
    if not habit.takes_value and (value or "").lower() not in _SWITCHES:
        used = 0
    elif habit.takes_value and used and (value or "").startswith("--"):
        used, value = 0, None
    if habit.instead.endswith("{}/"):
        value = (value or "DIR").rstrip("/")
    new = [each.replace("{}", value or "VALUE") for each in habit.instead.split()]
    return Step(line=[*line[: word.index], *new, *line[word.index + 1 + used :]], why=habit.why)
