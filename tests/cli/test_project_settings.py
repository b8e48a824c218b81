"""What a project's ``.g4.toml`` may not set, since it comes with the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_runs import Exchange, assert_fails, g4, g4_with, records

PROJECT = Path(".g4.toml")
URL = "http://127.0.0.1:9/a.png"
LINE = ("describe", URL, "-m", "tiny")


def write_user(text: str) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "g4"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(text)


@pytest.mark.parametrize("place", ["here", "above"])
def test_a_project_does_not_allow_addresses(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path.cwd() / PROJECT
    path.write_text("[describe]\nallow_urls = true\n")
    if place == "above":
        (path.parent / "sub").mkdir()
        monkeypatch.chdir(path.parent / "sub")
    result = g4(*LINE)
    notice, error = result.stderr.splitlines()
    assert result.exit_code == 3 and error.endswith("is an address: --allow-urls lets g4 fetch it")
    assert notice.startswith(f"{path}: describe.allow_urls is ignored: use --allow-urls")


def test_the_user_allows_addresses() -> None:
    refused = "Connection refused"
    assert_fails(g4(*LINE, "--allow-urls"), 3, refused)
    assert_fails(g4_with({"G4_DESCRIBE_ALLOW_URLS": "1"}, *LINE), 3, refused)
    write_user("[describe]\nallow_urls = true\n")
    assert_fails(g4(*LINE), 3, refused)
    PROJECT.write_text("[describe]\nallow_urls = true\n")
    assert_fails(g4(*LINE), 3, refused)
    PROJECT.write_text("[describe]\nallow_urls = false\n")
    assert_fails(g4(*LINE), 3, "is an address")


def test_what_is_ignored_is_said_where_it_matters(sent: Exchange) -> None:
    PROJECT.write_text("[describe]\nallow_urls = true\n")
    assert g4("chat", "-m", "tiny", "-p", "Hello").stderr == ""
    assert "ignored" not in g4(*LINE, "--allow-urls").stderr
    result = g4("config", "--json")
    assert result.stderr.count("describe.allow_urls is ignored") == 1
    (row,) = [
        each
        for each in records(result)
        if (each["command"], each["key"]) == ("describe", "allow_urls")
    ]
    assert (row["value"], row["source"]) == (False, "default")


@pytest.mark.parametrize("outside", ["../other", "{}/other", "inside/../../other", "./link"])
def test_a_project_names_no_model_outside_itself(
    outside: str, tmp_path: Path, sent: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, project = tmp_path / "other", tmp_path / "project"
    (project / "inside").mkdir(parents=True)
    other.mkdir()
    (project / "link").symlink_to(other)
    monkeypatch.chdir(project)
    PROJECT.write_text(f'model = "{outside.format(tmp_path)}"\n')
    write_user('model = "tiny"\n')
    result = g4("chat", "-p", "Hello")
    assert result.exit_code == 0, result.output
    assert "model is ignored, since it lies outside the project" in result.stderr
    for inside in ("./inside", "inside", "{}/project/inside"):
        PROJECT.write_text(f'model = "{inside.format(tmp_path)}"\n')
        result = g4("chat", "-p", "Hello")
        assert "ignored" not in result.stderr and result.exit_code != 0, "it is tried"


def test_config_set_refuses_what_would_be_ignored() -> None:
    result = g4("config", "set", "describe.allow_urls", "true", "--project")
    assert_fails(result, 2, "describe.allow_urls is ignored")
    assert not PROJECT.exists()
    assert g4("config", "set", "describe.allow_urls", "true").exit_code == 0
