"""The same -o in every command, and what ends a run over several inputs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_runs import Exchange, assert_fails, finished, g4, records, tiny_g4
from huggingface_hub import constants
from PIL import Image as Pillow
from support.samples import TEXT_OF, sample

from gemma4cli import api
from gemma4cli.events import SegmentFinished, TextDelta
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.media.pictures import images
from gemma4cli.transcription.recordings import FileRecording

SPEECH, IMAGE, CLIP = (sample(name) for name in ("speech04.wav", "image04.png", "video00.mp4"))
TALK = {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image", "path": "a.png"}, {"type": "text", "text": "What?"}],
        }
    ]
}


@pytest.fixture(autouse=True)
def files() -> None:
    for source, name in ((SPEECH, "a.wav"), (IMAGE, "a.png"), (IMAGE, "b.png"), (CLIP, "a.mp4")):
        shutil.copy(source, name)
    Path("talk.json").write_text(json.dumps(TALK))


COMMANDS = {
    "describe": ["a.png"],
    "transcribe": ["a.wav"],
    "video": ["a.mp4", "--video-max-frames", "1"],
    "chat": ["--messages", "talk.json"],
    "trace": ["talk.json"],
}
SUFFIX_OF = dict.fromkeys(COMMANDS, "txt") | {"trace": "npz"}


def test_every_command_makes_folders_and_names_files_in_them(subtests: pytest.Subtests) -> None:
    for command, arguments in COMMANDS.items():
        with subtests.test(command=command):
            output = f"{command}/of/it/"
            result = tiny_g4(command, *arguments, "-o", output, "--max-tokens", "8")
            assert result.exit_code == 0
            (written,) = os.listdir(output)
            assert written.endswith(f".{SUFFIX_OF[command]}")
            assert written.startswith("talk" if "talk.json" in arguments else "a")


def test_no_command_replaces_what_it_reads(subtests: pytest.Subtests) -> None:
    os.link("a.png", "hard.png")
    for command, arguments in COMMANDS.items():
        read = [each for each in arguments if "." in each]
        if read == ["talk.json"]:
            read += ["a.png", "hard.png"]
        for output in read:
            with subtests.test(command=command, output=output):
                before = Path(output).read_bytes()
                result = g4(command, *arguments, "-m", "no/model", "-o", output)
                problem = "is an input" if command != "transcribe" else "is not one of the formats"
                assert_fails(result, 2, f"{output}: ", problem)
                assert Path(output).read_bytes() == before


def test_no_command_replaces_the_model_or_what_g4_keeps(
    subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a link either; other files in the model's folder are the user's own."""
    model, cache, state = Path("model"), Path("hub"), Path("state/g4/sessions")
    shutil.copytree(BUILTIN["tiny"], model)
    cache.mkdir()
    state.mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache.resolve()))
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("state").resolve()))
    Path("link").symlink_to(model / "model.safetensors")
    Path("folder").symlink_to(state)
    refused = {
        "model/config.json": "is a file of the model and would be replaced",
        "link": "is a file of the model and would be replaced",
        "folder/x": "is where g4 keeps conversations and unfinished work",
        "state/g4/new/of/it": "is where g4 keeps conversations and unfinished work",
        "hub/x": "is where downloaded models are kept",
    }
    for command, arguments in COMMANDS.items():
        for output, problem in refused.items():
            if command == "transcribe" and output.endswith(".json"):
                continue  # it has another meaning there
            with subtests.test(command=command, output=output):
                result = g4(command, *arguments, "-m", model, "-o", output)
                assert_fails(result, 2, f"{output}: ", problem)
    result = g4("video", "a.mp4", "-m", model, "--save-frames", cache / "frames")
    assert_fails(result, 2, "is where downloaded models are kept")
    assert g4("describe", "a.png", "-m", model, "-o", model / "notes.txt").exit_code == 0
    assert not list(cache.iterdir()) and not list(state.iterdir())


