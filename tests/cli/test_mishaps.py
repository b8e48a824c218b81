"""What goes wrong with single files among many, on disks and network drives: the others go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_runs import records, tiny_g4
from PIL import Image as Pillow
from support.samples import sample

from gemma4cli.media.pictures import images as image_files

CODES = [errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOENT]


@pytest.fixture(params=["describe", "transcribe"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """A command with three files, of which results get the names a.txt, b.txt and c.txt."""
    Path("in").mkdir()
    name = str(request.param)
    for letter in "abc":
        if name == "describe":
            Pillow.new("RGB", (48, 48), "red").save(f"in/{letter}.png")
        else:
            shutil.copy(sample("speech00.wav"), f"in/{letter}.wav")
    return (name, "in", "-o", "out/", "--batch", "2")


def journals() -> list[Path]:
    state = Path(os.environ["XDG_STATE_HOME"]) / "g4"
    return [*state.glob("answers/*"), *state.glob("transcripts/*")]


def refuse(patch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """The file system does not let a file have this name."""
    replace = Path.replace

    def refusing(self: Path, target: Any) -> Any:
        if Path(target).name == name:
            raise OSError(code, os.strerror(code))
        return replace(self, target)

    patch.setattr(Path, "replace", refusing)


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_result_that_cannot_have_its_name_does_not_end_the_others(
    command: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, "b.txt", code)
        for _ in range(2):  # the same command again does not stop there either
            result = tiny_g4(*command)
            assert result.exit_code == 5
            assert result.stderr.count("out/b.txt: cannot be written") == 1
            assert sorted(os.listdir("out")) == ["a.txt", "c.txt"]
    kept = journals()
    assert kept, "what could not be written is kept"
    assert tiny_g4(*command).exit_code == 0
    assert sorted(os.listdir("out")) == ["a.txt", "b.txt", "c.txt"]
    assert journals() == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_nothing_ends_the_run_which_resumes(
    command: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, "b.txt", code)
        result = tiny_g4(*command)
        assert (result.exit_code, result.stderr.count("cannot be written")) == (1, 1)
        assert os.listdir("out") == ["a.txt"]
    resumed = tiny_g4(*command)
    assert (resumed.exit_code, "resumes" in resumed.stderr) == (0, True)
    assert sorted(os.listdir("out")) == ["a.txt", "b.txt", "c.txt"]


def test_a_folder_of_results_that_is_removed_meanwhile_is_made_again(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, names = Path.replace, []

    def removing(self: Path, target: Any) -> Any:
        done = replace(self, target)
        names.append(Path(target).name)
        if len(names) == 1:
            shutil.rmtree("out")
        return done

    monkeypatch.setattr(Path, "replace", removing)
    assert tiny_g4(*command).exit_code == 0
    assert (names, sorted(os.listdir("out"))) == (["a.txt", "b.txt", "c.txt"], ["b.txt", "c.txt"])


def test_files_that_are_gone_or_unreadable_at_their_turn() -> None:
    Path("in").mkdir()
    for letter in "abcdef":
        Pillow.new("RGB", (48, 48), "red").save(f"in/{letter}.png")
    os.unlink("in/b.png")
    os.symlink("b.png", "in/b.png")  # a loop
    Path("in/c.png").write_bytes(b"")
    os.unlink("in/d.png")
    os.symlink("nowhere", "in/d.png")
    result = tiny_g4("describe", "in", "-o", "out.jsonl")
    assert result.exit_code == 5
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [each["input"] for each in lines] == [f"in/{letter}.png" for letter in "abcdef"]
    assert [each["input"][3] for each in lines if "error" in each] == ["b", "c", "d"]
    assert all(each["error"]["code"] == 3 for each in lines if "error" in each)
    assert result.stderr.count("\n") == 3


def test_a_file_that_vanishes_after_it_was_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in").mkdir()
    for letter in "abc":
        Pillow.new("RGB", (48, 48), "red").save(f"in/{letter}.png")
    load = image_files.load_image

    def vanishing(source: Any) -> Any:
        if source.name == "in/b.png":
            os.unlink("in/b.png")
        return load(source)

    monkeypatch.setattr(image_files, "load_image", vanishing)
    result = tiny_g4("describe", "in", "--batch", "2", "--json")
    assert result.exit_code == 5
    assert ["error" in each for each in records(result)] == [False, True, False]
    assert "in/b.png: no such file" in result.stderr


def test_skip_existing_asks_again_about_errors() -> None:
    Path("in").mkdir()
    for letter in "abc":
        Pillow.new("RGB", (48, 48), "red").save(f"in/{letter}.png")
    whole = Path("in/b.png").read_bytes()
    Path("in/b.png").write_bytes(whole[:40])
    command = ("describe", "in", "-o", "out.jsonl", "--shard", "1/1")
    first = tiny_g4(*command)
    assert first.exit_code == 5
    assert first.stderr.endswith("shard 1 of 1: 2 of 3 answered, 1 failed\n")
    before = Path("out.jsonl").read_text().splitlines()
    Path("in/b.png").write_bytes(whole)
    again = tiny_g4(*command, "--skip-existing")
    assert (again.exit_code, "skipped: 2 of 3" in again.stderr) == (0, True)
    lines = Path("out.jsonl").read_text().splitlines()
    assert lines[:2] == [line for line in before if '"error"' not in line]
    assert [json.loads(line)["input"] for line in lines] == ["in/a.png", "in/c.png", "in/b.png"]
    assert all("text" in json.loads(line) for line in lines)
