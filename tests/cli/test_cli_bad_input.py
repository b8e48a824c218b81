"""Input that cannot be used: one line that says what is wrong, and the right exit code."""

from __future__ import annotations

import io
import json
import os
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runs import PARITY, ROOT, Exchange, assert_fails, g4, records, run_g4, tiny_g4
from PIL import Image
from support.samples import TEXT_OF, sample

TINY = ROOT / "gemma4cli" / "builtin" / "tiny"
GOOD, GOOD_TEXT = sample("image01.png"), TEXT_OF["image01.png"]


def head_of(name: str, share: float) -> bytes:
    """The first part of a sample."""
    data = (ROOT / "fixtures" / "samples" / name).read_bytes()
    return data[: int(len(data) * share)]


def truncated_jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(out, "JPEG")
    return out.getvalue()[:400]


def without_sound() -> bytes:
    """A WAV that holds no sample."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    return out.getvalue()


TEXT = b"This is a text, whatever the name of its file says.\n"
BAD_FILES: list[tuple[str, str, bytes | Callable[[], bytes], str]] = [
    ("describe", "empty.png", b"", "is empty"),
    ("describe", "text.png", TEXT, ""),
    ("describe", "cut.png", head_of("image00.png", 0.5), ""),
    ("describe", "cut.jpg", truncated_jpeg, ""),
    ("describe", "sound.png", head_of("speech00.wav", 1), "use g4 transcribe"),
    ("describe", "video.png", head_of("video00.mp4", 1), "use g4 video"),
    ("transcribe", "empty.wav", b"", "is empty"),
    ("transcribe", "text.wav", TEXT, ""),
    ("transcribe", "head.wav", head_of("speech00.wav", 0.0005), ""),
    ("transcribe", "silent.wav", without_sound, ""),
    ("transcribe", "image.wav", head_of("image00.png", 1), "use g4 describe"),
    ("transcribe", "mute.mp4", head_of("video00.mp4", 1), "has no audio track"),
    ("video", "empty.mp4", b"", "is empty"),
    ("video", "text.mp4", TEXT, ""),
    ("video", "cut.mp4", head_of("video00.mp4", 0.5), ""),
    ("video", "image.mp4", head_of("image00.png", 1), "use g4 describe"),
    ("video", "sound.mp4", head_of("speech00.wav", 1), "use g4 transcribe"),
]


def test_a_file_that_is_not_the_medium_is_an_error(subtests: pytest.Subtests) -> None:
    for command, name, content, problem in BAD_FILES:
        with subtests.test(name=name):
            Path(name).write_bytes(content if isinstance(content, bytes) else content())
            assert_fails(tiny_g4(command, name), 3, f"g4: {name}: ", problem)


def test_a_missing_file_is_an_error(subtests: pytest.Subtests) -> None:
    for command in ["describe", "transcribe", "video"]:
        with subtests.test(command=command):
            assert_fails(tiny_g4(command, "nowhere/x"), 3, "g4: nowhere/x: no such file")


def test_a_missing_file_is_found_before_a_model(subtests: pytest.Subtests) -> None:
    for arguments in [
        ["describe", "none.png"],
        ["describe", "--together", GOOD, "none.png"],
        ["video", "none.png"],
        ["transcribe", "none.png"],
        ["chat", "-p", "Which color?", "--image", "none.png"],
    ]:
        with subtests.test(arguments=arguments):
            assert_fails(g4(*arguments, "-m", "no/model"), 3, "none.png: no such file")


def test_several_files_of_which_some_are_missing_need_a_model() -> None:
    assert_fails(g4("describe", "none.png", GOOD, "-m", "no/model"), 4, "no/model")


def test_a_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    assert_fails(tiny_g4("video", tmp_path), 3, f"g4: {tmp_path}: contains no videos")


def test_empty_standard_input_is_an_error(subtests: pytest.Subtests) -> None:
    for command in ["describe", "transcribe", "video"]:
        with subtests.test(command=command):
            assert_fails(tiny_g4(command, "-"), 3, "g4: -: ", "empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission() -> None:
    Path("locked.png").touch(mode=0)
    assert_fails(tiny_g4("describe", "locked.png"), 3, "permission denied")


def test_a_missing_file_in_a_chat_is_an_error(subtests: pytest.Subtests) -> None:
    for kind in ["image", "audio", "video"]:
        with subtests.test(kind=kind):
            result = tiny_g4("chat", "-p", "What is it?", f"--{kind}", "nowhere")
            assert_fails(result, 3, "nowhere: no such file")


def test_a_broken_conversation_is_an_error(subtests: pytest.Subtests) -> None:
    for content, problem in [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe{", "is not UTF-8 text"),
        (b"[]", "must be an object"),
        (b'{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "lacks 'path'"),
    ]:
        with subtests.test(content=content, problem=problem):
            Path("talk.json").write_bytes(content)
            assert_fails(tiny_g4("chat", "--messages", "talk.json"), 3, "g4: talk.json: ", problem)


def test_conversation_with_a_missing_image() -> None:
    part = {"type": "image", "path": "nowhere.png"}
    Path("talk.json").write_text(
        json.dumps({"messages": [{"role": "user", "content": [part]}]}), "utf-8"
    )
    result = tiny_g4("chat", "--messages", "talk.json")
    assert_fails(result, 3, "nowhere.png: no such file")


def test_an_unknown_model_is_an_error_that_says_which_exist(
    subtests: pytest.Subtests, sent: Exchange
) -> None:
    for name, parts in [
        ("tinny", ["'tinny' not found", "did you mean tiny?"]),
        ("nonsense", ["'nonsense' not found", "tiny, e2b, e4b, 12b, 26b, 31b"]),
        ("e2b", ["g4 models pull e2b"]),
        ("e4b:8bit", ["g4 models pull e4b:8bit"]),
        ("e2b:9bit", ["e2b is available as 4bit, "]),
        ("someone/something", ["g4 models pull someone/something"]),
        ("a..b/c", ["'a..b/c' not found"]),
        ("./nowhere", ["'./nowhere' not found"]),
    ]:
        with subtests.test(name=name, parts=parts):
            assert_fails(g4("describe", "-m", name, "a.png"), 4, *parts)
            assert sent.parts == []


def copy_of_tiny(folder: Path, **replaced: bytes | None) -> Path:
    """A checkpoint like the built-in one, but for some files, or without them; ``_`` for ``.``."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("README.md"))
    for key, content in replaced.items():
        path = folder / key.replace("_json", ".json").replace("_safetensors", ".safetensors")
        assert path.exists()
        path.chmod(0o644)
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    return folder


