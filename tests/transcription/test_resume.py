"""Runs resume from the journals in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from scripted import Says, Tape, piece, segments, stream, texts

from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import JournalError, MediaDecodeError
from gemma4cli.events import Notice
from gemma4cli.transcript import PieceDone, RecordingFinished, RecordingOpened
from gemma4cli.transcription import journal_folder
from gemma4cli.transcription.journal import Journal, PieceText
from gemma4cli.transcription.journal_folder import JournalFolder

RUN = {"model": "tiny"}
PIECES = [piece(0, 3, cut=True), piece(2, 2, overlap=1.0), piece(20), piece(30)]
SPOKEN = ["the dog runs fast", "runs fast to the garden", "and back", "again"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journals"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    return path


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def interrupt(model: LoadedModel, tape: Tape, folder: Path, *, pieces: int) -> None:
    with JournalFolder(folder, RUN) as journals:
        for event in stream(model, tape, journals=journals):
            if isinstance(event, PieceDone) and event.pieces == pieces:
                return


def test_an_interrupted_run_resumes_with_the_result_of_an_uninterrupted_one(
    tiny: LoadedModel, says: Says, folder: Path, file: Path
) -> None:
    says(*SPOKEN)
    whole = segments(list(stream(tiny, Tape(PIECES))))

    for finished in range(1, 5):
        says(*SPOKEN[:finished])
        interrupt(tiny, Tape(PIECES, file), folder, pieces=finished)
        script = says(*SPOKEN[finished:])
        with JournalFolder(folder, RUN) as journals:
            events = list(stream(tiny, Tape(PIECES, file), batch=8, journals=journals))
            (path,) = kept(folder)
            assert len(path.read_text().splitlines()) == 5
            journals.forget()
        assert sum(script.sizes) == 4 - finished
        resumed = PIECES[finished - 1].end
        assert events[0] == RecordingOpened(recording=0, seconds=60.0, resumed=resumed)
        assert segments(events) == whole
        assert kept(folder) == []


def test_usage_counts_only_what_this_run_did(
    tiny: LoadedModel, says: Says, folder: Path, file: Path
) -> None:
    says(*SPOKEN)
    interrupt(tiny, Tape(PIECES, file), folder, pieces=3)
    says(*SPOKEN[3:])
    with JournalFolder(folder, RUN) as journals:
        *_, last = stream(tiny, Tape(PIECES, file), journals=journals)
    assert isinstance(last, RecordingFinished)
    assert (last.pieces, last.usage.prompt_tokens) == (4, 10)


def test_pieces_of_a_journal_are_used_up_to_the_first_that_does_not_match(
    tiny: LoadedModel, says: Says, folder: Path, file: Path
) -> None:
    with JournalFolder(folder, RUN) as journals:
        journal = journals.open(file)
        for start in (0.0, 2.0, 4.0):
            journal.add(PieceText(start=start, end=start + 1, overlap=0.0, text="old"))
    says("new", "newer")
    with JournalFolder(folder, RUN) as journals:
        events = list(stream(tiny, Tape([piece(0), piece(2.5), piece(4)], file), journals=journals))
    assert texts(events) == ["old", "new", "newer"]
    with JournalFolder(folder, RUN) as journals:
        assert [each.text for each in journals.open(file).done] == ["old", "new", "newer"]


def test_a_changed_file_another_run_and_a_restart_start_over(folder: Path, file: Path) -> None:
    def done(run: dict[str, str], *, restart: bool = False) -> int:
        with JournalFolder(folder, run, restart=restart) as journals:
            return len(journals.open(file).done)

    with JournalFolder(folder, RUN) as journals:
        journals.open(file).add(PieceText(start=0.0, end=1.0, overlap=0.0, text="a"))
    assert done(RUN) == 1
    assert done({"model": "e2b"}) == 0
    before = file.stat()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert done(RUN) == 0
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert done(RUN) == 1
    assert done(RUN, restart=True) == 0
    assert done(RUN) == 0


def test_streams_have_no_journal(tiny: LoadedModel, says: Says, folder: Path) -> None:
    says("a")
    with JournalFolder(folder, RUN) as journals:
        assert texts(list(stream(tiny, Tape([piece(0)]), journals=journals))) == ["a"]
        assert kept(folder) == []


def test_a_run_continues_without_a_journal_that_another_process_has_open(
    tiny: LoadedModel, says: Says, folder: Path, file: Path
) -> None:
    says("a")
    with JournalFolder(folder, RUN) as other, JournalFolder(folder, RUN) as journals:
        theirs = other.open(file)
        first, *_, last = stream(tiny, Tape([piece(0)], file), journals=journals)
        journals.forget()
        assert theirs.path.exists()
    assert isinstance(first, Notice)
    assert "another process" in first.text
    assert "an interrupted run will start over" in first.text
    assert isinstance(last, RecordingFinished)
    assert last.segments[0].text == "a"


def test_two_names_of_one_file_do_not_take_each_other_for_another_process(
    tiny: LoadedModel, says: Says, folder: Path, file: Path
) -> None:
    link = file.with_name("link.wav")
    link.symlink_to(file)
    for batch in (1, 8):  # one after the other; both open at once
        says(*["a", "b"] * 2)
        with JournalFolder(folder, RUN) as journals:
            tapes = [Tape([piece(0), piece(2)], each) for each in (file, link)]
            events = list(stream(tiny, *tapes, batch=batch, journals=journals))
            (path,) = kept(folder)
            assert len(path.read_text().splitlines()) == 3
            journals.forget()
        assert [event for event in events if isinstance(event, Notice)] == []
        assert texts(events) == ["a", "b", "a", "b"]
        assert kept(folder) == []


def test_a_run_continues_without_a_journal_that_can_no_longer_be_written(
    tiny: LoadedModel, says: Says, folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(journal: Journal, piece: PieceText) -> None:
        raise JournalError(journal.path, "disk full")

    monkeypatch.setattr(Journal, "add", fail)
    says("a", "b")
    with JournalFolder(folder, RUN) as journals:
        events = list(stream(tiny, Tape([piece(0), piece(2)], file), journals=journals))
    assert texts(events) == ["a", "b"]
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert "disk full" in notice.text


def test_stale_journals_are_removed_and_nothing_else(folder: Path) -> None:
    folder.mkdir()
    month = 30 * 24 * 3600
    for name, age in (("old.jsonl", month + 60), ("new.jsonl", month - 60), ("old.txt", 2 * month)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    JournalFolder(folder, RUN)
    assert [path.name for path in kept(folder)] == ["new.jsonl", "old.txt"]


class CountedJournal(Journal):
    """Knows how many journals are open."""

    now = 0
    most = 0

    def __init__(self, folder: Path, job: dict[str, object], *, restart: bool = False) -> None:
        super().__init__(folder, job, restart=restart)
        CountedJournal.now += 1
        CountedJournal.most = max(CountedJournal.most, CountedJournal.now)

    def close(self) -> None:
        CountedJournal.now -= not self._closed
        super().close()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[CountedJournal]]:
    monkeypatch.setattr(CountedJournal, "now", 0)
    monkeypatch.setattr(CountedJournal, "most", 0)
    monkeypatch.setattr(journal_folder, "Journal", CountedJournal)
    yield CountedJournal
    assert CountedJournal.now == 0


@pytest.mark.parametrize("fails", [False, True])
def test_few_journals_are_open_while_a_batch_fills(
    tiny: LoadedModel,
    says: Says,
    tmp_path: Path,
    folder: Path,
    counted: type[CountedJournal],
    fails: bool,
) -> None:
    says("one")
    numbers = count()
    silence = [MediaDecodeError("x.wav", "broke off")] if fails else []

    def tape(*items: object) -> Tape:
        file = tmp_path / f"{next(numbers)}.wav"
        file.touch()
        return Tape([*items, *silence], file)  # type: ignore[list-item]

    tapes = [tape(piece(0)), *(tape() for _ in range(49))]
    with JournalFolder(folder, RUN) as journals:
        list(stream(tiny, *tapes, batch=8, journals=journals))
        assert counted.now == 0
        assert len(kept(folder)) == 50
        journals.forget()
    assert 2 <= counted.most <= 17
    assert kept(folder) == []
