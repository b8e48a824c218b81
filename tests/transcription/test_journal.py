"""Finished pieces survive an interruption at any moment."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.errors import JournalError
from gemma4cli.journal_file import with_sum
from gemma4cli.transcription.journal import Journal, PieceText

FORMATS = Path(__file__).parents[2] / "fixtures" / "formats"
(FIXTURE,) = (FORMATS / "journal").glob("*.jsonl")
(WITH_SUMS,) = (FORMATS / "journal-2").glob("*.jsonl")
JOB = {"file": "/a.wav", "bytes": 12}

SECONDS = st.floats(0, 1e6)


def piece(*, start: float, seconds: float, **rest: Any) -> PieceText:
    return PieceText(start=start, end=start + seconds, **rest)


PIECES = st.builds(
    piece,
    start=SECONDS,
    seconds=SECONDS,
    overlap=SECONDS,
    text=st.text(),
    translation=st.none() | st.text(),
    doubt=st.sampled_from([None, "repetition", "length"]),
)


def numbered(number: int) -> PieceText:
    return PieceText(start=float(number), end=number + 0.5, overlap=0.0, text="so")


def write(folder: Path, *pieces: PieceText) -> Path:
    with Journal(folder, JOB) as journal:
        for piece in pieces:
            journal.add(piece)
    return journal.path


def read(folder: Path) -> Sequence[PieceText]:
    with Journal(folder, JOB) as journal:
        return journal.done


KEPT = (
    PieceText(
        start=0.7,
        end=21.472,
        overlap=0.0,
        text="Grüße aus Köln, sagte sie: „Es ist schön hier“, und dann",
        translation="Greetings from Cologne, she said: “It is nice here”, and then",
    ),
    PieceText(
        start=19.52,
        end=30.04,
        overlap=1.952,
        text="hier, und dann gingen wir.",
        translation="here, and then we left.",
    ),
    PieceText(start=34.1, end=35.9, overlap=0.0, text="Ja, ja.", doubt="repetition"),
    PieceText(
        start=40.0,
        end=41.25,
        overlap=0.0,
        text="今天天气很好。 🎉",
        translation="The weather is nice today.",
        doubt="length",
    ),
    PieceText(start=50.0, end=50.5, overlap=0.0, text=""),
)


@pytest.mark.parametrize("file", [FIXTURE, WITH_SUMS], ids=["version 0.1", "with checksums"])
def test_a_journal_of_each_version_is_read(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path)
    job = json.loads(file.read_text("utf-8").splitlines()[0])["job"]
    with Journal(tmp_path, job) as journal:
        assert journal.path.name == file.name
        assert journal.done == KEPT
        assert journal.damage is None
        assert journal.path.read_bytes() == file.read_bytes()
        journal.keep(2)
        journal.add(KEPT[3])
    with Journal(tmp_path, job) as journal:
        assert journal.done == (*KEPT[:2], KEPT[3])


def test_a_journal_is_written_in_ascii_with_the_checksums_of_before(tmp_path: Path) -> None:
    header = json.loads(WITH_SUMS.read_text("utf-8").splitlines()[0])
    with Journal(tmp_path, header["job"]) as journal:
        for each in KEPT:
            journal.add(each)
    written, before = ((folder / WITH_SUMS.name) for folder in (tmp_path, WITH_SUMS.parent))
    items = [json.loads(line) for line in before.read_text("utf-8").splitlines()[1:]]
    lines = [json.dumps(each).encode() for each in items]
    assert written.read_bytes().splitlines()[1:] == lines


def test_no_flipped_bit_of_a_piece_comes_into_a_transcript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another letter or digit, a capital for a small letter, a byte that is not ASCII."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # nothing here depends on it
    path = write(tmp_path, numbered(0), numbered(1), numbered(2))
    whole = path.read_bytes()
    header, first, second, _ = whole.splitlines()
    begin, end = len(header) + len(first) + 2, len(header) + len(first) + len(second) + 2
    passed = []
    for bit in (8 * byte + bit for byte in range(begin, end) for bit in (0, 5, 7)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with Journal(tmp_path, JOB) as journal:
            if journal.done or journal.damage is None:
                passed.append(bit - 8 * begin)
    assert passed == []


@given(pieces=st.lists(PIECES, max_size=4), after=PIECES, data=st.data())
def test_any_prefix_of_a_journal_resumes_after_its_complete_pieces(
    pieces: list[PieceText], after: PieceText, data: st.DataObject
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)  # nothing here depends on it
        path = write(Path(name), *pieces)
        content = path.read_bytes()
        prefix = content[: data.draw(st.integers(0, len(content)), label="bytes")]
        path.write_bytes(prefix)
        complete = tuple(pieces[: max(0, prefix.count(b"\n") - 1)])
        with Journal(Path(name), JOB) as journal:
            assert journal.done == complete
            journal.add(after)
        assert read(Path(name)) == (*complete, after)


def test_every_piece_is_on_disk_when_it_is_added(tmp_path: Path) -> None:
    with Journal(tmp_path, JOB) as journal:
        for count in (1, 2):
            journal.add(numbered(count))
            assert journal.path.read_text().count("\n") == 1 + count


PIECE = {"start": 1.0, "end": 2.0, "overlap": 0.0, "text": "so"}
DAMAGED = (
    "null",
    "[]",
    '{"start": 1}',
    '{"start',
    "\x00\x00",
    "",
    "[" * 5000,
    *(
        json.dumps(PIECE | changed)
        for changed in (
            {"start": "1"},
            {"end": None},
            {"end": True},
            {"overlap": float("nan")},
            {"start": 10**400},
            {"start": -1},
            {"start": 3, "end": 2},
            {"end": 1e29},
            {"overlap": -0.5},
            {"text": 5},
            {"translation": []},
            {"doubt": {}},
            {"doubt": "no such reason"},
            {"channel": 1.5},
            {"odd": 1},
        )
    ),
)


def with_fitting_sum(line: str) -> bytes:
    """A line with a checksum, so that its values are looked at, if it is an object."""
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return line.encode()
    return (json.dumps(with_sum(item)) if isinstance(item, dict) else line).encode()


def test_a_damaged_journal_is_put_aside_and_the_run_starts_over(tmp_path: Path) -> None:
    offenders = []
    for line in DAMAGED:
        path = write(tmp_path, numbered(0))
        found = path.read_bytes() + with_fitting_sum(line) + b"\n"
        found += path.read_bytes().splitlines()[1]
        path.write_bytes(found + b"\n")
        with Journal(tmp_path, JOB) as journal:
            aside = path.with_suffix(".damaged")
            said = "line 3: ", str(aside), "starts over"
            told = journal.damage is not None and all(each in journal.damage for each in said)
            if journal.done or not told or aside.read_bytes() != found + b"\n":
                offenders.append(line)
            journal.add(numbered(7))
        if read(tmp_path) != (numbered(7),) or "\n" in (journal.damage or ""):
            offenders.append(line)
        path.unlink()
    assert offenders == []


def test_a_whole_journal_is_not_called_damaged(tmp_path: Path) -> None:
    path = write(tmp_path, numbered(0))
    path.write_bytes(path.read_bytes() + b'{"torn')
    with Journal(tmp_path, JOB) as journal:
        assert journal.damage is None and journal.done == (numbered(0),)


def test_another_job_has_another_journal(tmp_path: Path) -> None:
    write(tmp_path, numbered(0))
    with Journal(tmp_path, JOB | {"bytes": 13}) as journal:
        assert journal.done == ()


def test_a_restart_discards_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, numbered(0))
    with Journal(tmp_path, JOB, restart=True) as journal:
        assert journal.done == ()
        journal.add(numbered(5))
    assert read(tmp_path) == (numbered(5),)


def test_pieces_that_no_longer_match_are_dropped(tmp_path: Path) -> None:
    write(tmp_path, numbered(0), numbered(1), numbered(2))
    with Journal(tmp_path, JOB) as journal:
        journal.keep(1)
        journal.add(numbered(9))
    assert read(tmp_path) == (numbered(0), numbered(9))


def test_forgetting_removes_the_file_and_may_be_repeated(tmp_path: Path) -> None:
    with Journal(tmp_path, JOB) as journal:
        journal.add(numbered(0))
        journal.forget()
        journal.forget()
    assert list(tmp_path.iterdir()) == []


def test_an_open_journal_is_locked(tmp_path: Path) -> None:
    with Journal(tmp_path, JOB), pytest.raises(JournalError, match="another process"):
        Journal(tmp_path, JOB)
    Journal(tmp_path, JOB).close()


def test_closing_twice_closes_no_other_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, JOB)
    journal.close()
    with Journal(tmp_path, JOB) as other:
        journal.close()
        other.add(numbered(1))
    assert read(tmp_path) == (numbered(1),)


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="progress cannot be kept"):
        Journal(tmp_path / "file" / "journals", JOB)


def test_only_its_owner_can_read_a_journal(tmp_path: Path) -> None:
    path = write(tmp_path / "journals", numbered(0))
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
