"""What to type instead of a line that begins with no command."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from .commands import COMMAND_HABITS, CommandHabit
from .files import command_for, is_file, is_question, is_text_file, looks_like_a_file, medium_of
from .lines import Known, typed_line, words
from .option_answers import SPELLED, option_answer, with_options_replaced
from .options import OPTION_HABITS
from .similar import similar

_FIRST = "a command comes first"
_SLASH_COMMAND = re.compile(r"/[a-z]+")
_OF_A_CHAT = frozenset(
    {"-p", "--prompt", "-m", "--model", "-c", "--continue", "--session", "-a", "--attach"}
    | {"--image", "--audio", "--video", "--file", "--system", "--messages"}
)
"""Options that are enough to know that the command is chat."""


def command_answer(group: str, line: Sequence[str], commands: Mapping[str, Known]) -> str | None:
    """What to type for a line that begins with no command of a group ("" for the program)."""
    name, rest = line[0], list(line[1:])
    habit = next(
        (each for each in COMMAND_HABITS.get(group, ()) if name.lower() in each.typed), None
    )
    if habit is not None and not habit.instead:
        return f"there is no command {name}: {habit.why}"
    if habit is not None:
        line = _line_for(habit, name, rest, commands)
        return _answer(group, habit.why or f"there is no command {name}", line, commands)
    if len(meant := similar(name, commands)) == 1:
        return _answer(group, f"there is no command {name}", [meant[0], *rest], commands)
    if group or meant:
        return None
    if _SLASH_COMMAND.fullmatch(name) and not os.path.lexists(name):
        return f"{name} is for a chat; type: g4 chat"
    if is_text_file(name) and medium_of(name) is None:
        return f"a command comes first; type: g4 chat -p 'Summarize this.' < {shlex.quote(name)}"
    if looks_like_a_file(name) or is_question(name) or _is_sentence(line):
        return _answer("", _FIRST, list(_asking_words(line)), commands)
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
    elif not group and (after or any(word.name in _OF_A_CHAT for word in words(before, every))):
        return _answer("", _FIRST, list(_asking_words([*after, *before])), commands)
    else:
        return option_answer(group, line, {})
    path = f"{group} {command}".strip()
    return option_answer(path, moved, commands[command]) or (
        f"options come after the command; type: {typed_line(path, moved)}"
    )


def _answer(group: str, why: str, line: list[str], commands: Mapping[str, Known]) -> str:
    """What to type, with options that the command in ``line`` has."""
    command, *rest = line
    step = None
    if (known := commands.get(command)) is not None:
        step = with_options_replaced(f"{group} {command}".strip(), rest, known)
    if step is not None and step.line is None:
        return f"{why}; {step.why}"
    typed = [command, *(rest if step is None or step.line is None else step.line)]
    return f"{why}; type: {typed_line(group, typed)}"


def _line_for(
    habit: CommandHabit, name: str, rest: list[str], commands: Mapping[str, Known]
) -> list[str]:
    line = habit.instead.split()
    match habit.rest:
        case "append":
            return [*line, *rest]
        case "this":
            return [*line, name, *rest]
        case "model":
            return _with_model(rest, commands)
        case "this model":
            return _with_model([name, *rest], commands)
        case "ask":
            return list(_asking_words(rest))
        case "drop":
            return line


def _with_model(rest: list[str], commands: Mapping[str, Known]) -> list[str]:
    """A model's name, then files and a question, among options."""
    habits = {name: each.takes_value for each in OPTION_HABITS for name in each.typed}
    arguments = [
        word.index for word in words(rest, {**habits, **commands["chat"]}) if not word.is_option
    ]
    named = [rest[index] for index in arguments]
    options = [each for index, each in enumerate(rest) if index not in arguments]
    model = ["-m", named[0]] if named else []
    return list(_asking_words([*named[1:], *model, *options]))


def _asking_words(line: Sequence[str]) -> Iterator[str]:
    """Files and a question in any order: the command for those files, then the question."""
    options = next(
        (i for i, each in enumerate(line) if each.startswith("-") and each != "-"), len(line)
    )
    said = [part for each in line[:options] for part in _file_after_words(each)]
    files = [each for each in said if looks_like_a_file(each) or each == "-"]
    question = " ".join(each for each in said if each not in files)
    yield command_for(files)
    yield from files
    if any("://" in each for each in files) and command_for(files) == "describe":
        yield "--allow-urls"
    if question:
        yield from ("-p", question)
    yield from line[options:]


def _file_after_words(text: str) -> Sequence[str]:
    """A question and the file that its last word names, such as "Describe this: ./a.png"."""
    words_before, _, last = text.rpartition(" ")
    names_one = bool(words_before) and is_file(last) and not is_file(text)
    return [words_before.rstrip(" :"), last] if names_one else [text]


def _is_sentence(line: Sequence[str]) -> bool:
    """Whether words were typed without quotes, with files or without."""
    plain = [each for each in line if not each.startswith("-") and not looks_like_a_file(each)]
    files = [each for each in line if is_file(each)]
    return len(plain) + len(files) == len(line) >= 3
