"""What it costs to start, and what g4 says about itself."""

from __future__ import annotations

import subprocess

import pytest
from cli_runs import command_line, g4

from gemma4cli import __version__

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


def test_every_command_has_help(subtests: pytest.Subtests) -> None:
    for command in ["describe", "transcribe", "video", "chat", "models", "trace"]:
        with subtests.test(command=command):
            result = g4(command, "-h")
            assert result.exit_code == 0
            assert command in g4("--help").stdout
            assert result.stdout == g4(command, "--help").stdout
            assert f"Usage: g4 {command}" in result.stdout


def test_a_wrong_command_line_shows_the_usage(subtests: pytest.Subtests) -> None:
    for arguments in [
        ["nonsense"],
        ["describe"],
        ["describe", "--nonsense"],
        ["models", "nonsense"],
    ]:
        with subtests.test(arguments=arguments):
            result = g4(*arguments)
            assert (result.exit_code, result.stdout) == (2, "")
            assert "Usage: g4" in result.stderr
            assert "Traceback" not in result.stderr


def test_without_a_command_the_help_is_shown(subtests: pytest.Subtests) -> None:
    for arguments in [[], ["models"]]:
        with subtests.test(arguments=arguments):
            result = g4(*arguments)
            assert result.exit_code == 2
            assert "Usage: g4" in result.output