def test_a_tilde_that_the_shell_left_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """bash leaves it after ``=`` and in quotes."""
    monkeypatch.setenv("HOME", os.path.abspath("home"))
    Path("home").mkdir()
    shutil.move("a.png", "home/a.png")
    result = tiny_g4("describe", "~/a.png", "--output=~/captions/", "--max-tokens", "8")
    assert result.exit_code == 0
    assert os.listdir("home/captions") == ["a.txt"]
    assert not Path("~").exists()


def test_a_file_whose_name_begins_with_a_dash() -> None:
    shutil.move("a.png", "-dash.png")
    result = g4("describe", "-dash.png", "-m", "no/model")
    assert_fails(result, 2, "-dash.png: begins with a dash; name the file as ./-dash.png")
    assert tiny_g4("describe", "./-dash.png", "--max-tokens", "8").exit_code == 0


def test_no_text_in_a_question_is_replaced() -> None:
    Path("note.txt").write_text("hello")
    result = g4("chat", "-p", "Hi", "--file", "note.txt", "-m", "no/model", "-o", "note.txt")
    assert_fails(result, 2, "note.txt: is an input")


def test_a_folder_without_inputs_beside_others_says_so(subtests: pytest.Subtests) -> None:
    Path("empty").mkdir()
    for command, given, kind in (
        ("describe", "a.png", "images"),
        ("transcribe", "a.wav", "recordings"),
        ("video", "a.mp4", "videos"),
    ):
        with subtests.test(command=command):
            result = tiny_g4(command, "empty", given, "--json", "--max-tokens", "8")
            assert result.exit_code == 5
            assert f"g4: empty: contains no {kind}\n" in result.stderr
            error, record = records(result)
            assert error["error"] == {"code": 3, "message": f"empty: contains no {kind}"}
            assert record["input"] == given


def test_folders_for_frames_are_checked_before_the_model() -> None:
    result = g4("video", "a.mp4", "--save-frames", "a.png", "-m", "no/model")
    assert_fails(result, 2, "a.png: is a file, not a folder")
    Path("clips").mkdir()
    shutil.move("a.mp4", "clips/a.mp4")
    result = g4("video", "clips", "--save-frames", "clips", "-m", "no/model")
    assert_fails(result, 2, "clips/a.mp4: is a file, not a folder")


def test_a_page_and_a_file_of_its_name_have_two_outputs() -> None:
    pages = [Pillow.new("RGB", (8, 8), "red") for _ in range(2)]
    pages[0].save("fax.tiff", save_all=True, append_images=pages[1:])
    pages[0].save("fax-page2.png")
    result = tiny_g4("describe", "fax.tiff", "fax-page2.png", "--pages", "all", "-o", "out/")
    assert result.exit_code == 0
    assert len(os.listdir("out")) == 3


def test_every_command_checks_its_output_before_the_model(subtests: pytest.Subtests) -> None:
    for command, arguments in COMMANDS.items():
        for output in ("a.png/out.txt", "a.png/", "/proc/out.txt", "x" * 300):
            with subtests.test(command=command, output=output[:20]):
                result = (
                    g4(command, *arguments, "-m", "no/model", "-f", "txt", "-o", output)
                    if command == "transcribe"
                    else g4(command, *arguments, "-m", "no/model", "-o", output)
                )
                assert_fails(result, 2)


def test_an_empty_argument_is_named(subtests: pytest.Subtests) -> None:
    for arguments, name in [
        (["describe", ""], "IMAGE"),
        (["transcribe", "a.wav", ""], "AUDIO"),
        (["video", ""], "CLIP"),
        (["describe", "a.png", "-o", ""], "--output"),
        (["describe", "a.png", "-m", ""], "--model"),
        (["describe", "a.png", "-p", ""], "--prompt"),
        (["chat", "-p", "hi", "--image", ""], "--image"),
        (["chat", "--messages", ""], "--messages"),
        (["video", "a.mp4", "--save-frames", ""], "--save-frames"),
    ]:
        with subtests.test(arguments=arguments):
            assert_fails(g4(*arguments), 2, f"g4: {name}: is empty")