CONFIG = json.loads((TINY / "config.json").read_bytes())
WEIGHTS = (TINY / "model.safetensors").read_bytes()


def config(**changes: object) -> bytes:
    return json.dumps(CONFIG | changes).encode()


BROKEN_CHECKPOINTS: list[tuple[dict[str, bytes | None], str]] = [
    ({"config_json": None}, "the folder has no config.json"),
    ({"config_json": b"{"}, "config.json: is not valid JSON"),
    ({"config_json": b"[]"}, "config.json: must hold a JSON object"),
    ({"config_json": config(model_type="llama")}, "llama"),
    ({"config_json": config(text_config={})}, "config.json"),
    ({"model_safetensors": WEIGHTS[:100_000]}, "model.safetensors: is incomplete"),
    ({"model_safetensors": b""}, "model.safetensors: "),
    ({"model_safetensors": TEXT}, "model.safetensors: "),
    ({"model_safetensors": None}, "model.safetensors: no such file"),
    ({"tokenizer_json": None}, "tokenizer.json"),
    ({"tokenizer_json": b"{}"}, "tokenizer.json"),
    ({"generation_config_json": b"{"}, "generation_config.json"),
    ({"processor_config_json": b"{"}, "processor_config.json"),
]


def test_a_broken_checkpoint_is_an_error_that_names_its_file(
    subtests: pytest.Subtests, tmp_path: Path, sent: Exchange
) -> None:
    for number, (replaced, problem) in enumerate(BROKEN_CHECKPOINTS):
        with subtests.test(number=number, problem=problem):
            folder = copy_of_tiny(tmp_path / f"model{number}", **replaced)
            assert_fails(g4("describe", "-m", folder, "a.png"), 4, problem)
            assert sent.parts == []


