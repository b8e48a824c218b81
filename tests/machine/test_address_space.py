"""A limit on the address space ends no run in a hang: it fits, or says that memory is out."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.samples import sample

from gemma4cli.errors import (
    OutOfMemoryError,
    UnexpectedError,
    is_out_of_memory,
    unexpected,
)
from gemma4cli.machine import address_space, device

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")


def limited(
    megabytes: int, *arguments: str, kind: int = resource.RLIMIT_AS
) -> subprocess.CompletedProcess[str]:
    """A run of g4 with a limit on its addresses."""
    size = megabytes * 1_000_000
    return subprocess.run(
        [sys.executable, "-m", "gemma4cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(kind, (size, size)),
        check=False,
    )


def test_too_little_is_said_at_once(subtests: pytest.Subtests) -> None:
    for command in (["models", "list"], ["chat", "-m", "tiny", "--no-log", "-p", "hi"]):
        with subtests.test(command=command):
            done = limited(300, *command)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("g4: out of memory: ")
            assert "ulimit -v" in done.stderr
            assert done.stderr.count("\n") == 1


def test_what_is_asked_for_is_enough_for_the_built_in_model(subtests: pytest.Subtests) -> None:
    picture, sound, clip = (
        str(sample(name)) for name in ("image00.png", "speech04.wav", "video00.mp4")
    )
    for command in (
        ["chat", "--no-log", "-p", "hi", "--image", picture, "--audio", sound],
        ["describe", picture],
        ["transcribe", sound],
        ["video", clip],
    ):
        with subtests.test(command=command[0]):
            done = limited(address_space._SMALLEST // 10**6, *command, "-m", "tiny", "-q")
            assert (done.returncode, done.stderr) == (0, "")


def test_the_limit_decides_how_many_cores_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: used.append(len(cores)))
    for limit in (None, 600_000_000, 1_700_000_000, 99_000_000_000):
        monkeypatch.setattr(address_space, "address_limit", lambda limit=limit: limit)
        address_space.fit_into_address_space()
    assert used == [1, 3]


def test_a_limit_on_data_counts_like_one_on_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limits = {resource.RLIMIT_AS: resource.RLIM_INFINITY, resource.RLIMIT_DATA: 900_000_000}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    statm = tmp_path / "statm"
    page = os.sysconf("SC_PAGE_SIZE")
    statm.write_text(f"{600_000_000 // page} 0 0 0 0 {100_000_000 // page} 0\n")
    assert address_space.address_limit() == 900_000_000
    assert address_space.addresses_free(statm) == pytest.approx(800_000_000, abs=page)
    limits[resource.RLIMIT_AS] = 1_000_000_000
    assert address_space.address_limit() == 900_000_000
    assert address_space.addresses_free(statm) == pytest.approx(400_000_000, abs=page)
    limits[resource.RLIMIT_DATA] = limits[resource.RLIMIT_AS] = resource.RLIM_INFINITY
    assert address_space.address_limit() is None
    assert address_space.addresses_free(statm) is None


def test_too_little_data_is_said_at_once() -> None:
    done = limited(100, "models", "list", kind=resource.RLIMIT_DATA)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("g4: out of memory: ")


def test_the_memory_of_this_machine_is_at_most_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "address_limit", lambda: 5000)
    monkeypatch.setattr(device, "addresses_free", lambda: 3800)
    assert (device.system_total(), device.system_free()) == (5000, 3800)


def test_what_says_that_there_is_no_memory(subtests: pytest.Subtests) -> None:
    for error in [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        OSError("out of memory error when reading image file"),
        RuntimeError("[malloc] Unable to allocate 5 bytes."),
        RuntimeError("can't start new thread"),
        RuntimeError("Resource temporarily unavailable"),
        ImportError("libx.so: failed to map segment from shared object"),
    ]:
        with subtests.test(error=error):
            assert isinstance(unexpected(error), OutOfMemoryError)
            assert unexpected(error).__cause__ is error
    for error in [ValueError("out of memory"), OSError(2, "No such file"), KeyError("x")]:
        assert not is_out_of_memory(error)
        assert isinstance(unexpected(error), UnexpectedError)
