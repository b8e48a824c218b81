"""Files of results: complete, or as they were before."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from cli_runs import tiny_g4
from PIL import Image as Pillow

from gemma4cli.cli.output.files import growing_file, replaced_file, replaced_path
from gemma4cli.cli.output.writable import check_folder, check_writable
from gemma4cli.errors import OptionError, OutputError

Opener = Callable[[Path], AbstractContextManager[TextIO]]
OPENERS = pytest.mark.parametrize("opener", [replaced_file, growing_file])


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As on a full disk, writing past ``size`` bytes fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@OPENERS
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, opener: Opener) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with (
        file_size_limit(10),
        pytest.raises(OutputError, match=r"cannot be written .*; the file there is unchanged"),
        opener(path) as file,
    ):
        file.write("x" * 100_000)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


@OPENERS
def test_a_disk_that_fails_at_the_end_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opener: Opener
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "out.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"), opener(path) as file:
        file.write("new")
        file.flush()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_a_growing_file_has_what_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "out.txt"
    with growing_file(path, begin="kept\n") as file:
        assert not path.exists()
        for count in (1, 2):
            file.write("line\n")
            file.flush()
            assert path.read_text() == "kept\n" + "line\n" * count
    assert os.listdir(path.parent) == ["out.txt"]


def test_a_growing_file_without_content_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with growing_file(path):
        pass
    assert path.read_text() == "old"


@OPENERS
def test_a_replaced_file_keeps_its_rights_and_a_new_one_has_those_of_the_umask(
    tmp_path: Path, opener: Opener
) -> None:
    for mode in (0o600, 0o664, 0o755):
        old = tmp_path / "old.txt"
        old.write_text("old")
        old.chmod(mode)
        with opener(old) as file:
            file.write("new")
        assert (old.read_text(), stat.S_IMODE(old.stat().st_mode)) == ("new", mode)
    before = os.umask(0o027)
    try:
        with opener(tmp_path / "new.txt") as file:
            file.write("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o640


@OPENERS
def test_a_link_stays_a_link(tmp_path: Path, opener: Opener) -> None:
    for target in ("old.txt", "missing.txt"):
        link = tmp_path / f"to-{target}"
        link.symlink_to(target)
        with opener(link) as file:
            file.write("new")
        assert link.is_symlink()
        assert (tmp_path / target).read_text() == "new"


@OPENERS
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path, opener: Opener) -> None:
    path = tmp_path / ("é" * 125 + ".json")
    check_writable(path)
    with opener(path) as file:
        file.write("new")
    assert path.read_text() == "new"


def test_a_file_that_another_program_writes_is_replaced_too(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    path.write_text("old")
    with replaced_path(path) as written:
        written.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(OutputError, match="unchanged"), replaced_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "new"


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from gemma4cli.cli.output.files import replaced_file\n"
        f"with replaced_file(Path({str(tmp_path / 'out.txt')!r})) as file: os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".g4-")
    with replaced_file(tmp_path / "other.txt"):
        (tmp_path / ".g4-mine").touch()
        check_folder(tmp_path)
        mine = [each for each in os.listdir(tmp_path) if f"-{os.getpid()}-" in each]
        assert len(mine) == 1
        assert left not in os.listdir(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".g4-mine", "other.txt"]


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "out.txt")
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written_is_known_before(
    tmp_path: Path, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    for name, problem in [
        ("folder", "is a folder; name a file in it"),
        ("file/out.txt", "is a file, not a folder"),
        ("file/in/out.txt", "cannot be created"),
        ("loop", "is a link that leads nowhere"),
        ("loop/out.txt", "is a file, not a folder"),
        ("x" * 300, "File name too long"),
    ]:
        with subtests.test(name=name[:20]), pytest.raises(OptionError, match=problem):
            check_writable(tmp_path / name)


def test_a_device_that_is_full_is_an_error() -> None:
    for name in ("a", "b"):
        Pillow.new("RGB", (8, 8), "red").save(f"{name}.png")
    for images in (["a.png"], ["a.png", "b.png"]):
        result = tiny_g4("describe", *images, "-o", "/dev/full", "--max-tokens", "2", "-q")
        assert result.exit_code == 1
        assert result.stderr == "g4: /dev/full: cannot be written (No space left on device)\n"


def test_a_stream_by_name_continues_where_it_is(tmp_path: Path) -> None:
    script = (
        "import os; from pathlib import Path\n"
        "from gemma4cli.cli.output.files import replaced_file\n"
        "for name in ('/dev/stdout', '/dev/fd/1'):\n"
        "    with replaced_file(Path(name)) as file: file.write('line\\n')\n"
    )
    with (tmp_path / "log").open("w") as log:
        log.write("first\n")
        log.flush()
        subprocess.run([sys.executable, "-c", script], check=True, stdout=log)
    assert (tmp_path / "log").read_text() == "first\nline\nline\n"


@pytest.mark.parametrize("meddle", [Path.unlink, lambda path: os.replace("other", path)])
def test_a_growing_file_that_lost_its_name_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], None]
) -> None:
    """As after another run with the same output: what follows would be nowhere."""
    monkeypatch.chdir(tmp_path)
    Path("other").write_text("theirs\n")
    with pytest.raises(OutputError, match="replaced or removed"), growing_file(Path("x")) as file:
        file.write("one\n")
        file.flush()
        meddle(Path("x"))
        file.write("two\n")
        file.flush()


def test_half_a_file_is_kept_only_where_it_is_asked_for(tmp_path: Path) -> None:
    for keeps_partial in (False, True):
        path = tmp_path / "x"
        with (
            pytest.raises(KeyboardInterrupt),
            replaced_file(path, keeps_partial=keeps_partial) as file,
        ):
            file.write("half")
            raise KeyboardInterrupt
        assert path.exists() == keeps_partial
        assert len(os.listdir(tmp_path)) == keeps_partial
