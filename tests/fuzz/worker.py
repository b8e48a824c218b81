"""Runs cases in a process with bounds, and says what was wrong with how each ended."""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import huggingface_hub.constants

from gemma4cli import api, errors
from gemma4cli.cli.app import app
from gemma4cli.cli.environment import Environment
from gemma4cli.engine.model import LoadedModel
from gemma4cli.hub.resolved import ResolvedModel

from .kinds import Case, load_case, make_case
from .probes import PROBE, probed

HANG_SECONDS = 10.0
BUSY_SECONDS = 60.0
"""The limit of a second try, of which the processor may spend HANG_SECONDS on it."""
MEMORY = 1 << 30
"""Bytes that a run may add to the memory its process uses."""

_ADDRESS_SPACE = 4 << 30
_OUTPUTS: dict[Sequence[str], str] = {}
"""What commands that others are compared with gave."""
_MARKS = ("Traceback (most recent call last)", "unexpected error (")
ERRORS_FILE = "stderr"
OUTPUT_FILE = "stdout"


@dataclass(frozen=True, kw_only=True)
class Task:
    """Input ``number`` of a kind and seed, to be made; or the one saved in ``saved``.

    ``again``: it took too long, and is tried a second time.
    """

    kind: str
    seed: int = 0
    number: int = 0
    saved: Path | None = None
    again: bool = False

    def limit(self) -> float:
        """Seconds that its command may take: more in a second try, as the machine may be busy."""
        return BUSY_SECONDS if self.again else HANG_SECONDS

    def folder(self, root: Path) -> Path:
        """Where the input's folder is while it runs."""
        return self.saved or root / f"{self.kind}-{self.seed}-{self.number}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a task ended; ``fault`` is empty if it ended as documented, ``about`` has details.

    Faults that have one cause share their ``signature``.
    """

    task: Task
    fault: str = ""
    signature: str = ""
    about: str = ""


def work(tasks: Connection, root: Path, seeds: Path) -> None:
    """Run the tasks that arrive at ``tasks``, each answered by its Verdict, until None arrives."""
    _prepare()
    while (task := tasks.recv()) is not None:
        folder = task.folder(root)
        if task.saved is None:
            case = make_case(task.kind, task.seed, task.number, folder=folder, seeds=seeds)
        else:
            case = load_case(folder)
        fault, signature, about = run_case(case, task.limit())
        if not fault and task.saved is None:
            shutil.rmtree(folder)
        tasks.send(Verdict(task=task, fault=fault, signature=signature, about=about))


def _prepare() -> None:
    """Bound this process's memory, share the built-in model, and note errors that g4 fences."""
    used = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    load, shared = api.load, []

    def load_shared(model: str | ResolvedModel, **rest: object) -> LoadedModel:
        if (model if isinstance(model, str) else model.name) != "tiny":
            return load(model, **rest)  # type: ignore[arg-type]
        if not shared:
            shared.append(load(model, **rest))  # type: ignore[arg-type]
        return shared[0]

    api.load = load_shared
    init = errors.UnexpectedError.__init__

    def noted(self: errors.UnexpectedError, cause: Exception) -> None:
        traceback.print_exception(cause)
        init(self, cause)

    errors.UnexpectedError.__init__ = noted  # type: ignore[method-assign]


def run_case(case: Case, limit: float) -> tuple[str, str, str]:
    """Run a case's command here. Returns its fault, signature and details, empty without one.

    After ``limit`` seconds the process ends.
    """
    _enter(case)
    before, start, busy = _memory("VmRSS"), time.monotonic(), time.process_time()
    status = _status_of(case.args, limit)
    busy = time.process_time() - busy
    if min(busy, time.monotonic() - start) > HANG_SECONDS:
        return "hang", f"slow: {' '.join(case.args[:2])}", f"{busy:.0f} s of the processor"
    found = _judged(case, status, _memory("VmHWM") - before)
    if any(found) or status != 0 or not case.same_as:
        return found
    return _compared(case, limit)


