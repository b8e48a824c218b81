"""Data as users of other tuners have them become conversations, or an error that names the form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma4cli.errors import TuningDataError
from gemma4cli.messages import AudioPart, ImagePart, Message, TextPart
from gemma4cli.tuning.data import Prompts, Samples, read_data


def read(folder: Path, *lines: object, name: str = "x.jsonl") -> Samples:
    (folder / "a.png").write_bytes(b"")
    (folder / "b.wav").write_bytes(b"")
    file = folder / name
    file.write_text("".join(f"{json.dumps(each)}\n" for each in lines), "utf-8")
    return read_data(file, Prompts())


def said(folder: Path, *lines: object) -> list[tuple[str, str]]:
    """Who said what in the first conversation; media by their names."""
    samples = read(folder, *lines)
    assert samples.faults == []
    return [(each.role, shown(each)) for each in samples.found[0].conversation.messages]


def shown(message: Message) -> str:
    words = []
    for part in message.parts:
        if isinstance(part, TextPart):
            words.append(part.text)
        else:
            assert isinstance(part, ImagePart | AudioPart)
            words.append(f"[{part.source.name}]")
    return "".join(words)


WANTED = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Ahoy.")]
TURNS = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ahoy."}]
FORMS = {
    "OpenAI": {"messages": [{"role": role, "content": text} for role, text in WANTED]},
    "ShareGPT": {"conversations": [{"from": "system", "value": "Be brief."}, *TURNS]},
    "LLaMA-Factory": {"conversations": TURNS, "system": "Be brief."},
    "Alpaca": {"instruction": "Hi", "input": "", "output": "Ahoy.", "system": "Be brief."},
    "TRL": {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": "Ahoy."}],
    },
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_the_same_conversation(name: str, tmp_path: Path) -> None:
    assert said(tmp_path, FORMS[name]) == WANTED


def test_alpaca_with_an_input_and_earlier_turns(tmp_path: Path) -> None:
    line = {
        "instruction": "Translate.",
        "input": "Guten Tag",
        "output": "Good day",
        "history": [["Hi", "Ahoy."]],
    }
    assert said(tmp_path, line) == [
        ("user", "Hi"),
        ("assistant", "Ahoy."),
        ("user", "Translate.\nGuten Tag"),
        ("assistant", "Good day"),
    ]


MARKS = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]
PARTS = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": "A cat."},
]


@pytest.mark.parametrize(
    "line",
    [
        {"image": "a.png", "conversations": MARKS},
        {"images": ["a.png"], "messages": PARTS},
        {"images": [{"path": "a.png", "bytes": None}], "messages": PARTS},
    ],
    ids=["LLaVA", "TRL", "datasets"],
)
def test_media_beside_the_messages_take_the_places_of_marks(
    line: dict[str, object], tmp_path: Path
) -> None:
    assert said(tmp_path, line) == [("user", "[a.png]What is it?"), ("assistant", "A cat.")]


def test_marks_without_media_stay_text(tmp_path: Path) -> None:
    assert said(tmp_path, {"conversations": MARKS})[0] == ("user", "<image>\nWhat is it?")


def test_media_and_marks_that_do_not_match(tmp_path: Path) -> None:
    samples = read(
        tmp_path,
        {"images": ["a.png", "c.png"], "conversations": MARKS},
        {"audios": ["b.wav"], "conversations": MARKS},
        {"images": [3], "conversations": MARKS},
    )
    problems = [each.problem for each in samples.faults]
    assert "images: 'c.png' has no place: each needs <image>" in problems[0].replace('"', "'")
    assert problems[1] == "images: the messages name more of them than images has"
    assert problems[2] == "images: must be paths of files"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"text": "Hi. Ahoy."}, "no answer can be told from a question"),
        ({"prompt": "Hi", "chosen": "Ahoy.", "rejected": "No."}, "learned by comparing"),
        ({"input_ids": [1, 2]}, "tokens of some model"),
        ({"prompt": "Hi"}, "has no answer"),
        ({"instruction": "Hi", "output": 3}, "output: must be a text"),
        ({"conversations": [{"from": "observation", "value": "3"}]}, "is none of human"),
        ({"conversations": [{"from": "human"}]}, "conversations[0].value: must be a text"),
        (
            {"question": "Hi", "answer": "Ahoy."},
            'has "question" and "answer": call them "prompt" and "completion", or write {',
        ),
        ({"prompt": "Hi", "response": "Ahoy."}, 'has "prompt" and "response": call them'),
        ({"file_name": "a.png", "text": "A dog."}, "is a row about a file: name the folder"),
        ({"data": []}, 'must be an object with "messages": write {"messages": '),
    ],
)
def test_what_is_not_learned_says_why(
    line: dict[str, object], problem: str, tmp_path: Path
) -> None:
    (fault,) = read(tmp_path, line).faults
    assert problem in fault.problem


def test_a_list_in_one_file(tmp_path: Path) -> None:
    """As Alpaca's and ShareGPT's data are published."""
    file = tmp_path / "x.json"
    file.write_text(json.dumps([FORMS["Alpaca"], {"messages": []}, FORMS["ShareGPT"]], indent=1))
    samples = read_data(file, Prompts())
    assert [each.origin for each in samples.found] == [f"{file}[0]", f"{file}[2]"]
    assert [each.origin for each in samples.faults] == [f"{file}[1]"]


@pytest.mark.parametrize("name", ["metadata.csv", "captions.csv", "a.tsv"])
def test_a_table_is_read_from_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("file_name,text\na.png,A dog.\n")
    with pytest.raises(TuningDataError, match="is a table: name its folder, where metadata"):
        read_data(tmp_path / name, Prompts())


def test_a_line_that_is_cut_off_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "Hi", "completion": "Ahoy."}\r\n{"prompt": "H')
    (fault,) = read_data(file, Prompts()).faults
    assert str(fault).startswith(f"{file}:2: is not valid JSON: column 12: ")
