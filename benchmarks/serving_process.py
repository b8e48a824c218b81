"""The servers that are compared, as processes on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

SECONDS_TO_START = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """What the servers run and load; None is not there."""

    model: Path
    mlx: Path | None
    llama: Path | None
    gguf: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """One that answers; ``fields`` are what its requests need besides the prompt."""

    engine: str
    port: int
    pid: int
    fields: dict[str, Any]


Command = list[str | Path]


def g4(paths: Paths) -> Command | None:
    return [sys.executable, "-m", "gemma4cli", "serve", "-q", "--offline", "-m", paths.model]


def mlx_lm(paths: Paths) -> Command | None:
    if paths.mlx is None:
        return None
    return [paths.mlx, "-m", "mlx_lm", "server", "--log-level", "ERROR", "--model", paths.model]


def mlx_vlm(paths: Paths) -> Command | None:
    if paths.mlx is None:
        return None
    return [paths.mlx, "-m", "mlx_vlm.server", "--log-level", "ERROR", "--model", paths.model]


def llama(paths: Paths) -> Command | None:
    if paths.llama is None or paths.gguf is None:
        return None
    # Slots for 16 clients, in a context that they share.
    slots = ("-np", "16", "-c", "16384", "--kv-unified", "-fit", "off")
    return [paths.llama, "-m", paths.gguf, "--jinja", "--reasoning-budget", "0", *slots]


COMMANDS: dict[str, Callable[[Paths], Command | None]] = {
    "g4 serve": g4,
    "mlx_lm.server": mlx_lm,
    "mlx_vlm.server": mlx_vlm,
    "llama-server": llama,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(engine: str, command: Command, paths: Paths) -> Iterator[Server]:
    """The server, once it answers; it is ended at the end, also if SIGTERM ends this process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*map(os.fspath, command), "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
            process_group=0,
        )
        try:
            wait_until_it_answers(process, port)
            fields = {} if engine == "g4 serve" else {"model": str(paths.model)}
            yield Server(engine=engine, port=port, pid=process.pid, fields=fields)
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.1)
    raise SystemExit(f"{process.args!r} does not answer")
