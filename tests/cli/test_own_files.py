"""What killed runs leave is removed, and files of g4 are whole and private."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gemma4cli.leftovers import prefix, remove_leftovers
from gemma4cli.own_files import close_to_others, private_folder, whole_file


def test_links_named_like_leftovers_are_removed_alone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    name = prefix().replace(str(os.getpid()), str(process.pid))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("mine")
    (tmp_path / f"{name}abcdefgh").symlink_to(tmp_path / "elsewhere")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "file").exists()


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    with whole_file(path) as file:
        file.write(b"good")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), whole_file(path) as file:
        file.write(b"cut")
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def test_private_folders_leave_links_and_what_they_lead_to(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(shared)
    private_folder(link)
    close_to_others(link)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    close_to_others(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
