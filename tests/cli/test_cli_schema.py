"""``--schema`` is the same option for every command that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import assert_fails, tiny_g4
from support.samples import SAMPLES

SCHEMA = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "blue"]}, "n": {"type": "integer"}},
    "required": ["color", "n"],
    "additionalProperties": False,
}
STAR = SAMPLES / "image04.png"
SPEECH = SAMPLES / "speech04.wav"
CLIP = next(iter(sorted(SAMPLES.glob("video*.mp4"))))


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


@pytest.mark.parametrize(
    "call",
    [
        ("describe", STAR),
        ("describe", "--together", STAR, STAR),
        ("video", CLIP),
        ("chat", "-p", "What is it?", "--image", STAR),
    ],
    ids=lambda call: " ".join(map(str, call[:2])),
)
def test_every_command_that_answers_can_answer_by_a_schema(
    call: tuple[object, ...], schema: Path
) -> None:
    result = tiny_g4(*call, "--schema", schema, "--json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(json.loads(result.stdout)["text"])
    assert list(answer) == ["color", "n"] and isinstance(answer["n"], int)


def test_many_images_each_get_a_document(schema: Path) -> None:
    result = tiny_g4("describe", STAR, STAR, "--schema", schema, "--json")
    answers = [json.loads(json.loads(line)["text"]) for line in result.stdout.splitlines()]
    assert len(answers) == 2 and all(list(each) == ["color", "n"] for each in answers)


def test_segments_of_a_video_each_get_a_document(schema: Path) -> None:
    result = tiny_g4("video", CLIP, "--segment", "1", "--schema", schema, "--json")
    record = json.loads(result.stdout)
    assert len(record["segments"]) > 1
    assert all(list(json.loads(each["text"])) == ["color", "n"] for each in record["segments"])


@pytest.mark.parametrize("seconds", ["1", "60"])
def test_a_video_in_segments_is_one_document(seconds: str, schema: Path, tmp_path: Path) -> None:
    """Whether printed, in a file, or for one of several clips; also of a single segment."""
    call = ("video", CLIP, "--segment", seconds, "--schema", schema)
    printed = tiny_g4(*call).stdout
    assert list(json.loads(printed)) == ["color", "n"]
    tiny_g4(*call, "-o", tmp_path / "answer.json")
    assert (tmp_path / "answer.json").read_text() == printed
    tiny_g4("video", tmp_path, CLIP, *call[2:], "-o", f"{tmp_path}/out/")
    assert (tmp_path / "out" / f"{Path(CLIP).stem}.txt").read_text() == printed


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (("transcribe", SPEECH), "leave out --schema"),
        (("chat", "-p", "Hi", "--think"), "cannot contain thoughts: pass --no-think"),
    ],
    ids=["transcribe", "thoughts"],
)
def test_a_schema_does_not_apply_to(call: tuple[object, ...], problem: str, schema: Path) -> None:
    assert_fails(tiny_g4(*call, "--schema", schema), 2, problem)


def test_a_schema_that_no_answer_fits_is_one_error_for_all_images_and_no_file_is_left(
    schema: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.txt"
    result = tiny_g4("describe", STAR, STAR, "--schema", schema, "--max-tokens", "3", "-o", output)
    assert_fails(result, 1, "the shortest document that matches the schema takes")
    assert result.stderr.count("shortest document") == 1
    assert not output.exists()


def test_a_byte_order_mark_before_a_schema_does_not_matter(schema: Path) -> None:
    schema.write_text("\ufeff" + json.dumps(SCHEMA), encoding="utf-8")
    assert tiny_g4("describe", STAR, "--schema", schema).exit_code == 0