def _status_of(args: Sequence[str], limit: float) -> object:
    """What a command ends with, which is run here."""
    faulthandler.dump_traceback_later(limit, exit=True, file=sys.__stderr__)
    status: object = 0
    try:
        if args[0] == PROBE:
            return probed(*args[1:])
        app(args=list(args), obj=Environment.of_process())
    except SystemExit as end:
        status = end.code or 0
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        traceback.print_exception(error)
        status = type(error).__name__
    finally:
        faulthandler.cancel_dump_traceback_later()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return status


def _compared(case: Case, limit: float) -> tuple[str, str, str]:
    """Whether a case's output is that of the command which gives the same."""
    output = _output_of(case)
    if case.same_as not in _OUTPUTS:
        _enter(case)
        _status_of(case.same_as, limit)
        _OUTPUTS[case.same_as] = _output_of(case)
    expected = _OUTPUTS[case.same_as]
    if output == expected:
        return "", "", ""
    return "differs", f"differs: {' '.join(case.args[:2])}", f"{output!r}, not {expected!r}"


def _output_of(case: Case) -> str:
    return (case.folder / OUTPUT_FILE).read_text(encoding="utf-8", errors="replace")


def _enter(case: Case) -> None:
    """The folders, variables and streams of a case become those of this process."""
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        os.environ[f"XDG_{name}_HOME"] = str(case.folder / name.lower())
    (case.folder / "tmp").mkdir(exist_ok=True)
    os.environ.update(TMPDIR=str(case.folder / "tmp"), NO_COLOR="1", COLUMNS="80")
    os.environ.update(HOME=str(case.folder), HF_HUB_OFFLINE="1")
    import tempfile

    tempfile.tempdir = None
    huggingface_hub.constants.HF_HUB_CACHE = str(case.folder / "hub")
    os.chdir(case.work)
    paths = (case.stdin or os.devnull, case.folder / OUTPUT_FILE, case.folder / ERRORS_FILE)
    for number, path in enumerate(paths):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    # The highest use so far becomes the present one.
    Path("/proc/self/clear_refs").write_text("5")


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def _judged(case: Case, status: object, memory: int) -> tuple[str, str, str]:
    said = (case.folder / ERRORS_FILE).read_text(encoding="utf-8", errors="replace")
    if memory > MEMORY:
        return "memory", f"memory: {case.args[0]}", f"{memory / 1e9:.1f} GB more than before"
    if any(mark in said for mark in _MARKS):
        return "exception", signature_of(said), said[-3000:]
    if status not in case.allowed:
        return "status", f"status {status}: {' '.join(case.args[:2])}", said[-3000:]
    if status != 0 and not any(line.startswith("g4: ") for line in said.splitlines()):
        return "silent", f"silent: {status} {case.args[0]}", f"status {status} without an error"
    output = _output_of(case)
    if case.must_say not in output:
        return "lost", f"lost: {' '.join(case.args[:2])}", f"{case.must_say!r} is not in: {output}"
    left = sorted(path.name for path in (case.folder / "tmp").iterdir())
    # PulseAudio's own, which it makes when microphones are looked for, and MLX's compiled kernels.
    left = [name for name in left if not name.startswith("pulse-")]
    if left:
        return "left", f"left in TMPDIR: {case.args[0]}", " ".join(left)
    return "", "", ""


def signature_of(said: str) -> str:
    """The last line of g4's own code in a traceback, and the error's type."""
    place, kind = "", ""
    for line in said.splitlines():
        if line.startswith("  File ") and "gemma4cli" in line:
            path, _, rest = line.partition('", line ')
            place = f"{path.rsplit('gemma4cli/')[-1]}:{rest}"
        elif line and not line.startswith((" ", "g4:")) and ("Error" in line or "Exc" in line):
            kind = line.split(":")[0]
    return f"{kind} at {place}"
