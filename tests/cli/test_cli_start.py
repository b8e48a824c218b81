"""What it costs to start, and what g4 says about itself."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import get_args

import pytest
import typer
from cli_runs import command_line, g4
from typer.core import TyperGroup

from gemma4cli import __version__
from gemma4cli.cli.app import app
from gemma4cli.cli.output.pictures import PictureMode
from gemma4cli.cli.transcribe.choices import Format, Shown
from gemma4cli.options import DType

HEAVY = {
    "av",
    "huggingface_hub",
    "mlx",
    "mlx_lm",
    "numpy",
    "PIL",
    "prompt_toolkit",
    "sounddevice",
    "soxr",
    "tokenizers",
    "torch",
    "transformers",
}
RUNS_NEED = {
    "gemma4cli.cli.chat.attachments",
    "gemma4cli.cli.chat.one_turn",
    "gemma4cli.cli.chat.sessions",
    "gemma4cli.cli.commands.describe_many",
    "gemma4cli.cli.commands.video_frames",
    "gemma4cli.cli.output.answers",
    "gemma4cli.cli.output.consume",
    "gemma4cli.cli.output.graphics",
    "gemma4cli.cli.output.progress",
    "gemma4cli.cli.output.results",
    "gemma4cli.cli.run.runner",
    "gemma4cli.cli.settings.resolve",
    "gemma4cli.cli.transcribe.run",
    "gemma4cli.cli.transcribe.sinks",
}
"""Modules of the command line that help does not need."""

STANDARD = {"base64", "hashlib", "importlib.resources", "json", "mimetypes", "tempfile", "tomllib"}
"""The same of the standard library, except where Typer imports pydantic, which needs some."""

HELP_NEEDS = {"_version", "cli", "errors", "options"} | {
    # The public names of the package, which are light.
    "api",
    "conversations",
    "events",
    "messages",
    "transcript",
}
"""Modules and folders of the package, outside of which help imports nothing."""


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        pytest.param(["--help"], "Usage: g4", marks=pytest.mark.slow),
        pytest.param(["--version"], "g4 ", marks=pytest.mark.slow),
        (["chat", "--help"], "Usage: g4 chat"),
    ],
)
def test_help_and_version_import_nothing_heavy(arguments: list[str], beginning: str) -> None:
    done = subprocess.run(
        command_line(*arguments, ways="modules"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip().startswith(beginning)
    modules = done.stderr.splitlines()
    assert "gemma4cli.cli.app" in modules
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    assert set(modules) & RUNS_NEED == set()
    assert "pydantic" in modules or set(modules) & STANDARD == set()
    own = {name.split(".")[1] for name in modules if name.startswith("gemma4cli.")}
    assert own <= HELP_NEEDS


def test_version() -> None:
    assert g4("--version").stdout == f"g4 {__version__}\n"


@pytest.mark.parametrize("command", ["describe", "transcribe", "video", "chat", "models", "trace"])
def test_help(command: str) -> None:
    result = g4(command, "-h")
    assert result.exit_code == 0
    assert command in g4("--help").stdout
    assert result.stdout == g4(command, "--help").stdout
    assert f"Usage: g4 {command}" in result.stdout


def commands(group: TyperGroup, *path: str) -> Iterator[tuple[str, ...]]:
    """How each command is called, the group first."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def test_help_shows_no_types_and_no_ranges() -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    pages = {called: g4(*called, "--help").stdout for called in commands(program)}
    assert {("chat",), ("models", "list")} <= pages.keys()
    assert [c for c, page in pages.items() if re.search(r"<\w+|x[<>]=|list\[", page)] == []


def test_help_names_every_choice() -> None:
    page = " ".join(re.sub(r"[│|]", " ", g4("transcribe", "--help").stdout).split())
    choices = [get_args(kind) for kind in (DType, Format, Shown, PictureMode)]
    assert [choice for each in choices for choice in each if choice not in page] == []


def test_range_that_help_does_not_show_holds() -> None:
    assert g4("describe", "--help").exit_code == 0
    result = g4("describe", "a.png", "--max-tokens", "0")
    assert result.exit_code == 2
    assert "greater than or equal to 1" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["describe"], ["describe", "--nonsense"], ["models", "nonsense"]]
)
def test_usage_errors(arguments: list[str]) -> None:
    result = g4(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: g4" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["models"]])
def test_no_command_shows_the_help(arguments: list[str]) -> None:
    result = g4(*arguments)
    assert result.exit_code == 2
    assert "Usage: g4" in result.output
