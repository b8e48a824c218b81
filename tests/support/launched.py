"""The program in several processes of this machine, connected by MLX's ring."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

G4 = (sys.executable, "-m", "gemma4cli")
Process = subprocess.Popen[str]


def hostfile(folder: Path, count: int) -> Path:
    """A list of free ports of this machine, one for each process."""
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        hosts = [[f"127.0.0.1:{each.getsockname()[1]}"] for each in taken]
    path = folder / "hosts.json"
    path.write_text(json.dumps(hosts))
    return path


@contextmanager
def started(
    folder: Path, count: int, *words: str, others: Sequence[str] = G4, first: Sequence[str] = G4
) -> Iterator[list[Process]]:
    """g4 in ``count`` processes; ``first`` starts the first one of them, ``others`` the rest."""
    hosts = str(hostfile(folder, count))
    found: list[Process] = []
    try:
        for rank in range(count):
            found.append(
                subprocess.Popen(
                    [*(others if rank else first), *words],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=folder,
                    env={**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": hosts},
                )
            )
        yield found
    finally:
        for each in found:
            each.kill()
            each.communicate()
