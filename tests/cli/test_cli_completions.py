"""What shells offer: the scripts in completions/, and the words that the program answers with."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runs import ROOT, assert_fails, command_line, g4, g4_with, tiny_g4
from imports_seen import imports_of_run
from support.fake_hub import set_constants
from test_cli_start import HELP
from typer.testing import CliRunner

from gemma4cli.cli.app import app

SCRIPTS = {"bash": "g4.bash", "zsh": "_g4", "fish": "g4.fish"}


def variables(line: str) -> dict[str, str]:
    """Those in which the scripts give the line so far."""
    return {
        "_G4_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
    }


def offered(line: str) -> list[str]:
    result = CliRunner().invoke(app, [], env=variables(line), catch_exceptions=False)
    return [word.partition("\t")[0] for word in result.stdout.splitlines() if word]


@pytest.mark.parametrize(("shell", "name"), SCRIPTS.items())
def test_the_scripts_are_up_to_date(shell: str, name: str) -> None:
    printed = g4("completion", shell).stdout
    assert (ROOT / "completions" / name).read_text("utf-8") == printed, (
        f"update it: g4 completion {shell} > completions/{name}"
    )


def test_the_script_for_zsh_begins_with_its_mark() -> None:
    """compinit reads the first line and no other."""
    assert g4("completion", "zsh").stdout.startswith("#compdef g4\n")


def test_scripts_come_from_g4_completion_alone() -> None:
    """Typer's own leave out some words."""
    assert set(offered("g4 --")) == {"--version", "--help"}
    assert "completion" in offered("g4 ")
    assert g4("--install-completion").exit_code == 2


@pytest.mark.parametrize(
    ("shell", "variable", "place"),
    [
        ("bash", "XDG_DATA_HOME", "bash-completion/completions/g4"),
        ("zsh", "XDG_DATA_HOME", "zsh/site-functions/_g4"),
        ("fish", "XDG_CONFIG_HOME", "fish/completions/g4.fish"),
    ],
)
def test_a_script_is_installed_where_the_shell_looks(
    shell: str, variable: str, place: str, tmp_path: Path
) -> None:
    done = g4_with({variable: str(tmp_path / "base")}, "completion", shell, "--install")
    assert (done.exit_code, done.stdout) == (0, "")
    written = tmp_path / "base" / place
    assert str(written.parent) in done.stderr
    assert written.read_text("utf-8") == g4("completion", shell).stdout


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    variables = {"XDG_DATA_HOME": str(tmp_path / "file")}
    assert_fails(g4_with(variables, "completion", "bash", "--install"), 2, "cannot be written")


def test_commands() -> None:
    known = {"describe", "transcribe", "video", "chat", "models", "trace", "config", "doctor"}
    assert known <= set(offered("g4 "))
    assert offered("g4 trans") == ["transcribe"]


def test_options() -> None:
    assert offered("g4 describe --tem") == ["--temperature"]
    assert "--no-think" in offered("g4 chat --")


def test_choices() -> None:
    assert offered("g4 transcribe -f ") == ["txt", "srt", "vtt", "tsv", "json", "all"]
    assert offered("g4 describe --dtype f") == ["float32", "float16"]
    assert offered("g4 describe --budget 1") == ["140", "1120"]


