"""What the README shows is what the program does."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from gemma4cli.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def console_examples() -> Iterator[tuple[str, str]]:
    """Command and output of every example that runs the built-in model."""
    for block in re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            if command.startswith("g4 ") and "-m tiny" in command:
                yield command, output


@pytest.mark.toy
@pytest.mark.parametrize(("command", "output"), list(console_examples()))
def test_console_example(command: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == output


def test_the_commands_of_the_examples_are_accepted() -> None:
    """Nothing is answered: of each command only the options are read."""
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    commands = [shlex.split(command)[1:] for command, _ in console_examples()]
    assert len(commands) >= 5
    for name, *arguments in commands:
        program.commands[name].make_context(name, arguments)


def test_the_python_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    described, _, streamed = capsys.readouterr().out.partition("\n")
    assert described.strip() and streamed.strip()


def test_the_first_block_puts_g4_on_the_path() -> None:
    """All that follows is written as ``g4``."""
    first = README.partition("```sh\n")[2].partition("```")[0].splitlines()[0]
    assert ". .venv/bin/activate" in first
    assert ".venv/bin/g4" not in README


def test_examples_run_before_a_model_is_pulled_or_say_that_they_need_one() -> None:
    before, _, _ = README.partition("Real answers need a real checkpoint")
    lines = re.findall(r"^(?:\$ )?(g4 .*|.*\| g4 .*|.*&& g4 .*)$", before, re.MULTILINE)
    assert len(lines) >= 5
    assert [line for line in lines if "-m tiny" not in line] == []


def test_the_address_is_the_same_everywhere() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert f"git clone {urls['Homepage']} " in README


def test_the_readme_is_short() -> None:
    assert README.count("\n") < 150


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert links and not missing


def test_the_public_workflow_and_make_run_the_commands_of_the_set_up() -> None:
    (block,) = re.findall(r"<!-- set-up -->\n```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    install, test = block.splitlines()
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert workflow.count(f"run: {install}\n") == 2
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"\t{test}\n" in makefile.replace("$(BIN)", ".venv/bin")
