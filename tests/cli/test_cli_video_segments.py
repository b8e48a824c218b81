"""``g4 video --segment``: a long clip is answered part by part, then as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_runs import assert_fails, finished, records, tiny_g4
from support.samples import sample

from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.video_segments import segments_of
from gemma4cli.errors import ContextLengthError, MediaDecodeError, NonFiniteError
from gemma4cli.events import Event, TextDelta, VideoPlanned, VideoSampled
from gemma4cli.messages import Part, TextPart, VideoPart
from gemma4cli.options import GenerateOptions

CLIP = sample("video00.mp4")  # 3 s at 4 frames a second


class Answers:
    """Stands in for the model: a segment's answer is its number, the summary's "All."."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, float | None]] = []
        self.asked: list[str] = []
        self.failing: dict[int, BaseException] = {}

    def send(
        self, chat: Chat, content: tuple[Part, ...], options: GenerateOptions
    ) -> Iterator[Event]:
        (asked,) = [part.text for part in content if isinstance(part, TextPart)]
        self.asked.append(asked)
        text = "All."
        if any(isinstance(part, VideoPart) for part in content):
            start = chat.media.video_start
            self.parts.append((start, chat.media.video_end))
            text = f"Part {len(self.parts)}."
            yield VideoPlanned(
                source="clip",
                frames=1,
                spacing=None,
                soft_tokens=64,
                sound_seconds=0,
                audio_pieces=0,
            )
            yield VideoSampled(source="clip", timestamps=(start,))
        yield TextDelta(text=text[:2])
        if error := self.failing.get(len(self.asked)):
            raise error
        yield TextDelta(text=text[2:])
        yield finished(text)


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text('{"type": "string"}')
    return path


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers()

    def send(self: Chat, content: tuple[Part, ...], options: GenerateOptions) -> Iterator[Event]:
        return answers.send(self, content, options)

    monkeypatch.setattr(Chat, "send", send)
    return answers


@pytest.mark.parametrize(
    ("start", "end", "seconds", "expected"),
    [
        (0, 20, 30, [(0, 20)]),
        (0, 60, 30, [(0, 30), (30, 60)]),
        (0, 65.5, 30, [(0, 30), (30, 60), (60, 65.5)]),
        (0, 60.5, 30, [(0, 30), (30, 60.5)]),
        (10, 45, 30, [(10, 40), (40, 45)]),
        (0, 0.4, 30, [(0, 0.4)]),
        (0, 30.9, 30, [(0, 30.9)]),
    ],
)
def test_segments(
    start: float, end: float, seconds: float, expected: list[tuple[float, float]]
) -> None:
    assert list(segments_of(start, end, seconds)) == expected


def test_answers_follow_their_times_and_the_summary_comes_last(model: Answers) -> None:
    result = tiny_g4("video", CLIP, "--segment", "1.5")
    assert result.exit_code == 0
    assert result.stdout == (
        "[00:00-00:01]\nPart 1.\n\n[00:01-00:03]\nPart 2.\n\n[00:00-00:03]\nAll.\n"
    )
    assert "clip [00:00-00:01]: 1 frame, 64 soft tokens\n" in result.stderr


def test_each_segment_is_seen_by_itself(model: Answers) -> None:
    """The last one to the end, wherever that is."""
    tiny_g4("video", CLIP, "--segment", "1")
    assert model.parts == [(0.0, 1.0), (1.0, 2.0), (2.0, None)]


def test_part_of_a_clip(model: Answers) -> None:
    tiny_g4("video", CLIP, "--segment", "1", "--from", "0.5", "--to", "2.5")
    assert model.parts == [(0.5, 1.5), (1.5, 2.5)]


def test_summary_of_descriptions(model: Answers) -> None:
    tiny_g4("video", CLIP, "--segment", "1.5")
    *segments, whole = model.asked
    assert segments == ["Describe this video."] * 2
    assert "[00:00-00:01]\nPart 1.\n\n[00:01-00:03]\nPart 2." in whole
    assert "Describe the whole video" in whole


def test_summary_answers_the_users_question(model: Answers) -> None:
    tiny_g4("video", CLIP, "--segment", "1.5", "-p", "Who wins?")
    *segments, whole = model.asked
    assert segments == ["Who wins?"] * 2
    assert "Part 2." in whole
    assert whole.endswith("Who wins?")


def test_one_segment_has_no_summary(model: Answers) -> None:
    result = tiny_g4("video", CLIP, "--segment", "30")
    assert result.stdout == "[00:00-00:03]\nPart 1.\n"
    assert len(model.asked) == 1


def test_json(model: Answers) -> None:
    (record,) = records(tiny_g4("video", CLIP, "--segment", "1.5", "--json"))
    assert record["text"] == "All."
    assert "frames" not in record and "plan" not in record
    assert record["segments"][1] == {
        "start": 1.5,
        "end": 3.0,
        "text": "Part 2.",
        "finish_reason": "stop",
        "frames": [1.5],
        "plan": {
            "frames": 1,
            "spacing": None,
            "soft_tokens": 64,
            "sound_seconds": 0,
            "audio_pieces": 0,
        },
    }
    assert record["usage"]["prompt_tokens"] == 3 * 9
    assert record["timings"]["encode"] == 3 * 0.5


def test_several_clips(model: Answers) -> None:
    other = sample("video01.mp4")
    result = tiny_g4("video", CLIP, other, "--segment", "2")
    first, second = result.stdout.split(f"{other}:\n")
    assert first.startswith(f"{CLIP}:\n[00:00-00:02]\nPart 1.\n\n[00:02-00:03]\nPart 2.\n\n")
    assert second.startswith("[00:00-00:02]\nPart 3.\n")


