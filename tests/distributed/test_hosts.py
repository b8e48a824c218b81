"""The program on two machines: network namespaces of Linux, which take their place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.samples import GREETING

LIMIT = 120
"""Seconds in which a run ends on the busiest machine."""

Process = subprocess.Popen[str]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _may_make_networks() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"g4-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    if made:
        _ip("netns", "delete", name)
    return made


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _may_make_networks(), reason="needs root and network namespaces"),
]


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two networks with a cable between them; their addresses end in 1 and 2."""
    names = [f"g4-{os.getpid()}-{number}" for number in (1, 2)]
    try:
        for name in names:
            _ip("netns", "add", name)
        peer = ("peer", "name", "cable", "netns", names[1])
        _ip("-n", names[0], "link", "add", "cable", "type", "veth", *peer)
        for number, name in enumerate(names, 1):
            _ip("-n", name, "address", "add", f"10.77.7.{number}/24", "dev", "cable")
            for link in ("lo", "cable"):
                _ip("-n", name, "link", "set", link, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@contextmanager
def started(hosts: list[str], folder: Path, *words: str) -> Iterator[list[Process]]:
    """g4 in a process of each host, the first one first."""
    path = folder / "hosts.json"
    path.write_text(json.dumps([["10.77.7.1:32323"], ["10.77.7.2:32323"]]))
    found: list[Process] = []
    try:
        for rank, host in enumerate(hosts):
            found.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", host, sys.executable, "-m", "gemma4cli", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=folder,
                    env={**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(path)},
                )
            )
        yield found
    finally:
        for each in found:
            each.kill()
            each.communicate()


def test_two_hosts_answer_as_one_does(hosts: list[str], tmp_path: Path) -> None:
    with started(hosts, tmp_path, "chat", "-m", "tiny", "-q", "-p", "Hello") as found:
        output, errors = found[0].communicate(timeout=LIMIT)
        assert output.strip() == GREETING, errors
        assert [each.wait(timeout=LIMIT) for each in found] == [0, 0]


def test_a_host_that_is_cut_off_ends_all(hosts: list[str], tmp_path: Path) -> None:
    with started(hosts, tmp_path, "serve", "-m", "tiny", "--port", "0") as found:
        assert found[0].stderr is not None
        assert any("http" in line for line in iter(found[0].stderr.readline, ""))
        _ip("-n", hosts[1], "link", "set", "cable", "down")
        errors = [each.communicate(timeout=60)[1] for each in found]
        assert [each.returncode for each in found] == [1, 1]
    assert "process 1 on" in errors[0] and "has ended" in errors[0]
    assert "the first process has ended" in errors[1]
