"""A run over many recordings has few files open."""

from __future__ import annotations

import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from test_transcriber import Model, piece, run, says  # noqa: F401

from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import JournalError
from gemma4cli.events import Notice
from gemma4cli.transcript import RecordingFinished
from gemma4cli.transcription.cut import Limits, Piece
from gemma4cli.transcription.journal import Heard, Journal

_RUN = """
import os, resource, sys
from gemma4cli import api
from gemma4cli.cli.app import app
limit = len(os.listdir("/proc/self/fd")) + 40
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
app(["transcribe", "-m", "tiny", "--json", "recordings"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the files in /proc")
def test_more_recordings_than_files_may_be_open(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    for number in range(60):
        with wave.open(str(tmp_path / "recordings" / f"{number:02}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(bytes(3200))
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 60
    assert "an interrupted run will start over" not in done.stderr


class Counted(Journal):
    """Knows how many of its kind are open."""

    now = 0
    most = 0

    def __init__(self, folder: Path, job: dict[str, object]) -> None:
        super().__init__(folder, job)
        Counted.now += 1
        Counted.most = max(Counted.most, Counted.now)

    def close(self) -> None:
        Counted.now -= not self._closed
        super().close()


@dataclass
class Quiet:
    """A recording with a journal of its own that has to be opened, and few pieces or none."""

    folder: Path
    number: int
    items: int = 0
    seconds: float | None = 60.0

    @cached_property
    def journal(self) -> Journal | None:
        return Counted(self.folder, {"number": self.number})

    def pieces(self, limits: Limits) -> Iterator[Piece]:
        yield from (piece(float(index)) for index in range(self.items))

    def position(self) -> float:
        return 60.0


def test_recordings_that_wait_for_a_batch_are_few(
    tiny: LoadedModel,
    says: Callable[..., Model],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Counted, "now", 0)
    monkeypatch.setattr(Counted, "most", 0)
    says("one")
    recordings = [Quiet(tmp_path, number, items=int(number == 0)) for number in range(50)]
    events = run(tiny, *recordings, batch=8)  # type: ignore[arg-type]
    finished = [event for event in events if isinstance(event, RecordingFinished)]
    assert [event.recording for event in finished] == list(range(50))
    assert Counted.now == 0
    assert Counted.most <= 17


def test_recording_whose_journal_cannot_be_opened_is_heard(
    tiny: LoadedModel,
    says: Callable[..., Model],  # noqa: F811
    tmp_path: Path,
) -> None:
    class Unkept(Quiet):
        @property
        def journal(self) -> Journal | None:  # type: ignore[override]
            raise JournalError(tmp_path, "no room")

    says("one")
    first, *_, last = run(tiny, Unkept(tmp_path, 0, items=1))  # type: ignore[arg-type]
    assert isinstance(first, Notice)
    assert "an interrupted run will start over" in first.text
    assert isinstance(last, RecordingFinished)
    assert last.segments[0].text == "one"


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {"number": 0})
    journal.add(Heard(start=0.0, end=1.0, overlap=0.0, text="a"))
    journal.close()
    with Journal(tmp_path, {"number": 0}) as other:
        journal.close()
        other.add(Heard(start=1.0, end=2.0, overlap=0.0, text="b"))
        assert [heard.text for heard in other.done] == ["a"]
