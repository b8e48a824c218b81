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


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [(["--help"], "Usage: g4"), (["--version"], "g4 "), (["chat", "--help"], "Usage: g4 chat")],
)
def test_light_imports(arguments: list[str], beginning: str) -> None:
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


def test_version() -> None:
    assert g4("--version").stdout == f"g4 {__version__}\n"


@pytest.mark.parametrize("command", ["describe", "transcribe", "video", "chat", "models", "trace"])
def test_help(command: str) -> None:
    result = g4(command, "-h")
    assert result.exit_code == 0
    assert command in g4("--help").stdout
    assert result.stdout == g4(command, "--help").stdout
    assert f"Usage: g4 {command}" in result.stdout


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
