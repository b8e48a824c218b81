"""What people type from habit is answered with the command to type, on one line."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from cli_runs import Exchange, assert_fails, g4
from support.samples import sample
from typer.core import TyperGroup
from typer.testing import CliRunner

from gemma4cli import __version__
from gemma4cli.cli.app import app
from gemma4cli.cli.habits.commands import COMMAND_HABITS
from gemma4cli.cli.habits.files import is_question
from gemma4cli.cli.habits.options import OPTION_HABITS
from gemma4cli.cli.output.help_pages import known_options


@pytest.fixture(autouse=True)
def _files() -> None:
    shutil.copy(sample("image02.png"), "photo.png")
    shutil.copy(sample("speech00.wav"), "a.wav")
    shutil.copy(sample("video00.mp4"), "clip.mp4")
    shutil.copy("clip.mp4", "clip without suffix")
    Path("pics").mkdir()
    shutil.copy("photo.png", "pics")
    Path("notes.txt").write_text("Some words.")


COMMANDS = {
    # A command is missing
    "photo.png": "describe photo.png",
    "a.wav": "transcribe a.wav",
    "clip.mp4": "video clip.mp4",
    "'clip without suffix'": "video 'clip without suffix'",
    "pics": "describe pics",
    "pics/": "describe pics/",
    "missing.png": "describe missing.png",
    "missing.m4a": "transcribe missing.m4a",
    "notes.txt": "chat -p 'Summarize this.' < notes.txt",
    "https://example.com/a.png": "describe https://example.com/a.png --allow-urls",
    "photo.png -m tiny": "describe photo.png -m tiny",
    "photo.png 'What is this?'": "describe photo.png -p 'What is this?'",
    "'What is this?' clip.mp4": "video clip.mp4 -p 'What is this?'",
    "'What is the capital of France?'": "chat -p 'What is the capital of France?'",
    "'Write a poem'": "chat -p 'Write a poem'",
    "What is the capital": "chat -p 'What is the capital'",
    "-p Hello": "chat -p Hello",
    "-m tiny": "chat -m tiny",
    "-m tiny photo.png": "describe photo.png -m tiny",
    "--model tiny describe photo.png": "describe photo.png --model tiny",
    "--model=tiny describe photo.png": "describe photo.png --model=tiny",
    "--temp 0 describe photo.png": "describe photo.png --temperature 0",
    "--json models list": "models list --json",
    # It has another name
    "list": "models list",
    "ls": "models list",
    "ps": "models list",
    "pull e2b": "models pull e2b",
    "rm e2b --yes": "models rm e2b --yes",
    "show tiny": "models info tiny",
    "run e2b": "chat -m e2b",
    "run e2b 'Why is the sky blue?'": "chat -p 'Why is the sky blue?' -m e2b",
    "run e2b photo.png": "describe photo.png -m e2b",
    "run e2b 'Describe this: ./photo.png'": "describe ./photo.png -p 'Describe this' -m e2b",
    "run --verbose e2b Hello": "chat -p Hello -m e2b --debug",
    "run e2b --format json Hello": "chat -p Hello -m e2b --json",
    "run tiny --think=false Hello": "chat -p Hello -m tiny --no-think",
    "e2b Hello": "chat -p Hello -m e2b",
    "install e2b": "models pull e2b",
    "aliases": "models list --all",
    "default e2b": "config set model e2b",
    "what is this photo.png": "describe photo.png -p 'what is this'",
    "-c": "chat -c",
    "-c 'And now?'": "chat -p 'And now?' -c",
    "-f notes.txt Summarize": "chat -p Summarize --file notes.txt",
    "/help": "chat",
    "caption photo.png --temp 0": "describe photo.png --temperature 0",
    "server --port 8080": "serve --port 8080",
    "logs": "chat --list",
    "prompt 'Say hi' -m tiny": "chat -p 'Say hi' -m tiny",
    "ask photo.png 'What is it?'": "describe photo.png -p 'What is it?'",
    "caption photo.png": "describe photo.png",
    "transcript a.wav -f srt": "transcribe a.wav -f srt",
    "translate a.wav": "transcribe --translate-to English a.wav",
    "descibe photo.png": "describe photo.png",
    "Describe photo.png": "describe photo.png",
    "model list": "models list",
    "models ls": "models list --all",
    "models show tiny": "models info tiny",
    "models e2b": "models info e2b",
    "models lst": "models list",
}

OPTIONS = {
    "describe photo.png --temp 0.2": "describe photo.png --temperature 0.2",
    "describe photo.png -t 0.2 -n 20": "describe photo.png --temperature 0.2 --max-tokens 20",
    "describe photo.png -n20": "describe photo.png --max-tokens 20",
    "describe photo.png --max_new_tokens=20": "describe photo.png --max-tokens 20",
    "describe --image photo.png": "describe photo.png",
    "describe photo.png --device cpu": "describe photo.png",
    "describe photo.png -ngl 99 --threads 4": "describe photo.png",
    "describe photo.png -v": "describe photo.png --debug",
    "video clip.mp4 --format json": "video clip.mp4 --json",
    "describe photo.png --output_dir out": "describe photo.png -o out/",
    "describe photo.png --temprature 1": "describe photo.png --temperature 1",
    "describe photo.png --ouput=a.txt": "describe photo.png --output a.txt",
    "describe -r pics": "describe pics",
    "video clip.mp4 --start 1 --max-frames 4": "video clip.mp4 --from 1 --video-max-frames 4",
    "describe photo.png What is this": "describe photo.png -p 'What is this'",
    "describe photo.png -m tiny whats this?": "describe photo.png -m tiny -p 'whats this?'",
    "config get model": "config",
    "chat photo.png": "chat -a photo.png",
    "chat photo.png 'What is this?' -m tiny": "chat 'What is this?' -a photo.png -m tiny",
    "chat -s Brief. -p Hi": "chat --system Brief. -p Hi",
    "chat -i photo.png -p Hi": "chat --image photo.png -p Hi",
    "chat --n-predict 9 -p Hi": "chat --max-tokens 9 -p Hi",
    "transcribe a.wav --output_dir out/ --output_format srt": "transcribe a.wav -o out/ -f srt",
    "transcribe a.wav --task translate": "transcribe a.wav --translate-to English",
    "transcribe a.wav --task transcribe": "transcribe a.wav",
    "transcribe a.wav --translate": "transcribe a.wav --translate-to English",
    "transcribe a.wav --initial_prompt Ada": "transcribe a.wav --vocabulary Ada",
    "transcribe a.wav -p Ada": "transcribe a.wav --vocabulary Ada",
    "transcribe a.wav --word_timestamps True": "transcribe a.wav",
    "transcribe --word_timestamps a.wav": "transcribe a.wav",
    "transcribe a.wav --verbose False": "transcribe a.wav -q",
    "transcribe a.wav --diarize": "transcribe a.wav",
    "transcribe a.wav -osrt": "transcribe a.wav -f srt",
    "transcribe a.wav -f subrip": "transcribe a.wav -f srt",
    "transcribe a.wav --format=text": "transcribe a.wav -f txt",
    "transcribe a.wav -ojf -pp -nt -p 4": "transcribe a.wav -f json",
    "transcribe a.wav -ml 40 -fa": "transcribe a.wav --max-line-width 40",
    "transcribe a.wav --highlight_words True": "transcribe a.wav",
    "transcribe a.wav --chunk_length 30": "transcribe a.wav",
    "transcribe a.wav out.srt -m tiny": "transcribe a.wav -m tiny -o out.srt",
    "transcribe a.wav 'What is said?' -m tiny": "chat 'What is said?' -a a.wav -m tiny",
    "describe photo.png pics captions.jsonl": "describe photo.png pics -o captions.jsonl",
    "describe photo.png --detail high": "describe photo.png --budget 1120",
    "chat what is this -m tiny": "chat 'what is this' -m tiny",
    "chat missing.png 'What is this?'": "chat 'What is this?' -a missing.png",
    "chat notes.txt Summarize": "chat Summarize --file notes.txt",
    "chat photo.png notes.txt": "chat -a photo.png --file notes.txt",
    "chat -f notes.txt Hi": "chat --file notes.txt Hi",
    "chat -n Hi": "chat --no-log Hi",
    "chat -n -1 Hi": "chat Hi",
    "chat -o temperature 0.2 Hi": "chat --temperature 0.2 Hi",
    "chat -sys 'Be brief.' -no-cnv -p Hi": "chat --system 'Be brief.' -p Hi",
    "chat -hf org/gemma --jinja -p Hi": "chat -m org/gemma -p Hi",
    "chat --max-kv-size 4096 --keepalive 5m Hi": "chat Hi",
    "chat --base-url http://h/v1 Hi": "chat --server http://h/v1 Hi",
    "serve --api-key secret": "serve --token secret",
    "chat -ctk q8_0 -ctv q8_0 Hi": "chat --kv-bits 8 Hi",
    "chat --kv-cache-dtype fp8 Hi": "chat --kv-bits 8 Hi",
    "chat --cache-type-k f16 Hi": "chat Hi",
    "chat --kv-bits 4 --kv-group-size 32 --quantized-kv-start 5000 Hi": "chat --kv-bits 8 Hi",
    "transcribe a.wav -ctk q8_0": "transcribe a.wav",
    "chat --think=false Hi": "chat --no-think Hi",
    "chat --think=high Hi": "chat --think Hi",
    "transcribe a.wav -of out": "transcribe a.wav -o out",
    "transcribe -f a.wav -l en": "transcribe a.wav --language en",
    "transcribe a.wav --language auto": "transcribe a.wav",
    "transcribe a.wav --device cuda": "transcribe a.wav",
    "transcribe a.wav -t 4": "transcribe a.wav",
    "transcribe a.wav --fp16 False": "transcribe a.wav --dtype float32",
}


@pytest.mark.parametrize(("typed", "instead"), [*COMMANDS.items(), *OPTIONS.items()])
def test_habit_is_answered_with_the_command_to_type(typed: str, instead: str) -> None:
    result = g4(*shlex.split(typed))
    assert_fails(result, 2, "type: g4")
    assert result.stderr.partition("type: g4 ")[2] == f"{instead}\n"


def test_what_is_to_be_typed_is_accepted() -> None:
    """Of each command only the options are read."""
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    for instead in [*COMMANDS.values(), *OPTIONS.values()]:
        name, *line = shlex.split(instead.partition(" < ")[0])
        command = program.commands[name]
        if isinstance(command, TyperGroup):
            name, *line = line
            command = command.commands[name]
        command.make_context(name, line, obj=None)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("describe photo.png --system Brief.", "g4 chat --system TEXT"),
        ("video clip.mp4 -s Brief.", "put the instructions into -p"),
        ("describe photo.png -V", "g4 --version"),
        ("-v", "g4 --version"),
        ("--list", "g4 models list"),
        ("--install-completion", "g4 completion bash --install"),
        ("transcribe a.wav --from 1:00", "ffmpeg -i RECORDING -ss START -to END part.wav"),
        ("transcribe a.wav --duration 5000", "cut out a part first"),
        ("transcribe a.wav -olrc", "-f takes txt, srt"),
        ("transcribe a.wav --model_dir weights", "name a folder of weights with -m FOLDER"),
        ("describe photo.png --language German", "ask for the language in the question"),
        ("describe photo.png --max-pixels 9", "--budget N"),
        ("chat --adapter-path x Hi", "--adapter x"),
        ("describe photo.png -help", "type: g4 describe photo.png --help"),
        ("create mine -f Modelfile", "there is no command create: "),
        ("push e2b", "there is no command push: "),
        ("embed Hello", "there is no command embed: "),
        ("config max_tokens 9", "g4 config set max_tokens 9"),
        ("describe 'What is this?'", "type: g4 describe FILE -p 'What is this?'"),
    ],
)
def test_habit_without_one_command_is_explained(typed: str, said: str) -> None:
    assert_fails(g4(*shlex.split(typed)), 2, said)


@pytest.mark.parametrize(
    ("typed", "not_said"),
    [
        ("nonsense", "did you mean"),
        ("describe photo.png --nonsense", "did you mean"),
        ("chat -szy Hi", "--system"),
        ("cp a b", "chat"),
        ("caption photo.png", "completion"),
        ("describe photo.png --system x", "--schema"),
    ],
)
def test_nothing_far_off_is_suggested(typed: str, not_said: str) -> None:
    result = g4(*shlex.split(typed))
    assert result.exit_code == 2
    assert not_said not in result.stderr


def test_help_and_version_as_commands(subtests: pytest.Subtests) -> None:
    assert g4("version").stdout == g4("-V").stdout == f"g4 {__version__}\n"
    for words in ["", "describe", "models", "models pull"]:
        with subtests.test(words=words):
            result = CliRunner().invoke(app, ["help", *words.split()])
            shown = CliRunner().invoke(app, [*words.split(), "--help"])
            assert (result.exit_code, result.stdout.strip()) == (0, shown.stdout.strip())
    assert g4("models", "help", "pull").exit_code == 0
    assert g4("help", "nonsense").exit_code == 2


def test_dashes_and_underscores_are_the_same(sent: Exchange) -> None:
    assert g4("describe", "photo.png", "-m", "tiny", "--max_tokens", "3").exit_code == 0
    assert sent.options[0].max_tokens == 3


def test_case_does_not_matter_for_choices(subtests: pytest.Subtests) -> None:
    for line in [
        "transcribe a.wav -m TINY -f SRT",
        "describe photo.png -m tiny --dtype FLOAT32 --budget AUTO --pictures Never",
        "completion BASH",
    ]:
        with subtests.test(line=line):
            result = g4(*line.split())
            assert result.exit_code == 0, result.stderr


# A question after the files


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("describe photo.png 'What is this?'", "What is this?"),
        ("describe 'What is this?' photo.png", "What is this?"),
        ("describe photo.png Why?", "Why?"),
        ("describe photo.png 'Name the colors' --max-tokens 9", "Name the colors"),
        ("describe photo.png --together pics 'And/or what?'", "And/or what?"),
        ("describe photo.png -p 'What is this?'", "What is this?"),
        ("video clip.mp4 'What is 2.5 m high?'", "What is 2.5 m high?"),
    ],
)
def test_a_question_may_follow_the_files(line: str, question: str, sent: Exchange) -> None:
    result = g4(*shlex.split(line), "-m", "tiny")
    assert result.exit_code == 0, result.stderr
    assert sent.text == question


def test_several_files_that_are_not_there_are_no_question() -> None:
    result = g4("describe", "one", "two", "three", "-m", "tiny", "-q")
    assert result.exit_code != 2 and "one: no such file" in result.stderr


@pytest.mark.parametrize(
    "word",
    [
        "phot.png",
        "my holiday.png",
        "my-photo",
        "pics/new ones/",
        "./some file",
        "~/a b",
        "https://example.com/a b",
        "photo?.png",
        "IMG_?",
        "clip with suffix",
        "What is in photo.png",
    ],
)
def test_a_file_that_is_not_there_is_no_question(word: str) -> None:
    assert not is_question(word)


# The tables


def test_habits_name_options_that_exist() -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    context = typer.Context(program)
    known = {
        flag for command in program.commands.values() for flag in known_options(command, context)
    }
    for habit in OPTION_HABITS:
        flag = habit.instead.partition(" ")[0]
        assert not flag.startswith("-") or flag in known, habit
        assert all(re.fullmatch(r"--?[\w-]+", each) and "_" not in each for each in habit.typed)
        assert set(habit.commands) <= set(program.commands)


def test_habits_hide_no_command() -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    for group, habits in COMMAND_HABITS.items():
        parent = program.commands[group] if group else program
        assert isinstance(parent, TyperGroup)
        typed = [name for habit in habits for name in habit.typed]
        assert len(typed) == len(set(typed))
        assert not set(typed) & set(parent.commands)
        for habit in habits:
            assert (habit.instead.split() or [habit.why])[0] in {*parent.commands, habit.why}