def test_the_suffix_names_the_format() -> None:
    for suffix, begins in {"srt": "1\n", "vtt": "WEBVTT", "tsv": "start", "json": "{"}.items():
        assert tiny_g4("transcribe", "a.wav", "-o", f"out.{suffix}").exit_code == 0
        assert Path(f"out.{suffix}").read_text().startswith(begins)
    tiny_g4("transcribe", "a.wav", "-o", "out.JSONL")
    assert json.loads(Path("out.JSONL").read_text())["text"] == TEXT_OF["speech04.wav"]
    Path(".g4.toml").write_text('[transcribe]\nformat = "srt"\n')
    tiny_g4("transcribe", "a.wav", "-o", "set.vtt")
    assert Path("set.vtt").read_text().startswith("WEBVTT")


def test_a_suffix_that_contradicts_the_format_is_an_error(subtests: pytest.Subtests) -> None:
    for arguments, problem in [
        (["transcribe", "a.wav", "-f", "srt", "-o", "out.vtt"], "is not a name for -f srt"),
        (["transcribe", "a.wav", "-o", "out.ass"], ".ass is not one of the formats"),
        (["describe", "a.png", "-f", "caption", "-o", "a.txt"], "is not a name for -f caption"),
        (["describe", "a.png", "b.png", "-o", "out.json"], "name it out.jsonl"),
        (["describe", "a.png", "--json", "-f", "txt"], "exclude each other"),
        (["describe", "a.png", "-f", "txt", "-o", "-"], "-f writes files"),
    ]:
        with subtests.test(arguments=arguments):
            assert_fails(tiny_g4(*arguments), 2, problem)


def test_json_by_suffix_for_answers(sent: Exchange) -> None:
    for command in (["describe", "a.png"], ["video", "a.mp4"], ["chat", "-p", "hi"]):
        for output in ("out.json", "out.jsonl"):
            tiny_g4(*command, "-o", output)
            assert json.loads(Path(output).read_text())["text"] == "Done."


def test_a_file_for_each_image_in_every_format(sent: Exchange) -> None:
    sent.events[:] = [TextDelta(text="One.\n\nTwo."), finished("One.\n\nTwo.")]
    arguments = ["describe", "a.png", "b.png", "--batch", "1"]
    for format in ("txt", "caption", "json"):
        assert tiny_g4(*arguments, "-f", format).exit_code == 0
    assert Path("b.txt").read_text() == "One.\n\nTwo.\n"
    assert Path("b.caption").read_text() == "One. Two.\n"
    assert json.loads(Path("b.json").read_text())["input"] == "b.png"
    assert tiny_g4(*arguments, "--json", "-o", "out/").stdout == ""
    assert json.loads(Path("out/a.json").read_text())["text"] == "One.\n\nTwo."


def test_the_folders_of_images_are_kept(sent: Exchange) -> None:
    for name in ("in/a.png", "in/deep/a.png", "in/deep/b.jpg", "in/deep/b.png"):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy("a.png", name)
    assert tiny_g4("describe", "in", "-o", "out/", "--batch", "1").exit_code == 0
    written = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.txt"))
    assert written == ["a.txt", "deep/a.txt", "deep/b.jpg.txt", "deep/b.png.txt"]


def test_answers_of_several_lines_are_separated(sent: Exchange) -> None:
    sent.events[:] = [TextDelta(text="One.\n\nTwo."), finished("One.\n\nTwo.")]
    result = tiny_g4("describe", "a.png", "b.png", "--batch", "1")
    assert result.stdout == "a.png:\nOne.\n\nTwo.\n\nb.png:\nOne.\n\nTwo.\n\n"


