"""The generated references are what the commands say, and groff accepts the manual page."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from gemma4cli.cli.output.exit_codes import ExitCode
from gemma4cli.cli.run.options import SHARED
from gemma4cli.cli.settings.resolve import Settings

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import generate  # noqa: E402
from cli_page import reference  # noqa: E402
from g4_commands import commands, program  # noqa: E402
from man_page import manual  # noqa: E402

PAGE = ROOT / "completions" / "g4.1"


@pytest.fixture(scope="module")
def page() -> str:
    return manual(program())


@pytest.fixture(scope="module")
def markdown() -> str:
    return reference(program())


def plain(page: str) -> str:
    """The text without fonts and escapes."""
    text = re.sub(r"\\f[BIR]|\\&", "", page)
    for sign, char in ((r"\-", "-"), (r"\(aq", "'"), (r"\(dq", '"'), (r"\(ti", "~")):
        text = text.replace(sign, char)
    return text


def test_pages_are_fresh() -> None:
    assert list(generate.stale()) == [], "run python docs/generate.py"


def test_check_names_stale_files_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    for name, text in generate.pages().items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(SystemExit, match=r"^0$"):
        generate.main()
    (tmp_path / "docs" / "cli.md").write_text("old", "utf-8")
    with pytest.raises(SystemExit, match=r"^1$"):
        generate.main()
    assert capsys.readouterr().err == "docs/cli.md is stale: run python docs/generate.py\n"
    assert (tmp_path / "docs" / "cli.md").read_text("utf-8") == "old"


def test_every_option_is_there(page: str, markdown: str) -> None:
    flags = {
        flag
        for _, command in commands(program())
        for option in command.params
        for flag in (*option.opts, *option.secondary_opts)
        if flag.startswith("-")
    }
    for text in (plain(page), markdown):
        assert flags <= set(re.findall(r"(?<![\w-])--?\w[\w-]*", text))


def test_commands_of_groups_are_there(page: str, markdown: str) -> None:
    assert '.SS "g4 models list"' in page
    assert "\n## g4 models list\n" in markdown


def test_reference_has_shared_options_once(markdown: str) -> None:
    assert markdown.count("`--max-tokens N`") == 1


def test_reference_has_what_an_option_means_and_how_it_is_set(markdown: str) -> None:
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if "`--" in line]
    seed = "Seed for sampling."
    assert ["`--seed N`", seed, "", "`seed`, `G4_SEED`"] in rows
    width = "Columns per line; wide characters take two."
    setting = "`transcribe.max_line_width`, `G4_TRANSCRIBE_MAX_LINE_WIDTH`"
    assert ["`--max-line-width N`", width, "42", setting] in rows
    assert all("G4_" not in "".join(row) for row in rows if "`--output" in row[0])


def test_reference_names_every_setting(markdown: str) -> None:
    """``G4_NO_LOG`` and the like included; those of shared options are there for all commands."""
    settings = Settings(typer.Context(program()), SHARED)
    meant = {
        name
        for name, (command, key) in settings.variables()
        if command is None or key not in settings.shared
    }
    named = set(re.findall(r"`(G4_\w+)`", markdown))
    assert named == meant | {"G4_CHAT_MAX_TOKENS"}


def test_every_exit_status_is_there(page: str) -> None:
    _, _, statuses = page.partition(".SH EXIT STATUS")
    assert set(re.findall(r"^\\fB(\d+)\\fR$", statuses, re.M)) == {str(int(c)) for c in ExitCode}


def test_choices_are_there(page: str) -> None:
    assert "txt, srt, vtt, tsv, json or all" in plain(page)


def test_line_that_begins_with_a_dot_is_text(page: str) -> None:
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".PP", ".TP", ".RS", ".RE", ".EX", ".EE", ".br"}


def test_groff_accepts_the_page() -> None:
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
