"""What to type instead of a line that begins with no command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from .commands import COMMAND_HABITS, CommandHabit
from .files import command_for, is_question, is_text_file, looks_like_a_file, medium_of
from .lines import Known, typed_line, words
from .option_answers import SPELLED, option_answer
from .similar import similar


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
        return f"there is no command {name}; type: {typed_line(group, [meant[0], *rest])}"
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
    for word in words(line, every, SPELLED):
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
        f"options come after the command; type: {typed_line(path, moved)}"
    )


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
    return typed_line(group, line)


def _with_model(rest: list[str]) -> Iterator[str]:
    """A model's name and a question after it, as options."""
    names = [each for each in rest if not each.startswith("-")]
    if names:
        yield from ("-m", names[0])
    if len(names) > 1:
        yield from ("-p", " ".join(names[1:]))
    yield from (each for each in rest if each.startswith("-"))


def _asking(line: Sequence[str]) -> str:
    return typed_line("", _asking_words(line))


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
