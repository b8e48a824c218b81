"""File systems without locks, in all places where files are locked."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from cli_runs import records, tiny_g4
from PIL import Image as Pillow

from gemma4cli import locks
from gemma4cli.cli.output.files import growing_file
from gemma4cli.conversations.saved_list import remove_abandoned
from gemma4cli.conversations.store import SavedConversation
from gemma4cli.errors import Gemma4Error
from gemma4cli.hub.transfer import _lock as lock_part
from gemma4cli.locks import Lock, lock
from gemma4cli.transcription.journal import Journal, PieceText
from gemma4cli.tuning import folder as tuning_folder

PROBLEMS = {
    "NFS without its lock service": errno.ENOLCK,
    "FUSE without locks": errno.ENOSYS,
    "SMB": errno.EOPNOTSUPP,
    "Lustre without -o flock": errno.ENOSYS,
    "a file system of its own": errno.EINVAL,
    "NFS, and a file that is open for reading": errno.EBADF,
    "a server that does not answer": errno.EIO,
}


@pytest.fixture(params=PROBLEMS.values(), ids=PROBLEMS)
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    def fails(handle: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(locks.fcntl, "flock", fails)
    return int(request.param)


PIECE = PieceText(start=0.0, end=1.0, overlap=0.0, text="one")


def _journal() -> AbstractContextManager[object]:
    return Journal(Path("journals"), {"file": "x"})


@contextmanager
def _results() -> Iterator[None]:
    with growing_file(Path("x.jsonl")) as file:
        file.write("{}\n")
        file.flush()
        yield


def _tuning() -> AbstractContextManager[object]:
    return tuning_folder.opened(Path("adapter"), restart=False)


@contextmanager
def _download() -> Iterator[None]:
    with open("x.incomplete", "ab") as file:
        lock_part("a/b", file)
        yield


def _conversation() -> AbstractContextManager[object]:
    return SavedConversation(Path("sessions/one"))


PLACES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "another process is at the same work": _journal,
    "another run of g4 is writing it": _results,
    "another process is tuning into it": _tuning,
    "another g4 is downloading it": _download,
    "another g4 has it open": _conversation,
}


@pytest.mark.parametrize("said", PLACES)
def test_one_process_at_a_time_where_there_are_locks(said: str) -> None:
    with PLACES[said](), pytest.raises(Gemma4Error, match=said), PLACES[said]():
        pass
    with PLACES[said]():
        pass


@pytest.mark.parametrize("said", PLACES)
def test_without_locks_all_goes_on_as_if_there_were_no_other_process(
    said: str, no_locks: int
) -> None:
    with PLACES[said]():
        pass
    with PLACES[said]():
        pass


def test_a_lock_says_what_became_of_it(no_locks: int) -> None:
    with open("x", "wb") as file:
        assert lock(file.fileno()) is Lock.NONE


def test_an_interrupted_run_resumes_without_locks(no_locks: int) -> None:
    with Journal(Path("journals"), {"file": "x"}) as journal:
        journal.add(PIECE)
    with Journal(Path("journals"), {"file": "x"}) as journal:
        assert journal.done == (PIECE,)


def test_two_processes_at_the_same_work_without_locks_add_whole_lines(no_locks: int) -> None:
    with Journal(Path("j"), {"file": "x"}) as first:
        first.add(PIECE)
        with Journal(Path("j"), {"file": "x"}) as second:
            for _ in range(3):
                first.add(PIECE)
                second.add(PIECE)
    with Journal(Path("j"), {"file": "x"}) as journal:
        assert (journal.done, journal.damage) == ((PIECE,) * 7, None)


def test_of_two_runs_without_locks_the_first_ends_at_its_next_line(no_locks: int) -> None:
    with growing_file(Path("x")) as first, growing_file(Path("x")) as second:
        first.write("one\n")
        first.flush()
        second.write("two\n")
        second.flush()
        first.write("three\n")
        with pytest.raises(Gemma4Error, match="another program has replaced or removed it"):
            first.flush()
    assert Path("x").read_text() == "two\n"


def test_a_conversation_that_may_be_open_is_not_removed_as_empty(no_locks: int) -> None:
    with SavedConversation(Path("sessions/one")):
        remove_abandoned(Path("sessions"))
        assert Path("sessions/one").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs a C compiler on Linux"
)
def test_a_whole_run_where_the_system_refuses_locks() -> None:
    """The same as above, with the system's own function."""
    Path("none.c").write_text(
        "#include <errno.h>\nint flock(int f, int o) { errno = ENOLCK; return -1; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "none.so", "none.c"], check=True)
    for number in range(3):
        Pillow.new("RGB", (48, 48), "red").save(f"{number}.png")
    code = "import fcntl\ntry: fcntl.flock(1, fcntl.LOCK_EX)\nexcept OSError as e: print(e.errno)"
    env = {**os.environ, "LD_PRELOAD": os.path.abspath("none.so")}
    probe = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert probe.stdout == f"{errno.ENOLCK}\n".encode()
    names = [f"{number}.png" for number in range(3)]
    command = [sys.executable, "-m", "gemma4cli", "describe", "-m", "tiny", *names]
    for output in ("out.jsonl", "out.txt", "out/"):
        done = subprocess.run([*command, "-o", output], env=env, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    assert len(Path("out.jsonl").read_text().splitlines()) == 3
    assert [each["input"] for each in records(tiny_g4("describe", *names, "--json"))] == names
