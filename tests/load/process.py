"""The server as a process, and what it holds: memory, descriptors, threads, files. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .bodies import ROOT, TOKEN
from .kinds import MAX_BODY_MB

_EVERY = 0.2
"""Seconds between two looks at the process."""
_MORE_BUSY, _MORE_IDLE = 1.1, 1.02
"""How many times the memory of the part before another part of a run may need."""
_SPARE_BYTES = 4 << 20
_SPARE_FILES = 4
_SPARE_THREADS = 2
KEPT_MB = 8
"""What the server may keep of prompts; it does after a few dozen of them."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process has at a moment."""

    memory: int
    files: int
    threads: int


class ServerProcess:
    """``g4 serve`` with the built-in model; ``folder`` is all that it may write to."""

    def __init__(self, folder: Path, *args: str) -> None:
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(self._temporary)}
        env |= {"PYTHONPATH": str(ROOT), "G4_SERVE_TOKEN": TOKEN}
        env |= {"G4_KEPT_PROMPTS_MB": str(KEPT_MB)}
        env |= {f"XDG_{each}_HOME": str(folder / each) for each in ("CONFIG", "STATE", "CACHE")}
        command = [sys.executable, "-m", "gemma4cli", "serve", "-m", "tiny", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--max-body", str(MAX_BODY_MB), *args],
            cwd=folder,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=_end_with(os.getpid()),
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        urls = [urlsplit(word) for word in line.split() if word.startswith("http")]
        if not urls:
            raise SystemExit(f"load: the server does not start: {line}")
        assert urls[0].hostname is not None and urls[0].port is not None
        self.address = (urls[0].hostname, urls[0].port)
        self.said: list[str] = []
        self.samples: list[Held] = []
        self._threads = [threading.Thread(target=each) for each in (self._listen, self._look)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said += self.process.stderr

    def _look(self) -> None:
        while self.process.poll() is None and (held := self.held()) is not None:
            self.samples.append(held)
            time.sleep(_EVERY)

    def held(self) -> Held | None:
        """What it has now; None if it has ended."""
        folder = Path(f"/proc/{self.process.pid}")
        try:
            pages = int((folder / "statm").read_text().split()[1])
            return Held(
                memory=pages * os.sysconf("SC_PAGESIZE"),
                files=len(os.listdir(folder / "fd")),
                threads=len(os.listdir(folder / "task")),
            )
        except OSError:
            return None

    def wait(self, seconds: float) -> int | None:
        """The exit status; None, and the process is killed, if it does not end."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        for thread in self._threads:
            thread.join()
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leftovers(self) -> list[str]:
        """Temporary files, and processes of its group, once it has ended."""
        files = [str(path.relative_to(self._temporary)) for path in self._temporary.rglob("*")]
        return files + [f"process {pid}" for pid in _of_group(self.process.pid)]


def _of_group(group: int) -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            yield folder.name


def _end_with(parent: int) -> Callable[[], None]:
    """What the child calls to be killed when its parent ends, however that ends."""
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)

    return ask


@contextmanager
def running(folder: Path, *args: str) -> Iterator[ServerProcess]:
    server = ServerProcess(folder, *args)
    try:
        yield server
    finally:
        server.kill()


def grown(parts: Sequence[Sequence[Held]], rests: Sequence[Held]) -> list[str]:
    """What the last of equal parts of a run, and the rest after it, have more of than those before.

    ``rests`` are moments without clients, one after each part.
    """
    faults = []
    before, after = (max(each.memory for each in part) for part in parts[-2:])
    if after > before * _MORE_BUSY + _SPARE_BYTES:
        faults.append(f"memory under load grew from {_mb(before)} to {_mb(after)}")
    before, after = (each.memory for each in rests[-2:])
    if after > before * _MORE_IDLE + _SPARE_BYTES:
        faults.append(f"memory at rest grew from {_mb(before)} to {_mb(after)}")
    return faults


def described(part: Sequence[Held], rest: Held) -> str:
    """What was needed in a part of a run, and after it."""
    return (
        f"memory at most {_mb(max(each.memory for each in part))}, {_mb(rest.memory)} at rest; "
        f"descriptors {max(each.files for each in part)} and {rest.files}; "
        f"threads {max(each.threads for each in part)} and {rest.threads}"
    )


def rested(before: Held, after: Held) -> list[str]:
    """What a server without clients has more of than before they came."""
    faults = []
    if after.files > before.files + _SPARE_FILES:
        faults.append(f"{after.files} descriptors are open at the end, {before.files} at the start")
    if after.threads > before.threads + _SPARE_THREADS:
        faults.append(f"{after.threads} threads run at the end, {before.threads} at the start")
    return faults


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
