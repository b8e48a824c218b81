"""``make load`` in short, and that it leaves no server when it is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.linux]

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
COMMAND = [sys.executable, "-m", "tests.load", "--clients", "64", "--seconds"]


def test_no_request_of_many_clients_is_without_an_answer_or_an_error() -> None:
    done = subprocess.run(
        [*COMMAND, "4"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_run_that_is_killed_leaves_no_server() -> None:
    with subprocess.Popen([*COMMAND, "60"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        server = run.stdout.readline().split()[1]
        run.kill()
    until = time.monotonic() + PATIENCE
    while is_running(server):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(process: str) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
