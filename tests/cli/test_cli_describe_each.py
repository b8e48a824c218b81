"""``g4 describe`` with many images: order, folders, failures, progress."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_runs import (
    Terminal,
    Tty,
    assert_fails,
    environment,
    finished,
    g4_at_a_terminal,
    records,
    tiny_g4,
)
from PIL import Image as Pillow
from support.samples import sample

from gemma4cli import api
from gemma4cli.cli.commands.describe_many import ImageProgress
from gemma4cli.cli.output.consume import Failed
from gemma4cli.conversations.image_batches import ImageEvent, ImageFailed
from gemma4cli.errors import MediaNotFoundError
from gemma4cli.events import TextDelta, ThoughtDelta
from gemma4cli.messages import Source

Script = Callable[..., list[dict[str, Any]]]


def said(image: int, text: str) -> ImageEvent:
    return ImageEvent(image=image, event=TextDelta(text=text))


def thought(image: int, text: str) -> ImageEvent:
    return ImageEvent(image=image, event=ThoughtDelta(text=text))


def done(image: int, text: str) -> ImageEvent:
    event = replace(finished(text), budgets=(280,))
    return ImageEvent(image=image, event=event)


def failed(image: int) -> ImageFailed:
    return ImageFailed(image=image, error=MediaNotFoundError(f"{image}.png"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Nothing reaches the model; what it is asked is noted, and these events come instead."""

    def play(*events: object) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def stream_each(
            model: object, prompt: str, images: Sequence[Source | str], **more: Any
        ) -> Iterator[object]:
            names = [Source.of(each).name for each in images]
            asked.append({"prompt": prompt, "images": names, **more})
            for event in events:
                if isinstance(event, BaseException):
                    raise event
                yield event

        monkeypatch.setattr(api, "stream_each", stream_each)
        return asked

    return play


def test_answers_come_in_the_order_of_their_images(script: Script) -> None:
    script(done(2, "C"), failed(1), done(0, "A"))
    result = tiny_g4("describe", "a.png", "b.png", "c.png")
    assert (result.exit_code, result.stdout) == (5, "a.png: A\nc.png: C\n")
    assert result.stderr == f"g4: {failed(1).error}\n"


def test_errors_keep_the_order_of_the_images(script: Script) -> None:
    script(failed(1), done(2, "C"), done(0, "A"))
    result = tiny_g4("describe", "a.png", "b.png", "c.png", "--json")
    assert [(each["input"], "error" in each) for each in records(result)] == [
        ("a.png", False),
        ("b.png", True),
        ("c.png", False),
    ]
    assert records(result)[0]["budget"] == 280


def test_an_interrupt_keeps_the_partial_answers_in_order(script: Script) -> None:
    script(said(1, "B"), said(0, "A"), done(2, "C"), said(0, "a"), KeyboardInterrupt())
    result = tiny_g4("describe", "a.png", "b.png", "c.png", "d.png")
    assert result.exit_code == 130
    assert result.stderr == "interrupted: 1 of 4 answered; the same command continues\n"
    assert result.stdout == "a.png: Aa [interrupted]\nb.png: B [interrupted]\nc.png: C\n"


def test_interrupt_leaves_whole_objects_only(script: Script) -> None:
    script(said(0, "A"), done(1, "B"), KeyboardInterrupt())
    result = tiny_g4("describe", "a.png", "b.png", "--json")
    assert [each["input"] for each in records(result)] == ["b.png"]


def test_thoughts_go_to_stderr(script: Script) -> None:
    script(thought(0, "hm"), done(1, "B"), done(0, "A"))
    result = tiny_g4("describe", "a.png", "b.png", "--think")
    assert (result.stdout, result.stderr) == ("a.png: A\nb.png: B\n", "hm\n")


def test_batch_may_be_chosen(script: Script) -> None:
    asked = script(done(0, "A"), done(1, "B"))
    tiny_g4("describe", "a.png", "b.png", "--batch", "3", "-p", "Why?")
    tiny_g4("describe", "a.png", "b.png")
    assert [(each["batch"], each["prompt"]) for each in asked] == [
        (3, "Why?"),
        (None, "Describe this image."),
    ]


def test_a_folder_means_all_its_images(script: Script, tmp_path: Path) -> None:
    """As with transcribe: those of its folders, too, in order, and nothing hidden."""
    for name in ("b.PNG", "a.jpeg", "notes.txt", ".hidden.png", "in/c.webp", ".git/d.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    asked = script(done(0, "A"), done(1, "B"), done(2, "C"), done(3, "D"))
    result = tiny_g4("describe", "photos/", "z.png")
    names = ["photos/a.jpeg", "photos/b.PNG", "photos/in/c.webp", "z.png"]
    assert asked[0]["images"] == names
    assert [line.partition(": ")[0] for line in result.stdout.splitlines()] == names


def test_folder_with_one_image_names_it(script: Script, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    script(done(0, "A"))
    assert tiny_g4("describe", "photos").stdout == "photos/a.png: A\n"


def test_folder_without_images(script: Script, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert_fails(tiny_g4("describe", "notes"), 3, "notes: contains no images")


def test_bad_file_in_a_real_batch(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        Pillow.new("RGB", (60, 60), "red").save(tmp_path / name)
    (tmp_path / "b.png").write_text("no image")
    result = tiny_g4("describe", tmp_path, "--max-tokens", "2", "--temperature", "0", "-q")
    assert result.exit_code == 5
    first, third = (line.split(": ") for line in result.stdout.splitlines())
    assert (first[0], third[0]) == (str(tmp_path / "a.png"), str(tmp_path / "c.png"))
    assert first[1] == third[1] != ""
    assert result.stderr.startswith(f"g4: {tmp_path / 'b.png'}: not an image")


# Progress


@pytest.mark.slow
def test_bar_at_a_terminal() -> None:
    images = [sample("image00.png"), "nowhere.png"]
    with Terminal("describe", "-m", "tiny", *images, "--max-tokens", "1") as terminal:
        assert terminal.wait() == 5
    assert "0/2" in terminal.output
    assert "images/s" in terminal.output


def test_a_terminal_gets_a_bar_of_the_images(script: Script) -> None:
    script(done(0, "A"), failed(1))
    run = g4_at_a_terminal("describe", "-m", "tiny", "a.png", "b.png")
    assert run.exit_code == 5
    assert "0/2" in run.stderr and "images/s" in run.stderr


def test_the_sentence_at_the_end_is_not_on_the_line_of_the_bar(script: Script) -> None:
    script(done(0, "A"), done(1, "B"))
    run = g4_at_a_terminal("describe", "-m", "tiny", "a.png", "b.png", "-f", "txt")
    bar, erased, sentence = run.stderr.rpartition("\x1b[2K")
    assert "images/s" in bar and erased
    assert sentence.strip() == "2 of 2 answers are in files beside the inputs"


@pytest.mark.parametrize(("quiet", "animated"), [(True, True), (False, False)])
def test_no_bar(quiet: bool, animated: bool) -> None:
    env = environment(stderr=Tty() if animated else io.StringIO())
    with ImageProgress(env, 3, quiet=quiet) as line:
        line.update(0, finished("A"))
        assert line.bar is None


def test_bar_counts() -> None:
    with ImageProgress(environment(stderr=Tty()), 3, quiet=False) as line:
        line.update(0, finished("A"))
        line.update(1, TextDelta(text="B"))
        line.update(1, Failed(MediaNotFoundError("b.png")))
        assert line.bar is not None
        (task,) = line.bar.tasks
        assert (task.completed, task.total) == (2, 3)
        assert task.fields["speed"].endswith(" images/s")
