"""The manual page in completions/ is the one that the commands make, and groff takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from gemma4cli.cli.app import app
from gemma4cli.cli.output.exit_codes import ExitCode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from generate import manual  # noqa: E402

PAGE = ROOT / "completions" / "g4.1"


@pytest.fixture(scope="module")
def page() -> str:
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    return manual(program)


def plain(page: str) -> str:
    """The text without fonts and escapes."""
    text = re.sub(r"\\f[BIR]|\\&", "", page)
    for sign, char in ((r"\-", "-"), (r"\(aq", "'"), (r"\(dq", '"'), (r"\(ti", "~")):
        text = text.replace(sign, char)
    return text


def test_page_is_fresh(page: str) -> None:
    assert PAGE.read_text("utf-8") == page, "update it: python docs/generate.py > completions/g4.1"


def test_every_option_is_there(page: str) -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    flags = {
        flag
        for command in program.commands.values()
        for option in command.params
        for flag in (*option.opts, *option.secondary_opts)
        if flag.startswith("-")
    }
    terms = set(re.findall(r"(?<![\w-])--?\w[\w-]*", plain(page)))
    assert flags <= terms


def test_commands_of_groups_are_there(page: str) -> None:
    assert '.SS "g4 models list"' in page


def test_every_exit_status_is_there(page: str) -> None:
    _, _, statuses = page.partition(".SH EXIT STATUS")
    assert set(re.findall(r"^\\fB(\d+)\\fR$", statuses, re.M)) == {str(int(c)) for c in ExitCode}


def test_choices_are_there(page: str) -> None:
    assert "txt, srt, vtt, tsv, json or all" in plain(page)


def test_line_that_begins_with_a_dot_is_text(page: str) -> None:
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".PP", ".TP", ".RS", ".RE", ".EX", ".EE", ".br"}


def test_groff_has_nothing_to_say() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-Tutf8", "-k", "-ww", "-rLL=78n", str(PAGE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert "--max-tokens" in done.stdout
