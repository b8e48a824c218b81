"""What it costs to start, and what g4 says about itself."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time

import pytest
from cli_runs import command_line, g4

from gemma4cli import __version__
from gemma4cli.callbacks import callback
from gemma4cli.cli import interrupts
from gemma4cli.cli.output.exit_codes import ExitCode

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
    "gemma4cli.cli.answers.sinks",
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

HELP_NEEDS = {"_version", "callbacks", "cli", "errors", "options"} | {
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


WRONG_LINES = {
    "nonsense": "g4 has no command 'nonsense'; g4 -h lists them",
    "--nonsense": "g4 has no --nonsense; g4 -h lists the commands",
    "models nonsense": "models has no command 'nonsense'; g4 models -h lists them",
    "models --nonsense": "models has no --nonsense; g4 models -h lists the options",
    "models info": "models info needs NAME; for example: g4 models info tiny",
    "models pull e2b nonsense": "models pull does not take nonsense; "
    "g4 models pull -h lists the options",
    "describe": "describe needs IMAGE; for example: g4 describe photo.jpg",
    "describe a.png --nonsense": "describe has no --nonsense; g4 describe -h lists the options",
    "describe a.png --top 3": "describe has no --top; did you mean --top-p or --top-k?",
    "describe a.png --json=1": "--json takes no value",
    "describe a.png -m": "-m needs a value",
    "describe a.png --max-tokens few": "--max-tokens must be a whole number",
    "describe a.png --max-tokens 0": "--max-tokens must be at least 1",
    "describe a.png --temperature hot": "--temperature must be a number",
    "video a.mp4 --from noon": "--from: 'noon' is not a time such as 90, 1:30 or 1m30s",
    "transcribe a.wav --weight-folder x": "transcribe has no --weight-folder; "
    "g4 transcribe -h lists the options",
    "completion csh": "bash|zsh|fish: 'csh' is not one of 'bash', 'zsh', 'fish'",
    "models info ''": "NAME: is empty; is a variable not set?",
    "config ''": "COMMAND|path|set|unset: is empty; is a variable not set?",
}


@pytest.mark.parametrize(("line", "said"), WRONG_LINES.items())
def test_a_wrong_command_line_is_answered_on_one_line(line: str, said: str) -> None:
    result = g4(*shlex.split(line))
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"g4: {said}\n")


def test_without_a_command_the_help_is_shown(subtests: pytest.Subtests) -> None:
    for arguments in [[], ["models"]]:
        with subtests.test(arguments=arguments):
            result = g4(*arguments)
            assert result.exit_code == 2
            assert "Usage: g4" in result.output


# Ctrl-C before and after a command

_MAIN = "from gemma4cli.__main__ import main; import os, signal, sys\n"
_INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == 'gemma4cli.cli.app': {_INTERRUPT}\n"
            "sys.meta_path.insert(0, Finder())\n",
            id="imports",
        ),
        pytest.param(f"import atexit; atexit.register(lambda: {_INTERRUPT})\n", id="end"),
    ],
)
def test_ctrl_c_is_quiet_at_any_time(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{_MAIN}{code}sys.argv = ['g4', '--version']\nmain()"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Also where the tests run in the background, which starts processes that ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (ExitCode.INTERRUPTED, "")


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    """As in a job that a script starts in the background."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{_MAIN}import atexit; atexit.register(lambda: {_INTERRUPT})\n"
            "sys.argv = ['g4', '--version']\nmain()",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_status_of_an_interruption_is_the_same_everywhere() -> None:
    assert interrupts.STATUS == ExitCode.INTERRUPTED


def test_ctrl_c_waits_for_the_end_of_a_callback() -> None:
    """PyAV drops what its callbacks raise, and would take the file to end there."""
    done: list[str] = []

    @callback
    def read() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("read")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupts.leave_at_once()
        with pytest.raises(KeyboardInterrupt), interrupts.raised():
            read()
            assert done == ["read"]
            time.sleep(60)
    finally:
        signal.signal(signal.SIGINT, before)
