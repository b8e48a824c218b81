"""What a command answers, and where it goes: ``-o``, ``--json`` and ``--format`` together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from ...errors import OptionError
from ...messages import Source
from ...records import Given
from ..environment import Environment
from ..run.inputs import STDIN, Input
from ..run.options import RunOptions
from ..run.targets import LINES_SUFFIXES, Target, check_no_format, suffix_of, target_of
from ..run.written import Written, say_skipped, written_before
from .choices import AnswerFormat


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerOutput:
    """Where answers go, and the options with ``json`` as the output's suffix has it."""

    run: RunOptions
    target: Target


def answer_target(
    run: RunOptions,
    *,
    several: bool,
    format: AnswerFormat | None = None,
    extension: str | None = None,
) -> AnswerOutput:
    """Where answers go; a file that ends in .jsonl or .json gets JSON records.

    With ``format`` each input has a file of its own, which ends in ``extension``, or else in the
    format's name. An answer by a schema is itself JSON, which a
    .json file gets as it is. Raises OptionError.
    """
    suffix = suffix_of(run.output)
    if format is not None:
        return _separate(run, format, extension or format, several=several)
    if extension is not None:
        raise OptionError("--extension is for the files of -f: add -f txt, caption or json")
    check_no_format(run.output, ("txt", "json"))
    if not run.json and (suffix in LINES_SUFFIXES or (suffix == "json" and run.schema is None)):
        if suffix == "json" and several:
            name = Path(run.output or "").stem
            raise OptionError(
                f"{run.output}: would hold several JSON objects; name it {name}.jsonl for one on "
                f"each line, or {name}/ for a file for each input"
            )
        run = replace(run, json=True)
    # JSON lines are one stream unless a folder is asked for.
    several = several and not (run.json and not suffix)
    target = target_of(
        run.output, several=several, suffixes=("json" if run.json else "txt",), shared=True
    )
    return AnswerOutput(run=run, target=target)


def checked_extension(extension: str | None, inputs: AbstractSet[str]) -> str | None:
    """What ".txt" or "txt" means, None for None. Raises OptionError.

    ``inputs`` are the suffixes of files that the command looks for.
    """
    if extension is None:
        return None
    plain = extension.removeprefix(".")
    if not re.fullmatch(r"[^\s./\0-\x1f][^/\0-\x1f]{0,31}", plain):
        raise OptionError(f"--extension takes the end of a name, such as txt, not {extension!r}")
    if f".{plain.rpartition('.')[2].lower()}" in inputs:
        raise OptionError(f"--extension {extension}: the files would be taken for inputs")
    return plain


def _separate(
    run: RunOptions, format: AnswerFormat, extension: str, *, several: bool
) -> AnswerOutput:
    if run.json and format != "json":
        raise OptionError(f"--json and -f {format} exclude each other")
    suffix = suffix_of(run.output)
    others = {*get_args(AnswerFormat), *LINES_SUFFIXES} - {format, extension}
    if suffix in others:
        raise OptionError(f"{run.output}: is not a name for -f {format}; leave out one of them")
    if run.output == STDIN:
        raise OptionError("-f writes files: leave it out, or name a folder with -o")
    if run.output is None:
        return AnswerOutput(run=run, target=Target(beside=True, suffixes=(extension,)))
    target = target_of(run.output, several=several, suffixes=(extension,))
    if target.file is not None and format == "json":
        run = replace(run, json=True)
    return AnswerOutput(run=run, target=target)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRun:
    """What a command answers, and where the answers go.

    Attributes:
        env: The outside world.
        run: The options of all commands.
        names: What labels and records call the inputs.
        target: Where the answers go.
        inputs: The files, if each name is one.
        needed: Files without which no model need be loaded.
        format: That of files for each input, if their suffix does not say it.
        file_names: Whether records have the places of their inputs, too.
        several: Whether answers are labeled, as those about a folder are, even with one file in it.
        shard: What messages call the part of the inputs that these are; "" if these are all.
        question: What the answers depend on besides the model and the files; with it, the answers
            of an interrupted run are kept.
        restart: Answer again what an interrupted run has answered.
        keeps_parts: Whether ``events`` keep parts of an answer, from which the command continues.
        written: What an earlier run has written.
        markdown: Whether Markdown is rendered at a terminal.
        hide_thoughts: Whether thoughts are not shown.
    """

    env: Environment
    run: RunOptions
    names: Sequence[Given]
    target: Target
    inputs: Sequence[Input] = ()
    needed: Sequence[Source] = ()
    format: AnswerFormat | None = None
    file_names: bool = False
    several: bool = False
    shard: str = ""
    question: Mapping[str, object] | None = None
    restart: bool = False
    keeps_parts: bool = False
    written: Written = field(default_factory=Written)
    markdown: bool = False
    hide_thoughts: bool = False

    @property
    def is_streamed(self) -> bool:
        """Whether the text is written as it comes."""
        return not (self.several or self.target.is_separate or self.run.json)


def skipping_written(answers: AnswerRun, *, quiet: bool) -> AnswerRun:
    """``answers`` without those that are in their files, or in the JSON lines.

    Raises OptionError if the output is neither.
    """
    written = written_before(answers.target, answers.inputs, answers.names, lines=answers.run.json)
    if not quiet:
        say_skipped(answers.env, answers.target, len(written.numbers), len(answers.names))
    return replace(answers, written=written)
