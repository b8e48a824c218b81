"""``g4 models pull`` and ``rm``: confirmed, announced, and complete in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runs import Tty, assert_fails, environment, g4, g4_with_a_person, records
from support.fake_hub import FakeHub, running, set_constants

import gemma4cli
from gemma4cli import api
from gemma4cli.cli.output import download_progress as downloads
from gemma4cli.cli.output.download_progress import run
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.download import plan

REPO = "someone/gemma"
TINY = Path(gemma4cli.__file__).parent / "builtin" / "tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with a whole small model."""
    with running(monkeypatch, tmp_path / "hub") as fake:
        fake.repos[REPO] = {path.name: path.read_bytes() for path in TINY.iterdir()}
        set_constants(monkeypatch, DOWNLOAD_CHUNK_SIZE=500_000)
        yield fake


def test_a_pulled_model_can_be_used(hub: FakeHub, tmp_path: Path) -> None:
    result = g4("models", "pull", REPO, "--yes")
    assert result.exit_code == 0
    assert g4("models", "path", REPO).stdout == result.stdout
    (record,) = records(g4("models", "list", "--json"))[len(list(BUILTIN)) :]
    assert (record["repo"], record["complete"], record["fits"]) == (REPO, True, True)
    assert g4("models", "info", REPO).exit_code == 0


def test_a_download_shows_its_size_and_progress(hub: FakeHub, tmp_path: Path) -> None:
    lines = g4("models", "pull", REPO, "--yes").stderr.splitlines()
    assert lines[0].startswith(f"{REPO}: ") and "to download" in lines[0]
    assert lines[1].startswith(f"into {tmp_path / 'hub' / 'models--someone--gemma'}")
    assert len(lines) > 5 and all(" of " in line for line in lines[2:])


def test_a_quiet_download_says_nothing(hub: FakeHub) -> None:
    assert g4("models", "pull", REPO, "--yes", "-q").stderr == ""


def test_a_download_without_a_person_needs_yes(hub: FakeHub) -> None:
    assert_fails(g4("models", "pull", "e2b"), 2, "not a terminal", "--yes")
    assert hub.asked == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_a_download_asks_first(hub: FakeHub, answer: str, code: int) -> None:
    result = g4_with_a_person("models", "pull", REPO, typed=answer)
    assert result.exit_code == code
    assert "Download it? [y/N]" in result.stderr
    assert bool(hub.ranges("model.safetensors")) == (code == 0)


def test_a_model_in_the_cache_needs_no_question(hub: FakeHub) -> None:
    g4("models", "pull", REPO, "--yes")
    result = g4_with_a_person("models", "pull", REPO, typed="")
    assert result.exit_code == 0 and "Download it?" not in result.stderr


def test_an_interrupted_download_says_how_to_resume_it(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: downloads.DownloadProgress, done: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads.DownloadProgress, "show", interrupt)
    result = g4("models", "pull", REPO, "--yes")
    assert result.exit_code == 130
    assert f"g4 models pull {REPO} resumes it" in result.stderr


def test_a_download_has_a_bar_on_a_terminal(hub: FakeHub) -> None:
    screen = Tty()
    env = environment(stderr=screen, TERM="xterm")
    planned = plan(REPO)
    run(env, planned, REPO, quiet=False)
    assert "MB" in screen.getvalue() and " of " not in screen.getvalue()


def test_a_model_that_cannot_be_pulled_is_an_error(subtests: pytest.Subtests, hub: FakeHub) -> None:
    for name, code, problem in [
        ("tinny", 4, "did you mean tiny?"),
        ("tiny", 4, "it is built in"),
        ("someone/else", 4, "the hub has no such repository"),
        ("a b/c", 4, "not a valid repository name"),
    ]:
        with subtests.test(name=name, code=code, problem=problem):
            assert_fails(g4("models", "pull", name, "--yes"), code, problem)


def test_offline(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_constants(monkeypatch, HF_HUB_OFFLINE=True)
    assert_fails(g4("models", "pull", "e2b", "--yes"), 4, "offline")


def names_listed() -> list[str]:
    return [entry.name for entry in api.list_models()]


def test_a_removed_model_is_not_listed(hub: FakeHub) -> None:
    g4("models", "pull", REPO, "--yes")
    result = g4("models", "rm", REPO, "--yes")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{REPO} was deleted; 9." in result.stderr and "MB freed" in result.stderr
    assert names_listed() == list(BUILTIN)


def test_a_removal_without_a_person_needs_yes(hub: FakeHub) -> None:
    g4("models", "pull", REPO, "--yes")
    assert_fails(g4("models", "rm", REPO), 2, "not a terminal", "--yes")
    assert REPO in names_listed()


@pytest.mark.parametrize(("answer", "kept"), [("y\n", False), ("n\n", True), ("", True)])
def test_a_removal_asks_first(hub: FakeHub, answer: str, kept: bool) -> None:
    g4("models", "pull", REPO, "--yes")
    result = g4_with_a_person("models", "rm", REPO, typed=answer)
    assert "Delete it? [y/N]" in result.stderr
    assert (REPO in names_listed()) == kept


def test_a_model_that_cannot_be_removed_is_an_error(
    subtests: pytest.Subtests, hub: FakeHub
) -> None:
    for name, problem in [
        ("tiny", "it is built in; name a model in the hub cache"),
        ("e2b", "not in the local cache"),
        (".", "delete it yourself"),
    ]:
        with subtests.test(name=name, problem=problem):
            assert_fails(g4("models", "rm", name, "--yes"), 4, problem)
            assert TINY.is_dir()
