"""Finished pieces survive whatever ends a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gemma4cli.errors import JournalError
from gemma4cli.transcription.journal import Heard, Journal

JOB = {"file": "/a.wav", "bytes": 12}


def heard(number: int, text: str = "so") -> Heard:
    return Heard(start=float(number), end=number + 0.5, overlap=0.0, text=text)


def written(folder: Path, *pieces: Heard) -> Path:
    with Journal(folder, JOB) as journal:
        for piece in pieces:
            journal.add(piece)
    return journal.path


def test_pieces_come_back(tmp_path: Path) -> None:
    kept = (
        heard(0, "Grüße\n„drei“ \u2028 "),
        Heard(start=2, end=3, overlap=0.9, text="a", translation="b", doubt="repetition"),
    )
    written(tmp_path, *kept)
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == kept


def test_every_piece_is_on_disk_when_it_is_added(tmp_path: Path) -> None:
    with Journal(tmp_path, JOB) as journal:
        journal.add(heard(0))
        assert journal.path.read_text().count("\n") == 2
        journal.add(heard(1))
        assert journal.path.read_text().count("\n") == 3


def test_a_run_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    written(tmp_path, heard(0))
    with Journal(tmp_path, JOB) as journal:
        journal.add(heard(1))
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == (heard(0), heard(1))


@pytest.mark.parametrize("lost", range(1, 60))
def test_a_torn_line_is_cut_off(tmp_path: Path, lost: int) -> None:
    path = written(tmp_path, heard(0), heard(1))
    os.truncate(path, path.stat().st_size - lost)
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == (heard(0),)
        journal.add(heard(2))
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == (heard(0), heard(2))


def test_a_torn_first_line_starts_over(tmp_path: Path) -> None:
    path = written(tmp_path, heard(0))
    os.truncate(path, 10)
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == ()
        journal.add(heard(7))
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == (heard(7),)


@pytest.mark.parametrize("line", ["null", "[]", '{"start": 1}', "\x00\x00"])
def test_lines_that_no_run_wrote_are_cut_off(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, heard(0))
    with path.open("a") as file:
        file.write(line + "\n")
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == (heard(0),)


def test_another_job_has_another_journal(tmp_path: Path) -> None:
    written(tmp_path, heard(0))
    with Journal(tmp_path, JOB | {"bytes": 13}) as journal:
        assert journal.done == ()


def test_fresh_forgets_what_was_there(tmp_path: Path) -> None:
    written(tmp_path, heard(0))
    with Journal(tmp_path, JOB, fresh=True) as journal:
        assert journal.done == ()
        journal.add(heard(5))
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == (heard(5),)


def test_the_first_pieces_can_be_kept_alone(tmp_path: Path) -> None:
    written(tmp_path, heard(0), heard(1), heard(2))
    with Journal(tmp_path, JOB) as journal:
        journal.keep(1)
        journal.add(heard(9))
    with Journal(tmp_path, JOB) as journal:
        assert journal.done == (heard(0), heard(9))


def test_forgetting_removes_the_file(tmp_path: Path) -> None:
    with Journal(tmp_path, JOB) as journal:
        journal.add(heard(0))
        journal.forget()
        journal.forget()
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path, JOB), pytest.raises(JournalError, match="another process"):
        Journal(tmp_path, JOB)
    Journal(tmp_path, JOB).close()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="progress cannot be kept"):
        Journal(tmp_path / "file" / "journals", JOB)


def test_only_its_owner_reads_a_journal(tmp_path: Path) -> None:
    assert written(tmp_path / "journals", heard(0)).stat().st_mode & 0o077 == 0
