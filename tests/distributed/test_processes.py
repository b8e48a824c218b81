"""The program in several processes of this machine, connected by MLX's ring."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import PARITY
from support.goldens import goldens
from support.samples import GREETING, TEXT_OF, sample

pytestmark = pytest.mark.slow
CASES = PARITY.parent / "cases"
LIMIT = 120
"""Seconds in which a run ends on the busiest machine."""

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
def started(folder: Path, count: int, *words: str) -> Iterator[list[Process]]:
    """g4 in ``count`` processes, the first one first."""
    hosts = str(hostfile(folder, count))
    found: list[Process] = []
    try:
        for rank in range(count):
            found.append(
                subprocess.Popen(
                    [sys.executable, "-m", "gemma4cli", *words],
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


def run(folder: Path, count: int, *words: str) -> tuple[str, list[int]]:
    """What the first process prints, and all exit statuses."""
    with started(folder, count, *words) as found:
        first, *others = found
        output, errors = first.communicate(timeout=LIMIT)
        statuses = [each.wait(timeout=LIMIT) for each in found]
        assert [each.stdout.read() for each in others if each.stdout] == [""] * len(others)
    assert statuses[0] == 0, errors
    return output, statuses


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("describe", "-m", "tiny", "-q", sample("image00.png")), TEXT_OF["image00.png"]),
        (("transcribe", "-m", "tiny", "-q", sample("speech00.wav")), TEXT_OF["speech00.wav"]),
        (("chat", "-m", "tiny", "-q", "-p", "Hello"), GREETING),
    ],
    ids=["describe", "transcribe", "chat"],
)
def test_two_processes_answer_as_one_does(
    words: Sequence[str], answer: str, tmp_path: Path
) -> None:
    output, statuses = run(tmp_path, 2, *words)
    assert output.strip() == answer
    assert statuses == [0, 0]


@pytest.mark.parametrize(("arch", "count"), [("26b", 2), ("31b", 4)])
def test_logits_are_those_of_the_reference(arch: str, count: int, tmp_path: Path) -> None:
    case, golden = "text_short", goldens(arch)
    words = ("trace", "-m", str(PARITY / arch), "--dtype", "float32", str(CASES / f"{case}.json"))
    run(tmp_path, count, *words, "--max-tokens", "1", "-o", "trace.npz")
    with np.load(tmp_path / "trace.npz") as result:
        error = np.abs(result["logits"][:, golden[f"{case}/columns"]] - golden[f"{case}/logits"])
    assert error.max() <= 1e-3 * golden[f"{case}/spread"][1]


def test_mlx_launch_starts_it(tmp_path: Path) -> None:
    launch = "from mlx._distributed_utils.launch import main; main()"
    port = json.loads(hostfile(tmp_path, 2).read_text())[0][0].rpartition(":")[2]
    words = [sys.executable, "-m", "gemma4cli", "chat", "-m", "tiny", "-q", "-p", "Hello"]
    command = [sys.executable, "-c", launch, "-n", "2", "--backend", "ring", "-p", port, "--"]
    with subprocess.Popen(
        [*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        output = launcher.stdout.read()
    assert output.strip() == GREETING


@contextmanager
def serving(folder: Path) -> Iterator[list[Process]]:
    """A server in two processes, which wait for somebody to ask."""
    with started(folder, 2, "serve", "-m", "tiny", "--port", "0") as found:
        assert found[0].stderr is not None
        assert any("http" in line for line in iter(found[0].stderr.readline, ""))
        yield found


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others(killed: int, tmp_path: Path) -> None:
    with serving(tmp_path) as found:
        found[killed].kill()
        other = found[1 - killed]
        _, errors = other.communicate(timeout=30)
        assert other.returncode == 1
        assert ("process 1" if killed else "the first process") + " has ended" in errors


def test_ctrl_c_in_the_first_process_ends_all(tmp_path: Path) -> None:
    with serving(tmp_path) as found:
        for each in found:  # as a terminal does
            each.send_signal(signal.SIGINT)
        statuses = [each.wait(timeout=30) for each in found]
    assert statuses[0] == statuses[1]


def test_the_first_process_reports_why_another_one_fails(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to(PARITY / "31b")
    with started(tmp_path, 2, "chat", "-m", "./m", "-p", "Hello") as found:
        os.unlink(tmp_path / "m")
        _, errors = found[0].communicate(timeout=LIMIT)
        assert found[1].wait(timeout=LIMIT) == 4
    assert "not found" in errors


def test_an_input_that_is_not_there_ends_all_with_its_status(tmp_path: Path) -> None:
    with started(tmp_path, 2, "describe", "-m", "tiny", "nothing.png") as found:
        _, errors = found[0].communicate(timeout=LIMIT)
        assert [each.wait(timeout=LIMIT) for each in found] == [3, 3]
    assert "nothing.png" in errors
