"""``python -m tests.fuzz.broken``: programs with faults in place of g4, to test the fuzzer.

Each is run on one input, with limits that are reached at once; what the fuzzer found is printed as
one JSON object by the names below.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gemma4cli import errors

from . import worker
from .__main__ import keep
from .kinds import CASE_FILE, KINDS
from .pool import Pool
from .worker import Task


def _says_an_error() -> None:
    sys.stderr.write("g4: x.png: is a damaged PNG image\n")
    sys.exit(1)


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    time.sleep(60)


def _spin() -> None:
    end = time.process_time() + 1
    while time.process_time() < end:
        pass


def _raise() -> None:
    raise TypeError("'int' object is not iterable")


def _fence() -> None:
    """An exception that g4 turns into one line all the same is one of its faults."""
    sys.stderr.write(f"g4: {errors.UnexpectedError(TypeError('odd'))}\n")
    sys.exit(5)


def _use_memory() -> None:
    bytearray(100 << 20)


def _end_oddly() -> None:
    sys.exit(77)


def _say_nothing() -> None:
    sys.exit(1)


def _lose() -> None:
    print("no conversations")


def _leave_a_file() -> None:
    tempfile.mkstemp()


def _say_something_else() -> None:
    print(time.monotonic_ns())


FAULTS: dict[str, Callable[[], None]] = {
    "none": _says_an_error,
    "crash": _crash,
    "hang": _hang,
    "slow": _spin,
    "exception": _raise,
    "fenced": _fence,
    "memory": _use_memory,
    "status": _end_oddly,
    "silent": _say_nothing,
    "lost": _lose,
    "left": _leave_a_file,
    "differs": _say_something_else,
}


def _outcomes(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    worker.MEMORY = 50 << 20
    for name, program in FAULTS.items():
        worker.app = lambda args, obj, program=program: program()  # type: ignore[misc, assignment]
        worker.HANG_SECONDS, worker.BUSY_SECONDS = (0.5, 10.0) if name == "slow" else (1.0, 2.0)
        KINDS["settings"] = lambda rng, case, seeds, name=name: replace(  # type: ignore[misc]
            case,
            args=("chat", "--list"),
            must_say="good" if name == "lost" else "",
            same_as=("chat", "--list") if name == "differs" else (),
        )
        (verdict,) = Pool(jobs=1, root=root, seeds=root).run([Task(kind="settings")])
        folder = verdict.task.folder(root)
        if verdict.fault:
            keep(verdict, root, root)
        kept = folder / CASE_FILE
        found[name] = {
            "fault": verdict.fault,
            "about": verdict.about,
            "kept": json.loads(kept.read_text()) if kept.exists() else None,
        }
    return found


if __name__ == "__main__":
    with TemporaryDirectory() as root:
        print(json.dumps(_outcomes(Path(root))))
