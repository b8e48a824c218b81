"""What to type instead of a command line that g4 does not have, with all that was typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ...errors import OptionError
from .commands import COMMAND_HABITS, CommandHabit
from .files import (
    command_for,
    is_file,
    is_question,
    is_text_file,
    looks_like_a_file,
    medium_of,
)
from .lines import Known, Word, words
from .options import FILE, OPTION_HABITS, OptionHabit

_SPELLED = frozenset(
    name for habit in OPTION_HABITS for name in habit.typed if re.fullmatch(r"-[A-Za-z]{2,}", name)
)
"""Options of several letters after one dash."""

_SIMILAR = 0.78
_SHORTEST_PREFIX = 3


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
    return f"{reason}; type: {_typed(path, current)}"


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
    return f"{path} takes files with -a; type: {_typed(path, new)}"


def unknown_option(line: Sequence[str], known: Known) -> Word | None:
    """The first option that the command does not have."""
    found = (each for each in words(line, known, _SPELLED) if each.is_option and not each.known)
    return next(found, None)


def similar(name: str, names: Collection[str]) -> list[str]:
    """The names that could have been meant: close ones, then those that begin alike."""
    typed = name if name.startswith("-") and not name.startswith("--") else name.lower()
    close = get_close_matches(typed, names, n=2, cutoff=_SIMILAR)
    if len(typed.strip("-")) >= _SHORTEST_PREFIX:
        close += [each for each in names if each.startswith(typed) and each not in close]
    return close


def command_answer(group: str, line: Sequence[str], commands: Mapping[str, Known]) -> str | None:
    """What to type for a line that begins with no command of a group ("" for the program)."""
    name, rest = line[0], list(line[1:])
    habit = next(
        (each for each in COMMAND_HABITS.get(group, ()) if name.lower() in each.typed), None
    )
    if habit is not None:
        why = habit.why or f"there is no command {name}"
        return f"{why}; type: {_line_for(group, habit, name, rest)}"
    if len(meant := similar(name, commands)) == 1:
        return f"there is no command {name}; type: {_typed(group, [meant[0], *rest])}"
    if group or meant:
        return None
    if is_text_file(name) and medium_of(name) is None:
        return f"a command comes first; type: g4 chat -p 'Summarize this.' < {shlex.quote(name)}"
    if looks_like_a_file(name) or is_question(name) or _is_sentence(line):
        return f"a command comes first; type: {_asking(line)}"
    return None


def leading_options_answer(
    group: str, line: Sequence[str], commands: Mapping[str, Known]
) -> str | None:
    """What to type for a line whose options come before its command."""
    every: dict[str, bool] = {}
    for known in commands.values():
        every |= known
    index = 0
    for word in words(line, every, _SPELLED):
        if not word.is_option:
            break
        index = word.index + 1 + word.used
    before, after = list(line[:index]), list(line[index:])
    if after and after[0] in commands:
        command, moved = after[0], [*after[1:], *before]
    elif not group and (
        after or any(w.name in ("-p", "--prompt", "-m", "--model") for w in words(before, every))
    ):
        return f"a command comes first; type: {_asking([*after, *before])}"
    else:
        return option_answer(group, line, {})
    path = f"{group} {command}".strip()
    return option_answer(path, moved, commands[command]) or (
        f"options come after the command; type: {_typed(path, moved)}"
    )


def _first_habit(path: str, line: Sequence[str], known: Known) -> tuple[Word, OptionHabit] | None:
    for word in words(line, known, _SPELLED):
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


def _line_for(group: str, habit: CommandHabit, name: str, rest: list[str]) -> str:
    line = habit.instead.split()
    if habit.rest == "append":
        line += rest
    elif habit.rest == "this":
        line += [name, *rest]
    elif habit.rest == "model":
        line += _with_model(rest)
    elif habit.rest == "this model":
        line += _with_model([name, *rest])
    elif habit.rest == "ask":
        line = [*_asking_words(rest)]
    return _typed(group, line)


def _with_model(rest: list[str]) -> Iterator[str]:
    """A model's name and a question after it, as options."""
    names = [each for each in rest if not each.startswith("-")]
    if names:
        yield from ("-m", names[0])
    if len(names) > 1:
        yield from ("-p", " ".join(names[1:]))
    yield from (each for each in rest if each.startswith("-"))


def _asking(line: Sequence[str]) -> str:
    return _typed("", _asking_words(line))


def _asking_words(line: Sequence[str]) -> Iterator[str]:
    """Files and a question in any order: the command for those files, then the question."""
    options = next(
        (i for i, each in enumerate(line) if each.startswith("-") and each != "-"), len(line)
    )
    files = [each for each in line[:options] if looks_like_a_file(each) or each == "-"]
    question = " ".join(each for each in line[:options] if each not in files)
    yield command_for(files)
    yield from files
    if any("://" in each for each in files) and command_for(files) == "describe":
        yield "--allow-urls"
    if question:
        yield from ("-p", question)
    yield from line[options:]


def _is_sentence(line: Sequence[str]) -> bool:
    """Whether words were typed without quotes."""
    plain = [each for each in line if not each.startswith("-") and not looks_like_a_file(each)]
    return len(plain) == len(line) >= 3


def _typed(path: str, line: Sequence[str] | Iterator[str]) -> str:
    return shlex.join(["g4", *path.split(), *line])


def with_question(path: str, line: Sequence[str], known: Known) -> list[str]:
    """The line with -p before the argument that can only be a question, the first or the last.

    Raises OptionError if there is nothing else, or a question without quotes.
    """
    if any(word.name in ("-p", "--prompt") for word in words(line, known)):
        return list(line)
    arguments = [word for word in words(line, known) if not word.is_option]
    if unquoted := _unquoted(arguments):
        rest = [each for i, each in enumerate(line) if i not in {w.index for w in unquoted}]
        new = [*rest, "-p", " ".join(line[word.index] for word in unquoted)]
        raise OptionError(f"a question goes into quotes; type: {_typed(path, new)}")
    asking = [word for word in arguments if is_question(word.value or "")]
    if len(asking) != 1 or asking[0] not in (arguments[0], arguments[-1]):
        return list(line)
    index = asking[0].index
    new = ["-p", line[index], *line[:index], *line[index + 1 :]]
    if len(arguments) == 1:
        raise OptionError(f"{path} needs a file to ask about; type: {_typed(path, ['FILE', *new])}")
    return new


def _unquoted(arguments: Sequence[Word]) -> list[Word]:
    """The words at the end that are a question, one word per argument."""
    last: list[Word] = []
    for word in reversed(arguments):
        value = word.value or ""
        if " " in value or looks_like_a_file(value) or value == "-":
            break
        last.insert(0, word)
    asks = len(last) >= 3 or (len(last) == 2 and (last[-1].value or "").endswith("?"))
    return last if asks and len(last) < len(arguments) else []
