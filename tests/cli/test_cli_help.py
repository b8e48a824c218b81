"""What ``--help`` shows: names instead of types, lines that fit, examples that run."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from cli_runs import ROOT, assert_fails, g4, g4_with, write_clip_with_sound
from support.adapters import matrices, write_peft
from support.samples import sample
from typer.core import TyperGroup
from typer.testing import CliRunner

from gemma4cli.cli.app import app
from gemma4cli.cli.output.examples import EXAMPLES, PROJECT
from gemma4cli.engine.local import LocalModel

COMMANDS = list(EXAMPLES)


def help_of(path: str, columns: int = 80) -> str:
    result = CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.stdout


def every_command(group: TyperGroup, prefix: str = "") -> Iterator[str]:
    yield prefix.strip()
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from every_command(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}".strip()


def test_every_command_has_examples() -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    assert set(EXAMPLES) == set(every_command(program))


@pytest.mark.parametrize("path", COMMANDS)
def test_no_types_and_ranges(path: str) -> None:
    text = help_of(path, 120)
    assert not re.search(r"<\w|<=|list\[|\bbool\b|\bPath\b", text)
    assert "{" not in text


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("columns", [40, 80, 100])
def test_lines_fit_and_examples_come_last(path: str, columns: int) -> None:
    lines = [line.rstrip() for line in help_of(path, columns).splitlines()]
    assert max(map(len, lines)) <= columns
    _, _, end = "\n".join(lines).partition("Examples:")
    shown = "".join(end.split())
    assert all("".join(example.split()) in shown for example in EXAMPLES[path])


@pytest.mark.parametrize("columns", [40, 80])
def test_sentences_are_not_broken_where_the_source_breaks_them(columns: int) -> None:
    paragraph = re.search(r"Without -p.*?\n *\n", help_of("chat", columns), re.DOTALL)
    assert paragraph is not None
    lines = [line.strip() for line in paragraph[0].strip().splitlines()]
    for line, following in itertools.pairwise(lines):
        assert len(f"{line} {following.split()[0]}") > columns - 2


def test_the_program_says_where_it_is_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["urls"]["Homepage"] == PROJECT
    assert help_of("").rstrip().endswith(PROJECT)


def test_trace_is_for_developers() -> None:
    before, _, after = help_of("").partition("For developers")
    assert "trace" in after and not re.search(r"^│ trace", before, re.MULTILINE)


# Options that do not apply


@pytest.mark.parametrize(
    ("command", "typed", "flag"),
    [
        ("transcribe", ["--think"], "--think"),
        ("transcribe", ["--pictures", "kitty"], "--pictures"),
        ("trace", ["--temperature", "1"], "--temperature"),
        ("trace", ["--top-p", "1"], "--top-p"),
        ("trace", ["--top-k", "4"], "--top-k"),
        ("trace", ["--seed", "1"], "--seed"),
        ("trace", ["--think"], "--think"),
        ("trace", ["--json"], "--json"),
    ],
)
def test_an_option_that_does_not_apply_is_not_listed_and_refused(
    command: str, typed: list[str], flag: str
) -> None:
    assert flag not in re.findall(r"--[\w-]+", help_of(command))
    assert_fails(g4(command, "x", *typed), 2, f"leave out {flag}")


def test_length_means_something_else_to_each_command() -> None:
    assert "default: 24" in help_of("trace")
    assert "piece of speech" in help_of("transcribe")
    assert "24" not in help_of("describe")


# Examples run


@pytest.fixture
def inputs(tiny: LocalModel) -> None:
    """The files that the examples name."""
    write_peft(Path("my-lora"), matrices(tiny.network, "layers.0.self_attn.q_proj"))
    Path("tools.py").write_text("def now() -> str:\n    return 'noon'\n")
    shutil.copy(sample("image02.png"), "photo.jpg")
    shutil.copy(sample("image02.png"), "before.png")
    shutil.copy(sample("image10.png"), "after.png")
    shutil.copy(sample("speech00.wav"), "talk.mp3")
    write_clip_with_sound(Path("clip.mp4"))
    shutil.copy("clip.mp4", "lecture.mp4")
    for folder, file in (("photos", "photo.jpg"), ("talks", "talk.mp3")):
        Path(folder).mkdir()
        shutil.copy(file, folder)
    shutil.copy(sample("speech00.wav"), "talks/talk.wav")
    Path("conversation.json").write_text('{"messages": [{"role": "user", "content": "Hi"}]}')
    Path("subtitles").mkdir()


RUNNING = [
    line
    for path, lines in EXAMPLES.items()
    for line in lines
    # These need a microphone, a terminal, a conversation, the network or time.
    if path not in ("models pull", "models rm", "doctor", "serve", "tune")
    and not re.search(r"--mic|^g4 chat( -c| -m tiny.*)?$|models pull|models (info|merge) e2b", line)
]


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("line", RUNNING)
def test_example_runs_as_it_stands(line: str) -> None:
    words = shlex.split(line, comments=True)
    if ">" in words:
        words = words[: words.index(">")]
    _, _, words = " ".join(map(shlex.quote, words)).rpartition("g4 ")
    result = g4_with({"G4_MODEL": "tiny", "COLUMNS": "80"}, *shlex.split(words))
    assert result.exit_code == 0, result.stderr


# Completion


@pytest.mark.parametrize("columns", ["40", "80"])
@pytest.mark.parametrize("command", ["describe", "transcribe", "video", "chat", "models pull"])
def test_what_an_option_means_is_offered_on_one_line(command: str, columns: str) -> None:
    """A second line would be taken for a word."""
    changed = {
        "_G4_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": f"g4 {command} --",
        "COLUMNS": columns,
    }
    before = os.environ.get("COLUMNS")
    result = CliRunner().invoke(app, [], env=changed, catch_exceptions=False)
    assert result.stdout.splitlines()
    assert all(re.fullmatch(r"--[\w-]+\t\S.*", line) for line in result.stdout.splitlines())
    assert os.environ.get("COLUMNS") == before
