"""A run over many images that was cut off resumes where it ended, and its answers are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_runs import assert_fails, finished, g4, records, tiny_g4
from PIL import Image as Pillow
from support.samples import sample

from gemma4cli import api
from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.image_batches import ImageEvent, ImageFailed
from gemma4cli.errors import MediaNotFoundError
from gemma4cli.events import TextDelta, VideoSampled

PATIENCE = 90.0
Script = Callable[..., list[set[int]]]


def done(image: int, text: str) -> ImageEvent:
    return ImageEvent(image=image, event=finished(text))


def said(image: int, text: str) -> ImageEvent:
    return ImageEvent(image=image, event=TextDelta(text=text))


@pytest.fixture(autouse=True)
def images() -> None:
    for name in "abc":
        Pillow.new("RGB", (8, 8), "red").save(f"{name}.png")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """These events come in place of the model's; what a run skips is noted."""

    def play(*events: ImageEvent | ImageFailed | BaseException) -> list[set[int]]:
        skipped: list[set[int]] = []

        def stream_each(*arguments: object, skip: set[int], **more: Any) -> Iterator[object]:
            skipped.append(set(skip))
            for event in events:
                if isinstance(event, BaseException):
                    raise event
                yield event

        monkeypatch.setattr(api, "stream_each", stream_each)
        return skipped

    return play


def journals() -> list[Path]:
    folder = Path(os.environ["XDG_STATE_HOME"]) / "g4" / "answers"
    return sorted(folder.glob("*")) if folder.exists() else []


IMAGES = ("a.png", "b.png", "c.png")
STOPPED = (done(0, "A"), done(1, "B"), said(2, "C"), KeyboardInterrupt())
TEXT = "a.png: A\nb.png: B\nc.png: C\n"


def test_printed_answers_are_printed_again_without_the_model(script: Script) -> None:
    script(*STOPPED)
    stopped = tiny_g4("describe", *IMAGES)
    assert stopped.exit_code == 130
    assert stopped.stdout == TEXT.replace("C", "C [interrupted]")
    assert stopped.stderr == "interrupted: 2 of 3 answered; the same command continues\n"
    skipped = script(done(2, "C"))
    resumed = tiny_g4("describe", *IMAGES)
    assert (resumed.exit_code, resumed.stdout, skipped) == (0, TEXT, [{0, 1}])
    assert resumed.stderr == "resumes: 2 of 3 were answered before\n"
    assert journals() == []


def test_a_flipped_bit_in_a_kept_answer_is_not_printed(script: Script) -> None:
    script(*STOPPED)
    tiny_g4("describe", *IMAGES)
    (journal,) = journals()
    journal.write_bytes(journal.read_bytes().replace(b'"text": "A"', b'"text": "C"'))
    skipped = script(done(0, "A"), done(1, "B"), done(2, "C"))
    again = tiny_g4("describe", *IMAGES)
    assert (again.exit_code, again.stdout, skipped) == (0, TEXT, [set()])
    assert "line 2: its checksum does not fit" in again.stderr
    assert [path.suffix for path in journals()] == [".damaged"]


