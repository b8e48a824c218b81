"""The journal of answers: what of it is read when a run resumes."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from gemma4cli.cli.answers.journal import AnswerJournal, answer_journal
from gemma4cli.cli.run.inputs import Input
from gemma4cli.errors import JournalError
from gemma4cli.journal_file import with_sum
from gemma4cli.records import Answer


def inputs(*names: str) -> list[Input]:
    return [Input(given=name, label=name) for name in names]


def opened(folder: Path, given: Sequence[Input], then: str = "") -> list[str]:
    """The texts that are known; a text to add to each input that has none is kept."""

    def fail(problem: JournalError | str) -> None:
        pytest.fail(str(problem))

    with answer_journal(
        folder, {"question": 1}, given, restart=False, not_kept=fail, damaged=fail
    ) as journal:
        assert isinstance(journal, AnswerJournal)
        texts = [journal.answer(number).text for number in sorted(journal.known)]
        for number in range(len(given) if then else 0):
            if number not in journal.known:
                journal.add(number, Answer(text=then, record={"text": then}))
        journal.stays = True
    return texts


def test_answers_are_in_memory_when_they_are_taken(tmp_path: Path) -> None:
    given = inputs("0.png", "1.png", "2.png")
    for each in given:
        Path(each.given).touch()
    opened(tmp_path, given, "text")

    def fail(problem: JournalError | str) -> None:
        pytest.fail(str(problem))

    with answer_journal(
        tmp_path, {"question": 1}, given, restart=False, not_kept=fail, damaged=fail
    ) as journal:
        assert journal is not None and len(journal.known) == 3
        gc.collect()
        assert not any(isinstance(each, Answer) for each in gc.get_objects())
        assert journal.answer(1).text == "text"


@pytest.mark.parametrize(
    "wrong",
    [{"record": {"text": float("nan")}}, {"record": []}, {"record": None}, {"answered": 1 << 70}],
)
def test_an_answer_that_is_none_is_noticed_before_anything_is_answered(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    """Also if its checksum fits: the next run must not find it again."""
    given = inputs("a.png")
    Path("a.png").touch()
    opened(tmp_path, given, "text")
    (path,) = tmp_path.glob("*.jsonl")
    header, line = path.read_text("utf-8").splitlines()
    item = {**json.loads(line), **wrong}
    del item["sum"]
    path.write_text(f"{header}\n{json.dumps(with_sum(item))}\n", "utf-8")
    damage: list[object] = []
    with answer_journal(
        tmp_path,
        {"question": 1},
        given,
        restart=False,
        not_kept=damage.append,
        damaged=damage.append,
    ) as journal:
        assert journal is not None and not journal.known
    assert "is put aside" in str(damage)


def test_an_odd_name_is_found_again(tmp_path: Path) -> None:
    names = ['a", "answered": 1, "text": ".png', "-\n.png", os.fsdecode(b"\xff\\.png"), "é.png"]
    for name in names:
        Path(name).touch()
    opened(tmp_path, inputs(*names), "here")
    for name in names:
        assert opened(tmp_path, inputs(name)) == ["here"]


def test_a_picture_has_its_answer_under_each_of_its_paths(tmp_path: Path) -> None:
    Path("folder").mkdir()
    Path("folder/a.png").touch()
    Path("link").symlink_to("folder")
    Path("b.png").symlink_to("link/a.png")
    opened(tmp_path, inputs("folder/a.png"), "one")
    for name in ("link/a.png", "b.png", "folder/../folder/a.png"):
        assert opened(tmp_path, inputs(name)) == ["one"]


def test_a_folder_is_resolved_once_for_all_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.png" for number in range(9)]
    for name in names:
        Path(name).touch()
    resolved: list[object] = []
    realpath = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: resolved.append(path) or realpath(path))
    opened(tmp_path, inputs(*names), "text")
    assert len(resolved) == 1
