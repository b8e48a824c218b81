"""Several shards at one server that is killed while they run: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_runs import g4, records
from PIL import Image as Pillow
from support.samples import sample

pytestmark = pytest.mark.slow

PATIENCE = 120.0


@contextmanager
def server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a ``g4 serve`` with the built-in model, killed at the end if it still runs."""
    command = [sys.executable, "-m", "gemma4cli", "serve", "-m", "tiny", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield next(word for word in process.stderr.readline().split() if "http" in word), process
    finally:
        process.kill()
        process.communicate()


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gemma4cli", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def kept(folder: str) -> list[dict[str, Any]]:
    """What journals have, each line of them."""
    state = Path(os.environ["XDG_STATE_HOME"]) / "g4" / folder
    lines: list[dict[str, Any]] = []
    for path in state.glob("*.jsonl") if state.exists() else ():
        lines += [json.loads(line) for line in path.read_bytes().split(b"\n")[1:-1]]
    return lines


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def make_files(command: str) -> None:
    Path("in").mkdir()
    for number in range(40 if command == "describe" else 24):
        if command == "describe":
            color = ("red", "blue", "green")[number % 3]
            Pillow.new("RGB", (48, 48), color).save(f"in/{number:02}.png")
        else:
            shutil.copy(sample(f"speech{number % 3:02}.wav"), f"in/{number:02}.wav")


@pytest.mark.parametrize("command", ["describe", "transcribe"])
def test_shards_at_a_server_that_is_killed(command: str) -> None:
    journals = "answers" if command == "describe" else "transcripts"
    make_files(command)
    options = ("--temperature", "0", "--batch", "2")
    whole = {
        each["input"]: each["text"]
        for each in records(g4(command, "in", "-m", "tiny", *options, "--json"))
    }
    shards = [(command, "in", *options, "--shard", f"{n}/3", "-o", f"{n}.jsonl") for n in (1, 2, 3)]
    # Twice the server is killed while all of them ask it, the second time after they resumed.
    for _ in range(2):
        before = len(kept(journals))
        with server() as (url, process):  # each at another port
            running = [started(*shard, "--server", url) for shard in shards]
            wait_until(lambda before=before: len(kept(journals)) >= before + 5)
            process.kill()
            for each in running:
                _, said = each.communicate(timeout=PATIENCE)
                # One line says why, and not one for each file that was left; a shard may be done.
                assert each.returncode in (0, 4)
                assert "Traceback" not in said
                assert said.count(url.removesuffix("/v1")) == (each.returncode == 4)
    with server() as (url, _):
        results = [g4(*shard, "--server", url) for shard in shards]
    assert [each.exit_code for each in results] == [0, 0, 0]
    texts = "".join(Path(f"{n}.jsonl").read_text() for n in (1, 2, 3))
    lines = [json.loads(line) for line in texts.splitlines()]
    assert len(lines) == len(whole)
    assert {each["input"]: each["text"] for each in lines} == whole
    assert kept(journals) == []


def test_a_shard_without_a_server_fails_at_once_and_keeps_what_there_is() -> None:
    make_files("describe")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    Path("1.jsonl").write_text("")
    command = ("describe", "in", "--shard", "1/2", "-o", "1.jsonl")
    result = g4(*command, "--server", f"http://127.0.0.1:{port}")
    assert result.exit_code == 4
    assert str(port) in result.stderr
    assert Path("1.jsonl").read_text() == ""