def test_a_notice_names_its_input_among_several(sent: Exchange) -> None:
    sent.events[:] = [TextDelta(text="So"), finished("So", reason="length")]
    result = tiny_g4("describe", "a.png", "b.png", "--batch", "1")
    assert result.stderr.splitlines() == [
        f"{name}: answer truncated at --max-tokens" for name in ("a.png", "b.png")
    ]
    assert tiny_g4("describe", "a.png").stderr == "answer truncated at --max-tokens\n"


def test_the_code_of_all_is_the_code_of_each(subtests: pytest.Subtests) -> None:
    for command in ("describe", "transcribe", "video"):
        with subtests.test(command=command):
            assert tiny_g4(command, "x", "y").exit_code == 3
    assert tiny_g4("describe", "x", "a.png").exit_code == 5
    Path("empty").mkdir()
    for command in ("describe", "transcribe", "video"):
        assert_fails(tiny_g4(command, "empty"), 3, "empty: contains no ")
    assert tiny_g4("describe", "empty", "a.png").exit_code == 5


# What g4 does not expect


def test_an_odd_input_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    load, pieces = images.load_image, FileRecording.pieces

    def odd_image(source: Any, *arguments: Any, **more: Any) -> Any:
        if source.name == "b.png":
            raise AssertionError("no palette")
        return load(source, *arguments, **more)

    def odd_recording(self: FileRecording, *arguments: Any) -> Iterator[Any]:
        if self._given.name == "b.wav":
            raise ZeroDivisionError
        yield from pieces(self, *arguments)

    shutil.copy("a.wav", "b.wav")
    monkeypatch.setattr(images, "load_image", odd_image)
    monkeypatch.setattr(FileRecording, "pieces", odd_recording)
    for command, suffix, problem in [
        ("describe", "png", "AssertionError: no palette"),
        ("transcribe", "wav", "ZeroDivisionError"),
    ]:
        with subtests.test(command=command):
            result = tiny_g4(command, f"b.{suffix}", f"a.{suffix}")
            assert result.exit_code == 5
            assert result.stdout.startswith(f"a.{suffix}: ")
            assert result.stderr == (
                f"g4: b.{suffix}: unexpected error ({problem}); --debug shows more\n"
            )
            assert "Traceback" in tiny_g4(command, f"b.{suffix}", "--debug").stderr


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise KeyError("no\nsuch key")

    monkeypatch.setattr(api, "stream_generate", fail)
    assert_fails(tiny_g4("describe", "a.png"), 1, "unexpected error (KeyError: ", "--debug shows")
    assert "Traceback" in tiny_g4("describe", "a.png", "--debug").stderr


# Ctrl-C


def test_segments_of_a_clip_that_are_done_are_in_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stream(*arguments: object, **more: object) -> Iterator[Any]:
        yield TextDelta(text="[00:00-00:01]\nOne.\n")
        yield SegmentFinished(start=0, end=1, answer=finished("One."))
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "stream_segments", stream)
    result = tiny_g4("video", "a.mp4", "--segment", "1", "--json")
    assert (result.exit_code, result.stderr) == (
        130,
        "interrupted: the answer is incomplete; the same command continues\n",
    )
    (record,) = records(result)
    assert record["finish_reason"] == "interrupted"
    assert [each["text"] for each in record["segments"]] == ["One."]


def test_an_interrupted_answer_says_which_file_has_it(sent: Exchange) -> None:
    sent.events[:] = [TextDelta(text="So"), KeyboardInterrupt()]
    for command in (["describe", "a.png"], ["video", "a.mp4"], ["chat", "-p", "hi"]):
        result = tiny_g4(*command, "-o", "out.txt")
        assert result.exit_code == 130
        assert result.stderr == "interrupted: the answer in out.txt is incomplete\n"
        assert Path("out.txt").read_text() == "So\n"
        assert tiny_g4(*command, "-q").stderr == ""