def test_aliases_of_models() -> None:
    assert offered("g4 describe -m e") == ["e2b", "e4b"]
    assert {"tiny", "12b", "31b"} <= set(offered("g4 chat --model "))
    assert offered("g4 video --model=e2b:8") == ["e2b:8bit"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with two models of one person's, a Gemma 4 and another, and a published one."""
    set_constants(monkeypatch, HF_HUB_CACHE=str(tmp_path))
    for repo, kind in {
        "someone--gemma-mine": "gemma4",
        "someone--other": "whisper",
        "mlx-community--gemma-4-e4b-it-4bit": "gemma4",
    }.items():
        config = tmp_path / f"models--{repo}" / "snapshots" / "0f" / "config.json"
        config.parent.mkdir(parents=True)
        config.write_text(f'{{"model_type": "{kind}"}}')
    return tmp_path


@pytest.mark.usefixtures("cache")
def test_cached_models() -> None:
    assert offered("g4 chat -m some") == ["someone/gemma-mine"]
    assert not any(word.startswith("mlx-community") for word in offered("g4 chat -m "))


@pytest.mark.usefixtures("cache")
def test_models_are_offered_where_they_are_named() -> None:
    """Only those to pull that are not there, and only those to delete that are."""
    assert offered("g4 models pull e") == ["e2b"]
    assert offered("g4 models pull e2b:8") == ["e2b:8bit"]
    assert offered("g4 models rm ") == ["e4b", "someone/gemma-mine"]
    for command in ["info", "path"]:
        assert {"tiny", "e2b", "someone/gemma-mine"} <= set(offered(f"g4 models {command} "))


@pytest.mark.usefixtures("cache")
def test_offered_models_show_the_size_of_their_download() -> None:
    result = CliRunner().invoke(app, [], env=variables("g4 chat -m e"))
    assert result.stdout.splitlines() == [
        "e2b\tmlx-community/gemma-4-e2b-it-4bit, 3.5 GB",
        "e4b\tmlx-community/gemma-4-e4b-it-4bit",
    ]


def test_languages_are_offered(subtests: pytest.Subtests) -> None:
    for option in ["--language", "--translate-to"]:
        with subtests.test(option=option):
            assert {"de", "en"} <= set(offered(f"g4 transcribe {option} "))
            assert offered(f"g4 transcribe {option} Germ") == ["German"]
            assert not any(" " in word for word in offered(f"g4 transcribe {option} W"))


@pytest.mark.parametrize("option", ["--session", "--delete"])
def test_conversations(option: str) -> None:
    tiny_g4("chat", "--session", "talk", "-p", "Hello", "--max-tokens", "1")
    assert offered(f"g4 chat {option} t") == ["talk"]
    assert offered(f"g4 chat {option} x") == []


def test_files_are_left_to_the_shell(subtests: pytest.Subtests) -> None:
    """Where nothing is offered, the scripts fall back to files."""
    for line in ["g4 describe ", "g4 chat --image ", "g4 transcribe --device ", "g4 describe ./ph"]:
        with subtests.test(line=line):
            assert offered(line) == []


def test_topics_of_config() -> None:
    commands = ["describe", "transcribe", "video", "chat", "serve", "tune", "trace"]
    assert offered("g4 config ") == [*commands, "path", "set", "unset"]
    assert offered("g4 config set max_t") == ["max_tokens"]
    assert offered("g4 config unset chat.sys") == ["chat.system"]


def test_broken_settings_do_not_disturb() -> None:
    Path(".g4.toml").write_text("model = ")
    assert offered("g4 transcribe --language germ") == []
    assert "path" in offered("g4 config ")


@pytest.mark.parametrize(
    "line", [pytest.param("g4 ", marks=pytest.mark.slow), "g4 transcribe --language d"]
)
def test_completion_imports_nothing_heavy(line: str) -> None:
    output, imported = imports_of_run(env=variables(line))
    assert output
    assert imported.foreign <= HELP.foreign


@pytest.mark.slow
def test_completing_models_does_not_import_mlx() -> None:
    output, imported = imports_of_run(env=variables("g4 describe -m "))
    assert "e2b" in output
    assert imported.foreign & {"mlx", "mlx_lm", "numpy", "transformers"} == set()


# In real shells


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Runs code in a shell that has a g4 and has read its script; the lines that it prints."""
    program = tmp_path / "bin" / "g4"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command_line())} "$@"\n')
    program.chmod(0o755)

    def run(name: str, code: str) -> list[str]:
        where = shutil.which(name)
        if where is None:
            pytest.skip(f"{name} is not installed")
        script = ROOT / "completions" / SCRIPTS[name]
        plain = {"bash": "--norc", "zsh": "-f", "fish": "--no-config"}[name]
        done = subprocess.run(
            [where, plain, "-c", code.replace("SCRIPT", shlex.quote(str(script)))],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                **os.environ,
                "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(tmp_path),
            },
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run


LINES = [
    ("g4 describe -m e", ["e2b", "e4b"]),
    ("g4 describe --model=e2b:8", ["--model=e2b:8bit"]),
    ("g4 conf", ["config"]),
    ("g4 describe 'half", []),
]


@pytest.mark.parametrize(("line", "words"), LINES)
@pytest.mark.parametrize("breaks", [" ", " =:"])
@pytest.mark.slow
def test_bash(
    shell: Callable[[str, str], list[str]], line: str, words: list[str], breaks: str
) -> None:
    """Readline replaces the text after its last break, so only that may be returned."""
    code = f"""
complete() {{ :; }}
source SCRIPT
COMP_WORDBREAKS={shlex.quote(breaks)}
COMP_LINE={shlex.quote(line)}
COMP_POINT=${{#COMP_LINE}}
_g4_completion g4
[ ${{#COMPREPLY[@]}} = 0 ] || printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    if ":" in breaks:
        words = [word.rpartition(":")[2] for word in words]
    assert shell("bash", code) == words


@pytest.mark.slow
def test_bash_knows_the_command(shell: Callable[[str, str], list[str]]) -> None:
    assert shell("bash", "source SCRIPT; complete -p g4") == [
        "complete -o default -F _g4_completion g4"
    ]


@pytest.mark.parametrize(("line", "words"), LINES)
@pytest.mark.slow
def test_zsh(shell: Callable[[str, str], list[str]], line: str, words: list[str]) -> None:
    """zsh's own helpers are stood in for: they work at a terminal only."""
    *before, last = line.split(" ")
    code = f"""
compdef() {{ :; }}
compset() {{ :; }}
_files() {{ :; }}
_describe() {{ print -rl -- ${{(P)2}} }}
source SCRIPT
words=({shlex.join(before)} {shlex.quote(last)}) CURRENT=$#words PREFIX={shlex.quote(last)}
_g4
"""
    offered_words = [
        each.replace(r"\:", "\0").partition(":")[0].replace("\0", ":")
        for each in shell("zsh", code)
    ]
    assert offered_words == [word.removeprefix("--model=") for word in words]


@pytest.mark.parametrize(("line", "words"), LINES)
@pytest.mark.slow
def test_fish(shell: Callable[[str, str], list[str]], line: str, words: list[str]) -> None:
    code = f"source SCRIPT; complete -C {shlex.quote(line)}"
    assert [each.partition("\t")[0] for each in shell("fish", code)] == words


@pytest.mark.slow
def test_fish_falls_back_to_files(shell: Callable[[str, str], list[str]]) -> None:
    Path("photo.png").touch()
    code = "source SCRIPT; complete -C 'g4 describe ./ph'; complete -C 'g4 chat --image=./ph'"
    assert shell("fish", code) == ["./photo.png", "--image=./photo.png"]
