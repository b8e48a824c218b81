"""Folders as users of other tools have them, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma4cli.errors import MediaNotFoundError, TuningDataError
from gemma4cli.messages import AudioPart, ImagePart, TextPart
from gemma4cli.prompts import DESCRIBE_IMAGE, transcription
from gemma4cli.tuning.data import Prompts, Samples, read_data
from gemma4cli.tuning.samples import Sample


def read(folder: Path) -> Samples:
    return read_data(folder, Prompts())


def learned(samples: Samples) -> list[tuple[str, str]]:
    """The name of each medium and the answer about it."""
    assert samples.faults == []
    return [(Path(each.group[0]).name, answer_of(each)) for each in samples.found]


def answer_of(sample: Sample) -> str:
    (part,) = sample.conversation.messages[-1].parts
    assert isinstance(part, TextPart)
    return part.text


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def test_pictures_with_captions_in_folders_that_repeat(tmp_path: Path) -> None:
    """As kohya's tools have them: 10_name, and .caption beside .txt."""
    folder = write(
        tmp_path,
        **{
            "a.png": "",
            "a.txt": " A cat.\n",
            "10_dog__b.JPG": "",
            "10_dog__b.caption": "A dog.",
            "10_dog__notes.md": "",
            ".hidden__c.png": "",
        },
    )
    samples = read(folder)
    assert learned(samples) == [("a.png", "A cat."), ("b.JPG", "A dog.")]
    assert [each.repeats for each in samples.found] == [1, 10]
    picture, question = samples.found[0].conversation.messages[0].parts
    assert isinstance(picture, ImagePart) and question == TextPart(text=DESCRIBE_IMAGE)


def test_recordings_with_transcripts_of_several_lines(tmp_path: Path) -> None:
    """As the whisper program writes them, a line for each segment."""
    samples = read(write(tmp_path, **{"a.mp3": "", "a.txt": "Good morning\nto all.\n"}))
    assert learned(samples) == [("a.mp3", "Good morning to all.")]
    question, recording = samples.found[0].conversation.messages[0].parts
    assert isinstance(recording, AudioPart) and question == TextPart(text=transcription())


TABLES = {
    "metadata.jsonl": '{"file_name": "a.wav", "transcription": "one"}\n',
    "metadata.csv": 'file_name,text\r\na.wav,"one"\r\n',
    "train.tsv": "client_id\tpath\tsentence\nx\ta.wav\tone\n",
    "8-1.trans.txt": "a one\n",
    "meta_cap.json": '{"a.wav": {"caption": "one"}}',
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("inner", ["", "clips__"])
def test_tables(name: str, inner: str, tmp_path: Path) -> None:
    samples = read(write(tmp_path, **{name: TABLES[name], f"{inner}a.wav": ""}))
    assert learned(samples) == [("a.wav", "one")]
    assert samples.found[0].origin.startswith(str(tmp_path))


def test_a_table_with_bars(tmp_path: Path) -> None:
    """LJSpeech's: a name, what is written and what is said."""
    table = 'LJ-1|Dr. "X"|Doctor "X"\n'
    samples = read(write(tmp_path, **{"metadata.csv": table, "wavs__LJ-1.wav": ""}))
    assert learned(samples) == [("LJ-1.wav", 'Doctor "X"')]


def test_faulty_rows_are_named_by_their_lines(tmp_path: Path) -> None:
    rows = [{"file_name": "none.wav", "text": "x"}, {"text": "x"}, {"file_name": "a.wav"}]
    table = "".join(json.dumps(each) + "\n" for each in rows) + "{\n"
    samples = read(write(tmp_path, **{"metadata.jsonl": table, "a.wav": ""}))
    assert [each.origin for each in samples.faults] == [
        f"{tmp_path / 'metadata.jsonl'}:{line}" for line in (1, 2, 3, 4)
    ]
    assert "none.wav: no such file" in str(samples.faults[0])


def test_files_of_mlx_lm(tmp_path: Path) -> None:
    line = '{"prompt": "Hi", "completion": "Ahoy."}\n'
    samples = read(write(tmp_path, **{"train.jsonl": line * 2, "valid.jsonl": line}))
    assert (len(samples.found), len(samples.held_out)) == (2, 1)


def test_line_ends_within_text_do_not_end_a_line(tmp_path: Path) -> None:
    line = json.dumps({"prompt": "a\u2028b", "completion": "c\x85d"}, ensure_ascii=False)
    file = write(tmp_path, **{"x.jsonl": f"\ufeff{line}\r\n\r\n"}) / "x.jsonl"
    assert [answer_of(each) for each in read(file).found] == ["c\x85d"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(TuningDataError, match="has no pictures or recordings"):
        read(tmp_path)
    with pytest.raises(MediaNotFoundError):
        read(tmp_path / "none")
    (tmp_path / "x.bin").write_bytes(b"\x00\xff" * 99)
    with pytest.raises(TuningDataError, match="is not UTF-8 text"):
        read(tmp_path / "x.bin")