def test_json_lines_are_in_their_file_at_once(script: Script) -> None:
    script(*STOPPED)
    stopped = tiny_g4("describe", *IMAGES, "-o", "out.jsonl")
    assert (
        "interrupted: 2 of 3 answered, in out.jsonl; the same command continues" in stopped.stderr
    )
    before = Path("out.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in before] == ["A", "B"]
    script(done(2, "C"))
    tiny_g4("describe", *IMAGES, "-o", "out.jsonl")
    lines = Path("out.jsonl").read_text().splitlines()
    assert lines[:2] == before
    assert [json.loads(line)["input"] for line in lines] == list(IMAGES)


def test_a_torn_or_lost_file_is_written_anew_from_what_was_kept(script: Script) -> None:
    for damage in (lambda path: path.write_text('{"input": "a.p'), Path.unlink):
        script(*STOPPED)
        tiny_g4("describe", *IMAGES, "-o", "out.jsonl")
        damage(Path("out.jsonl"))
        script(done(2, "C"))
        tiny_g4("describe", *IMAGES, "-o", "out.jsonl")
        texts = [json.loads(line)["text"] for line in Path("out.jsonl").read_text().splitlines()]
        assert texts == ["A", "B", "C"]


def test_one_text_file_has_whole_answers_only(script: Script) -> None:
    script(*STOPPED)
    tiny_g4("describe", *IMAGES, "-o", "all.txt")
    assert Path("all.txt").read_text() == "a.png: A\nb.png: B\n"
    script(done(2, "C"))
    tiny_g4("describe", *IMAGES, "-o", "all.txt")
    assert Path("all.txt").read_text() == TEXT
    assert [each for each in os.listdir() if each.startswith(".")] == []


def test_a_file_for_each_image_that_a_person_changed_stays(script: Script) -> None:
    script(*STOPPED)
    stopped = tiny_g4("describe", *IMAGES, "-f", "caption")
    assert "2 of 3 answered, in files beside the inputs" in stopped.stderr
    Path("a.caption").write_text("mine\n")
    Path("b.caption").unlink()
    script(done(2, "C\n\nmore"))
    assert tiny_g4("describe", *IMAGES, "-f", "caption").exit_code == 0
    assert [Path(f"{name}.caption").read_text() for name in "abc"] == ["mine\n", "B\n", "C more\n"]


def test_a_file_of_an_earlier_run_is_not_taken_for_the_answer(script: Script) -> None:
    """Whether the answers were printed at first, or the file could not be written."""
    Path("out").mkdir()
    Path("out/a.txt").write_text("the answer to another question\n")
    os.utime("out/a.txt", (1e9, 1e9))
    script(*STOPPED)
    tiny_g4("describe", *IMAGES)
    script(done(2, "C"))
    assert tiny_g4("describe", *IMAGES, "-o", "out/").exit_code == 0
    assert [Path(f"out/{name}.txt").read_text() for name in "abc"] == ["A\n", "B\n", "C\n"]


@pytest.mark.parametrize("option", [["--restart"], ["-p", "Why?"], ["--seed", "1"], ["a.png"]])
def test_another_command_or_a_restart_starts_over(script: Script, option: list[str]) -> None:
    script(*STOPPED)
    tiny_g4("describe", *IMAGES)
    skipped = script()
    tiny_g4("describe", *IMAGES, *option)
    assert skipped == [set()]


def test_a_changed_image_is_asked_about_again(script: Script) -> None:
    script(*STOPPED)
    tiny_g4("describe", *IMAGES)
    Pillow.new("RGB", (9, 9), "blue").save("a.png")
    skipped = script(done(0, "X"), done(2, "C"))
    assert tiny_g4("describe", *IMAGES).stdout == TEXT.replace("A", "X")
    assert skipped == [{1}]


def test_a_failed_image_is_tried_again(script: Script) -> None:
    script(ImageFailed(image=0, error=MediaNotFoundError("a.png")), done(1, "B"), *STOPPED[2:])
    tiny_g4("describe", *IMAGES)
    skipped = script(done(0, "A"), done(2, "C"))
    assert tiny_g4("describe", *IMAGES).stdout == TEXT
    assert skipped == [{1}]


def test_images_added_to_a_folder_are_answered_too(script: Script) -> None:
    script(done(0, "A"), done(1, "B"), KeyboardInterrupt())
    tiny_g4("describe", ".")
    Pillow.new("RGB", (8, 8), "red").save("aa.png")
    skipped = script(done(1, "AA"), done(3, "C"))
    result = tiny_g4("describe", ".")
    assert result.stdout == "a.png: A\naa.png: AA\nb.png: B\nc.png: C\n"
    assert skipped == [{0, 2}]


def test_existing_files_are_skipped(script: Script) -> None:
    Path("a.txt").write_text("old\n")
    Path("b.txt").touch()
    skipped = script(done(1, "B"), done(2, "C"))
    result = tiny_g4("describe", *IMAGES, "-f", "txt", "--skip-existing")
    assert result.stderr.startswith("skipped: 1 of 3 were written before")
    assert skipped == [{0}]
    assert Path("a.txt").read_text() == "old\n"


def test_files_beside_images_are_replaced_only_on_request(script: Script) -> None:
    Path("a.txt").write_text("mine\n")
    script(done(1, "B"), done(2, "C"))
    result = tiny_g4("describe", *IMAGES, "-f", "txt")
    assert result.stderr.startswith("skipped: 1 of 3 were written before; --restart replaces them")
    assert Path("a.txt").read_text() == "mine\n"
    script(done(0, "A"), done(1, "B"), done(2, "C"))
    tiny_g4("describe", *IMAGES, "-f", "txt", "--restart")
    assert Path("a.txt").read_text() == "A\n"
    result = g4("describe", "a.png", "-m", "no/model", "-f", "txt")
    assert (result.exit_code, Path("a.txt").read_text()) == (0, "A\n")


def test_existing_lines_are_skipped_and_errors_among_them_are_not(script: Script) -> None:
    kept = '{"input": "b.png", "text": "old"}\n'
    failed = '{"input": "a.png", "error": {"code": 3, "message": "a.png: no such file"}}\n'
    Path("out.jsonl").write_text(f'{failed}{kept}{{"input": "c.p')
    skipped = script(done(0, "A"), done(2, "C"))
    tiny_g4("describe", *IMAGES, "-o", "out.jsonl", "--skip-existing")
    assert skipped == [{1}]
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [each["text"] for each in lines] == ["old", "A", "C"]


def test_an_answer_about_all_images_is_skipped_as_one() -> None:
    Path("b.txt").write_text("mine\n")
    first = tiny_g4("describe", "a.png", "b.png", "--together", "-f", "txt")
    assert first.stderr == "1 of 1 answers are in files beside the inputs\n"
    assert Path("b.txt").read_text() == "mine\n"
    again = g4("describe", "a.png", "b.png", "--together", "-f", "txt", "-m", "no/model")
    assert again.stderr == "skipped: 1 of 1 were written before; --restart replaces them\n"
    lines = ["a.png", "b.png", "--together", "--skip-existing", "-o", "all.jsonl"]
    assert tiny_g4("describe", *lines).exit_code == 0
    assert "skipped: 1 of 1" in g4("describe", *lines, "-m", "no/model").stderr


def test_nothing_is_loaded_if_everything_is_there() -> None:
    for name in "abc":
        Path(f"{name}.txt").write_text("old\n")
    result = g4("describe", *IMAGES, "-m", "no/model", "-f", "txt", "--skip-existing")
    assert (result.exit_code, result.stdout) == (0, "")


def test_skipping_needs_something_to_compare_with() -> None:
    for output in ([], ["-o", "all.txt"], ["-o", "-"]):
        result = tiny_g4("describe", *IMAGES, *output, "--skip-existing")
        assert_fails(result, 2, "--skip-existing needs a file for each input or JSON lines")


def test_a_run_works_without_a_writable_state_folder(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("file").absolute()))
    script(done(0, "A"), done(1, "B"), done(2, "C"))
    result = tiny_g4("describe", *IMAGES)
    assert result.stdout == TEXT
    assert "an interrupted run will start over" in result.stderr