def test_weights_of_another_model(tmp_path: Path) -> None:
    other = (PARITY / "checkpoints" / "e2b" / "model.safetensors").read_bytes()
    folder = copy_of_tiny(tmp_path / "model", model_safetensors=other)
    assert_fails(g4("describe", "-m", folder, GOOD), 4, "the tensors do not match config.json")


def test_audio_for_a_model_that_cannot_hear_is_an_error(subtests: pytest.Subtests) -> None:
    """The file is not audio either: the model is checked before any file is opened."""
    for size in ["26b", "31b"]:
        for arguments in [["transcribe"], ["chat", "-p", "What is said?", "--audio"]]:
            with subtests.test(size=size, arguments=arguments):
                Path("no.wav").write_bytes(TEXT)
                model = PARITY / "checkpoints" / size
                result = g4(*arguments, "no.wav", "-m", model)
                assert_fails(
                    result, 4, f"{model} does not support audio", "Choose another model with -m"
                )


def test_an_option_out_of_range_is_an_error(subtests: pytest.Subtests, sent: Exchange) -> None:
    for options in [
        ["--top-p", "0"],
        ["--top-p", "2"],
        ["--top-p", "nan"],
        ["--budget", "100"],
        ["-o", ""],
    ]:
        with subtests.test(options=options):
            assert_fails(tiny_g4("describe", "a.png", *options), 2)
            assert sent.parts == []


def test_an_option_that_does_not_parse_is_an_error(
    subtests: pytest.Subtests, sent: Exchange
) -> None:
    for options in [
        ["--temperature", "-1"],
        ["--temperature", "nan"],
        ["--max-tokens", "0"],
        ["--top-k", "-1"],
        ["--seed", "-1"],
        ["--seed", str(2**64)],
        ["--dtype", "int4"],
        ["--budget", "many"],
    ]:
        with subtests.test(options=options):
            result = tiny_g4("describe", "a.png", *options)
            assert (result.exit_code, result.stdout) == (2, "")
            assert options[0] in result.stderr
            assert sent.parts == []


def test_the_others_of_several_are_answered() -> None:
    result = tiny_g4("describe", "nowhere.png", GOOD, "gone.png")
    assert result.exit_code == 5
    assert result.stdout == f"{GOOD}: {GOOD_TEXT}\n"
    assert result.stderr.splitlines() == [
        "g4: nowhere.png: no such file",
        "g4: gone.png: no such file",
    ]


def test_failure_as_json() -> None:
    result = tiny_g4("describe", "nowhere.png", GOOD, "--json")
    assert result.exit_code == 5
    failed, answered = records(result)
    assert failed == {
        "input": "nowhere.png",
        "error": {"code": 3, "message": "nowhere.png: no such file"},
    }
    assert (answered["input"], answered["text"]) == (GOOD, GOOD_TEXT)
    assert result.stderr == "g4: nowhere.png: no such file\n"


def test_single_failure_as_json_keeps_its_exit_code() -> None:
    result = tiny_g4("describe", "nowhere.png", "--json")
    assert result.exit_code == 3
    assert [record["error"]["code"] for record in records(result)] == [3]


def test_debug_shows_the_traceback_and_continues() -> None:
    result = tiny_g4("describe", "nowhere.png", GOOD, "--debug")
    assert result.exit_code == 5
    assert result.stdout == f"{GOOD}: {GOOD_TEXT}\n"
    assert "Traceback (most recent call last)" in result.stderr
    assert "MediaNotFoundError: nowhere.png: no such file" in result.stderr
    assert "\ng4: nowhere.png: no such file\n" in result.stderr


def test_debug_keeps_the_exit_code() -> None:
    result = g4("describe", "-m", "nonsense", GOOD, "--debug")
    assert result.exit_code == 4
    assert "ModelNotFoundError" in result.stderr


def test_a_whole_process_shows_one_line() -> None:
    done = run_g4("describe", "-m", "tiny", "nowhere.png")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"g4: nowhere.png: no such file\n"


def test_name_with_a_line_break() -> None:
    assert_fails(tiny_g4("describe", "no\nwhere.png"), 3, "g4: no where.png: no such file")
