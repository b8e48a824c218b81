"""Files whose names hold any bytes are read and written like others, and shown on one line."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from cli_runs import Tty, environment, g4_at_a_terminal, g4_in, records, run_g4, tiny_g4
from support.samples import TEXT_OF, sample

from gemma4cli.cli.escapes import one_line, printable

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")

IMAGE, SPEECH = "image04.png", "speech04.wav"
ODD = [b"caf\xe9", b"a\nb\tc", b"\x1b[31mred", b"-x", b"ends in dot.", b"ends in space ", b"a..b"]
LONG = "é" * 125


@pytest.fixture
def folder() -> Path:
    """Images and recordings of odd names, and plain ones."""
    path = Path("odd")
    path.mkdir()
    for name in [*map(os.fsdecode, ODD), LONG, "plain"]:
        shutil.copy(sample(IMAGE), path / f"{name}.png")
        shutil.copy(sample(SPEECH), path / f"{name}.wav")
    return path


def test_every_image_is_described_on_a_line_of_its_own(folder: Path) -> None:
    result = tiny_g4("describe", folder)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == len(ODD) + 2
    assert len({line.rpartition(".png: ")[2] for line in lines}) == 1
    for name in ("a\\nb\\tc", "caf\\xE9", "\\x1B[31mred"):
        assert any(line.startswith(f"odd/{name}.png: ") for line in lines)


def test_every_recording_is_transcribed(folder: Path) -> None:
    result = tiny_g4("transcribe", folder, "-f", "srt", "-o", os.fsdecode(b"out\xff/"))
    assert (result.exit_code, result.stderr) == (0, "")
    written = os.listdir(b"out\xff")
    assert {b"caf\xe9.srt", b"a\nb\tc.srt", b"-x.srt", b"ends in dot..srt"} <= set(written)
    assert len(written) == len(ODD) + 2


def test_a_name_that_is_too_long_with_its_new_suffix_is_cut(folder: Path) -> None:
    assert tiny_g4("describe", folder, "-f", "caption", "-o", "out/").exit_code == 0
    (cut,) = [name for name in os.listdir("out") if name.startswith("éé")]
    assert cut.endswith(".caption")
    assert len(os.fsencode(cut)) <= 255
    assert len(os.listdir("out")) == len(ODD) + 2


def test_json_gives_the_names_back(folder: Path) -> None:
    for command in ("describe", "transcribe"):
        found = records(tiny_g4(command, folder, "--json"))
        names = {os.fsencode(Path(each["input"]).stem) for each in found}
        assert names == {*ODD, LONG.encode(), b"plain"}
        (other,) = [each for each in found if "input_bytes" in each]
        assert b64decode(other["input_bytes"]) == os.fsencode(other["input"])


def test_json_in_a_file_is_utf_8(folder: Path) -> None:
    tiny_g4("describe", folder, "-o", "out.jsonl")
    lines = Path("out.jsonl").read_bytes().decode("utf-8").splitlines()
    assert len([json.loads(line) for line in lines]) == len(ODD) + 2


def test_commands_run_in_a_folder_of_such_a_name(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    inside = Path(os.fsdecode(b"in\xff"))
    inside.mkdir()
    monkeypatch.chdir(inside)
    text = TEXT_OF[SPEECH] + "\n"
    assert tiny_g4("transcribe", "../odd/plain.wav").stdout == text
    assert tiny_g4("describe", "../odd/plain.png", "-o", "out.txt").exit_code == 0
    assert tiny_g4("chat", "-p", "hi", "--session", "odd").exit_code == 0
    Path(".g4.toml").write_text("x = 1")
    result = tiny_g4("describe", "../odd/plain.png")
    assert result.exit_code == 2
    assert "in\\xFF/.g4.toml: there is no x" in result.stderr


def test_a_chat_keeps_such_a_file() -> None:
    name = os.fsdecode(b"\xff.png")
    shutil.copy(sample(IMAGE), name)
    for arguments in (["--image", name], []):
        result = tiny_g4("chat", "-p", "What is this?", *arguments, "--session", "odd")
        assert result.exit_code == 0
    content = {"role": "user", "content": [{"type": "image", "path": name}]}
    Path("talk.json").write_text(json.dumps({"messages": [content]}))
    assert tiny_g4("chat", "--messages", "talk.json").exit_code == 0
    assert tiny_g4("trace", "talk.json", "-o", os.fsdecode(b"\xfe.npz")).exit_code == 0


def test_text_of_any_bytes_is_a_question() -> None:
    text = os.fsdecode(b"a\xffb")
    for arguments in (["-p", text], ["-p", "hi", "--system", text]):
        assert tiny_g4("chat", *arguments).exit_code == 0
    assert tiny_g4("transcribe", sample(SPEECH), "--vocabulary", text).exit_code == 0


def test_a_missing_file_is_one_line(subtests: pytest.Subtests) -> None:
    for name in map(os.fsdecode, ODD):
        for command in ("describe", "transcribe", "video"):
            with subtests.test(name=one_line(name), command=command):
                result = tiny_g4(command, f"./{name}")
                assert result.exit_code == 3
                shown = one_line(" ".join(name.splitlines()))
                assert result.stderr.startswith(f"g4: ./{shown}: no such file")
                assert result.stderr.count("\n") == 1
                assert "\x1b" not in result.stderr


HOSTILE = [
    "\x1b]0;t\x07",
    "\x9b2J",
    "a\nb",
    "\u202egpj",
    "\udcff",
    "%s{0}[x]",
    "x" * 300,
    "/y" * 2048,
]
"""The last is a path of 4,096 bytes, one more than Linux takes with the byte that ends it."""


def test_a_hostile_name_is_one_line_of_every_command(subtests: pytest.Subtests) -> None:
    for words in [
        "describe NAME",
        "describe NAME NAME/x",
        "describe IMAGE --schema NAME",
        "describe IMAGE -m NAME",
        "video NAME",
        "video NAME --save-frames out",
        "transcribe NAME",
        "transcribe NAME -o out/ -f srt",
        "chat -p Hello --image NAME",
        "chat -p Hello -a NAME",
        "chat -p Hello --file NAME",
        "chat --messages NAME",
        "chat -p Hello --session ./NAME",
        "chat --delete ./NAME --yes",
        "trace IMAGE -m NAME",
        "models info NAME",
        "models remove NAME --yes",
        "models path NAME",
        "config NAME value",
        "completion NAME",
        "NAME",
    ]:
        for name in HOSTILE:
            line = [sample(IMAGE) if word == "IMAGE" else word for word in words.split()]
            line = [str(word).replace("NAME", name) for word in line]
            with subtests.test(command=words, name=name[:10]):
                run = g4_at_a_terminal(*line, *(["-q"] if "Hello" in line else []))
                assert run.exit_code in (1, 2, 3, 4)
                assert run.stdout == ""
                assert run.stderr.endswith("\n") and "unexpected error" not in run.stderr
                assert run.stderr.count("\n") <= 2 and "Traceback" not in run.stderr
                assert not set(run.stderr) & {"\x1b", "\x07", "\x9b", "\u202e", "\udcff"}


def test_no_escape_sequence_of_a_name_reaches_a_terminal(folder: Path) -> None:
    env = environment(stdout=Tty(), stderr=Tty(), **{**os.environ, "TERM": "dumb"})
    run = g4_in(env, "transcribe", "-m", "tiny", folder)
    assert run.exit_code == 0
    assert "\x1b" not in run.stdout + run.stderr


def test_a_process_writes_such_names_in_any_encoding(folder: Path) -> None:
    for encoding in ("utf-8", "ascii"):
        done = run_g4("transcribe", "-m", "tiny", "odd", env={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.count(b"\n") == len(ODD) + 2


def test_what_is_shown_is_on_one_line() -> None:
    assert one_line("a\nb\tc\rd\x1b\x7f\x9b\u2028é\udcff日") == (
        "a\\nb\\tc\\rd\\x1B\\x7F\\x9B\\u2028é\\xFF日"
    )
    assert printable("\udcff\n", io.StringIO()) == "\\xFF\n"


def test_the_path_of_a_model_is_for_programs() -> None:
    folder = os.path.join(os.fsencode(os.getcwd()), b"model\xff")
    os.mkdir(folder)
    Path(os.fsdecode(folder), "config.json").write_text("{}")
    done = run_g4("models", "path", os.fsdecode(folder))
    assert (done.returncode, done.stdout) == (0, folder + b"\n")