def test_clips_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "vw":
        Path(f"{name}.mp4").write_bytes(b"clip")
    asked: list[str] = []

    def answer(model: object, prompt: str, *, videos: list[Any], **more: object) -> Iterator[Any]:
        asked.append(videos[0].name)
        if asked == ["v.mp4", "w.mp4"]:
            raise KeyboardInterrupt
        yield finished(videos[0].name.upper())

    monkeypatch.setattr(api, "stream_generate", answer)
    stopped = tiny_g4("video", "v.mp4", "w.mp4", "-o", "out/")
    assert stopped.stderr == "interrupted: 1 of 2 answered, in out/; the same command continues\n"
    assert Path("out/v.txt").read_text() == "V.MP4\n"
    assert tiny_g4("video", "v.mp4", "w.mp4", "-o", "out/").exit_code == 0
    assert asked == ["v.mp4", "w.mp4", "w.mp4"]
    assert Path("out/w.txt").read_text() == "W.MP4\n"


def test_segments_of_a_clip_are_kept(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    answers: Iterator[str | None] = iter(())

    def send(self: Chat, content: object, options: object) -> Iterator[Any]:
        answer = next(answers)
        if answer is None:
            raise KeyboardInterrupt
        yield VideoSampled(source="clip", timestamps=(0.0, 0.5))
        yield TextDelta(text=answer)
        yield finished(answer)

    monkeypatch.setattr(Chat, "send", send)
    command = ("video", sample("video00.mp4"), "--segment", "1")
    answers = iter(["One.", "Two.", "Three.", "All."])
    whole = tiny_g4(*command)
    for output in ([], ["--json"], ["-o", "out.txt"]):
        with subtests.test(output=output):
            answers = iter(["One.", "Two.", None])
            stopped = tiny_g4(*command, *output)
            assert stopped.exit_code == 130
            assert stopped.stderr.endswith(" is incomplete; the same command continues\n")
            answers = iter(["Three.", "All."])
            resumed = tiny_g4(*command, *output)
            assert resumed.exit_code == 0
            assert "resumes after 2 segments" in resumed.stderr
            if "--json" in output:
                (record,) = records(resumed)
                texts = [each["text"] for each in record["segments"]]
                assert (texts, record["text"]) == (["One.", "Two.", "Three."], "All.")
                assert record["segments"][0]["frames"] == [0.0, 0.5]
                assert record["usage"]["prompt_tokens"] == 4 * 9
            else:
                text = Path("out.txt").read_text() if output else resumed.stdout
                assert text == whole.stdout
            assert journals() == []
    answers = iter(["One.", None])
    tiny_g4(*command)
    answers = iter(["A.", "B.", "C.", "D."])
    assert "A." in tiny_g4(*command, "--restart").stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("output", [["-o", "out.jsonl"], ["-o", "out.txt"], ["-o", "out/"]])
@pytest.mark.slow
def test_a_run_that_was_cut_off_is_resumed_by_the_same_command(
    number: signal.Signals, output: list[str]
) -> None:
    Path("pictures").mkdir()
    for count in range(12):
        color = ("red", "blue", "green")[count % 3]
        Pillow.new("RGB", (60 + count, 60), color).save(f"pictures/{count:02}.png")
    command = ["describe", "-m", "tiny", "pictures", "--batch", "1", "--temperature", "0"]
    whole = {each["input"]: each["text"] for each in records(g4(*command, "--json"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "gemma4cli", *command, *output], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + PATIENCE
    while not any(path.read_bytes().count(b"\n") > 3 for path in journals()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)

    path = Path(output[1])
    kept = sorted(path.iterdir()) if path.is_dir() else path.read_text().splitlines()
    assert 2 <= len(kept) < 12
    resumed = g4(*command, *output)
    assert resumed.exit_code == 0
    assert "of 12 were answered before" in resumed.stderr
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        texts = {each["input"]: each["text"] for each in lines}
    elif path.suffix == ".txt":
        texts = dict(line.split(": ", 1) for line in path.read_text().splitlines())
    else:
        texts = {f"pictures/{each.stem}.png": each.read_text().rstrip() for each in path.iterdir()}
    assert texts == whole
    assert journals() == []