def test_segment_that_cannot_be_seen_is_left_out(model: Answers) -> None:
    model.failing[2] = MediaDecodeError("clip", "has no frame there")
    result = tiny_g4("video", CLIP, "--segment", "1")
    assert result.exit_code == 0
    assert "[00:01-00:02] skipped: clip: has no frame there\n" in result.stderr
    assert "[00:02-00:03]\nPart 3.\n" in result.stdout
    assert "Part 3." in model.asked[-1] and "[00:01-00:02]" not in model.asked[-1]


def test_json_says_why_a_segment_is_left_out(model: Answers) -> None:
    model.failing[2] = MediaDecodeError("clip", "has no frame there")
    (record,) = records(tiny_g4("video", CLIP, "--segment", "1", "--json"))
    assert record["segments"][1] == {
        "start": 1.0,
        "end": 2.0,
        "error": {"code": 3, "message": "clip: has no frame there"},
    }


def test_clip_of_which_nothing_can_be_seen_fails(model: Answers) -> None:
    model.failing = {number: MediaDecodeError("clip", "is broken") for number in (1, 2, 3)}
    result = tiny_g4("video", CLIP, "--segment", "1")
    assert result.exit_code == 3
    assert result.stderr.endswith("g4: clip: is broken\n")


def test_other_errors_end_the_run(model: Answers) -> None:
    model.failing[2] = NonFiniteError("decoding")
    assert tiny_g4("video", CLIP, "--segment", "1").exit_code == 1
    assert len(model.asked) == 2


def test_answers_that_do_not_fit_the_context_together(model: Answers) -> None:
    """They are all there is then, and they are there."""
    model.failing[3] = ContextLengthError(9000, 8192)
    (record,) = records(result := tiny_g4("video", CLIP, "--segment", "1.5", "--json"))
    assert "no answer about the whole clip" in result.stderr
    assert record["text"] == "[00:00-00:01]\nPart 1.\n\n[00:01-00:03]\nPart 2."
    assert record["usage"]["prompt_tokens"] == 2 * 9


def test_documents_that_do_not_fit_the_context_together_are_an_error(
    model: Answers, schema: Path
) -> None:
    model.failing[3] = ContextLengthError(9000, 8192)
    result = tiny_g4("video", CLIP, "--segment", "1.5", "--schema", schema)
    assert (result.exit_code, result.stdout) == (3, "Al\n")
    assert "9,000 tokens" in result.stderr


def test_an_interrupt_before_the_document_says_that_segments_are_kept(
    model: Answers, schema: Path
) -> None:
    model.failing[2] = KeyboardInterrupt()
    call = ("video", CLIP, "--segment", "1", "--schema", schema)
    result = tiny_g4(*call)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "began; the same command continues" in result.stderr
    assert tiny_g4(*call, "-q").stdout == "All.\n"


@pytest.mark.parametrize("clips", [1, 2])
def test_an_interrupt_keeps_the_partial_answer(model: Answers, clips: int) -> None:
    model.failing[2] = KeyboardInterrupt()
    result = tiny_g4("video", *[CLIP] * clips, "--segment", "1")
    assert result.exit_code == 130
    marked = "" if clips == 1 else " [interrupted]\n"
    assert result.stdout.endswith(f"[00:00-00:01]\nPart 1.\n\n[00:01-00:02]\nPa{marked}\n")


def test_an_interrupt_keeps_the_partial_answer_in_the_output_file(
    model: Answers, tmp_path: Path
) -> None:
    model.failing[2] = KeyboardInterrupt()
    tiny_g4("video", CLIP, "--segment", "1", "-o", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text().startswith("[00:00-00:01]\nPart 1.\n")


def test_frames_of_all_segments_are_saved(model: Answers, tmp_path: Path) -> None:
    tiny_g4("video", CLIP, "--segment", "1", "--save-frames", tmp_path / "frames")
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [
        "contact-sheet.png",
        "frame-0001-00m00.000s.png",
        "frame-0002-00m01.000s.png",
        "frame-0003-00m02.000s.png",
    ]


def test_standard_input(model: Answers) -> None:
    result = tiny_g4("video", "-", "--segment", "2", stdin=Path(CLIP).read_bytes())
    assert result.stdout.startswith("[00:00-00:02]\nPart 1.\n")


def test_a_part_after_the_end_of_the_clip_is_an_error(model: Answers) -> None:
    assert_fails(tiny_g4("video", CLIP, "--segment", "1", "--from", "5"), 3, "ends at 3.0 s")


@pytest.mark.parametrize("seconds", ["0", "0.5", "-3", "nan", "inf"])
def test_a_segment_without_length_is_an_error(seconds: str) -> None:
    assert_fails(tiny_g4("video", CLIP, "--segment", seconds), 2, "--segment must be 1 second")


def test_it_can_be_set(model: Answers, tmp_path: Path) -> None:
    (tmp_path / ".g4.toml").write_text("[video]\nsegment = 2")
    assert tiny_g4("video", CLIP).stdout.startswith("[00:00-00:02]\n")


def test_with_the_built_in_model(tmp_path: Path) -> None:
    """Frames of each segment, with their own times."""
    clip = shutil.copy(CLIP, tmp_path)
    result = tiny_g4(
        "video", clip, "--segment", "1.5", "--video-max-frames", "2", "--max-tokens", "2", "--json"
    )
    (record,) = records(result)
    segments: list[dict[str, Any]] = record["segments"]
    assert [each["frames"] for each in segments] == [[0.0, 0.75], [1.5, 2.25]]
    assert record["usage"]["soft_tokens"] == 4 * 64
    assert record["usage"]["completion_tokens"] <= 3 * 2
