"""The program in several processes of this machine, connected by MLX's ring."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.adapters import matrices, write_peft
from support.checkpoints import PARITY
from support.goldens import goldens
from support.launched import G4, Process, hostfile, started
from support.samples import GREETING, TEXT_OF, sample

from gemma4cli.api import load
from gemma4cli.native.extension import extension

pytestmark = pytest.mark.slow
CASES = PARITY.parent / "cases"
LIMIT = 120
"""Seconds in which a run ends on the busiest machine."""


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


def launched(folder: Path, *words: str) -> tuple[str, str]:
    """What mlx.launch prints, with two processes: on standard output and error."""
    launch = "from mlx._distributed_utils.launch import main; main()"
    port = json.loads(hostfile(folder, 2).read_text())[0][0].rpartition(":")[2]
    command = [sys.executable, "-c", launch, "-n", "2", "--backend", "ring", "-p", port, "--"]
    with subprocess.Popen(
        [*command, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    ) as launcher:
        assert launcher.stdout is not None and launcher.stderr is not None
        return launcher.stdout.read().strip(), launcher.stderr.read()


def test_mlx_launch_starts_it(tmp_path: Path) -> None:
    assert launched(tmp_path, *G4, "chat", "-m", "tiny", "-q", "-p", "Hello")[0] == GREETING


def test_mlx_launch_shows_why_another_process_fails(tmp_path: Path) -> None:
    """It ends all others once one has failed, so the first one must have spoken by then."""
    (tmp_path / "m").symlink_to(PARITY / "31b")
    elsewhere = '[ $MLX_RANK = 0 ] || cd /; exec "$0" "$@"'
    words = ("bash", "-c", elsewhere, *G4, "chat", "-m", "./m", "-p", "Hello")
    assert "model './m' not found" in launched(tmp_path, *words)[1]


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
        lost = f"process 1 on {socket.gethostname()}" if killed else "the first process"
        assert f"{lost} has ended" in errors


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


def test_only_the_first_process_needs_the_adapter(tmp_path: Path) -> None:
    network = load("tiny").network
    write_peft(tmp_path / "style", matrices(network, "o_proj", "down_proj", "up_proj", size=3))
    words = ("chat", "-m", "tiny", "-q", "-p", "Hello", "--adapter", "style", "--temperature", "0")
    words = (*words, "--max-tokens", "8")
    alone = subprocess.run([*G4, *words], capture_output=True, text=True, cwd=tmp_path)
    assert alone.stdout.strip() != GREETING
    elsewhere = ("bash", "-c", 'cd /; exec "$0" "$@"', *G4)
    with started(tmp_path, 2, *words, others=elsewhere) as found:
        output, errors = found[0].communicate(timeout=LIMIT)
        assert [each.wait(timeout=LIMIT) for each in found] == [0, 0], errors
    assert output == alone.stdout


ENDS = """
import os
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.together import run_together
from gemma4cli.distributed.launch import launched

def command():
    global model
    import mlx.core as mx
    from gemma4cli.api import load
    model = load("tiny")
    model.network.language_model.model.embed(mx.array([[2]]))

if os.environ["MLX_RANK"] == "1":
    from gemma4cli.models.replica import Replica
    Replica._embed = lambda replica, ids: os._exit(9)
run_together(Environment.of_process(), launched(os.environ), command)
"""


def test_a_sum_that_never_comes_does_not_keep_the_first_process(tmp_path: Path) -> None:
    program = (sys.executable, "-c", ENDS)
    with started(tmp_path, 2, first=program, others=program) as found:
        assert found[1].wait(timeout=LIMIT) == 9
        assert found[0].wait(timeout=LIMIT) in (0, 1)


def test_processes_of_different_versions_do_not_begin(tmp_path: Path) -> None:
    older = (
        "import gemma4cli._version as it; it.__version__ = '0.0.1';"
        "from gemma4cli.__main__ import main; main()"
    )
    words = ("chat", "-m", "tiny", "-p", "Hello")
    with started(tmp_path, 2, *words, others=(sys.executable, "-c", older)) as found:
        _, errors = found[0].communicate(timeout=LIMIT)
        assert [each.wait(timeout=LIMIT) for each in found] == [4, 1]
    assert f"process 1 on {socket.gethostname()} is of g4 0.0.1" in errors


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_waits_for_the_others_can_be_ended(rank: int, tmp_path: Path) -> None:
    with started(tmp_path, 2, "chat", "-m", "tiny", "-p", "Hello") as found:
        found[1 - rank].kill()
        found[rank].terminate()
        assert found[rank].wait(timeout=30) in (1, 4, 143, -signal.SIGTERM)


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="needs Open MPI")
def test_mpirun_starts_it(tmp_path: Path) -> None:
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = ["mpirun", "--oversubscribe", "-np", "2", *G4]
    found = subprocess.run(
        [*command, "chat", "-m", "tiny", "-q", "-p", "Hello"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=tmp_path,
        env={**os.environ, **allowed},
    )
    assert (found.stdout.strip(), found.returncode) == (GREETING, 0), found.stderr


def test_an_input_that_is_not_there_ends_all_with_its_status(tmp_path: Path) -> None:
    with started(tmp_path, 2, "describe", "-m", "tiny", "nothing.png") as found:
        _, errors = found[0].communicate(timeout=LIMIT)
        assert [each.wait(timeout=LIMIT) for each in found] == [3, 3]
    assert "nothing.png" in errors


THREADS = """
import os
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.together import run_together
from gemma4cli.distributed.launch import launched

def show():
    from gemma4cli.models.cpu_layers import _streams
    from gemma4cli.native import _native
    print(_native.threads(), len(_streams()))

launch = launched(os.environ)
if launch is None:
    show()
else:
    run_together(Environment.of_process(), launch, show)
"""


def test_processes_of_a_machine_divide_its_cores(tmp_path: Path) -> None:
    if extension().module is None:
        pytest.skip("the native part is missing")
    alone = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True)
    program = (sys.executable, "-c", THREADS)
    with started(tmp_path, 2, first=program, others=program) as found:
        output, errors = found[0].communicate(timeout=LIMIT)
    assert found[0].returncode == 0, errors
    expected = [max(1, int(each) // 2) for each in alone.stdout.split()]
    assert [int(each) for each in output.split()] == expected
