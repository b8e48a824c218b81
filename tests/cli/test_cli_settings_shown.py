"""``g4 config``: every setting, its value and where it comes from."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cli_runs import ROOT, assert_fails, g4, records

PROJECT = Path(".g4.toml")


def user_file() -> Path:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "g4" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def shown(*arguments: str) -> dict[tuple[str | None, str], dict[str, Any]]:
    """The records of ``g4 config --json``, by command and key."""
    result = g4("config", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {(each["command"], each["key"]): each for each in records(result)}


def test_defaults() -> None:
    settings = shown()
    assert {each["source"] for each in settings.values()} == {"default"}
    assert {"model", "dtype", "temperature", "think", "quiet"} <= {
        key for command, key in settings if command is None
    }
    assert settings[None, "dtype"]["value"] == "auto"
    assert settings["transcribe", "format"] == {
        "command": "transcribe",
        "key": "format",
        "value": "txt",
        "source": "default",
        "from": None,
        "variable": "G4_TRANSCRIBE_FORMAT",
    }


def test_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    PROJECT.write_text('seed = 4\n[transcribe]\nformat = "srt"')
    user_file().write_text("seed = 5\nthink = true")
    monkeypatch.setenv("G4_TEMPERATURE", "0.5")
    settings = shown()
    project, user = str(PROJECT.absolute()), str(user_file())
    assert [
        (settings[path]["value"], settings[path]["source"], settings[path]["from"])
        for path in [
            (None, "seed"),
            (None, "think"),
            (None, "temperature"),
            ("transcribe", "format"),
        ]
    ] == [
        (4, "file", project),
        (True, "file", user),
        (0.5, "environment", "G4_TEMPERATURE"),
        ("srt", "file", project),
    ]


def test_a_shared_setting_is_listed_for_a_command_if_it_differs() -> None:
    PROJECT.write_text("seed = 4\n[video]\nseed = 5")
    settings = shown()
    assert (settings[None, "seed"]["value"], settings["video", "seed"]["value"]) == (4, 5)
    assert ("describe", "seed") not in settings


def test_one_command_has_all_that_holds_for_it() -> None:
    PROJECT.write_text("seed = 4\ntemperature = 0.9\n[video]\nseed = 5")
    video = shown("video")
    assert {command for command, _ in video} == {"video"}
    assert (video["video", "seed"]["value"], video["video", "temperature"]["value"]) == (5, 0.9)
    assert shown("transcribe")["transcribe", "temperature"]["source"] == "default"


def test_every_line_fits_a_terminal() -> None:
    PROJECT.write_text(f'[chat]\nsystem = "{"Be brief. " * 20}"')
    lines = g4("config").stdout.splitlines()
    project = str(PROJECT.absolute())
    assert max(len(line.replace(project, "")) for line in lines) <= 80
    at = next(i for i, line in enumerate(lines) if line.startswith("system "))
    assert lines[at].endswith("…") and lines[at + 1].strip() == project


def test_text() -> None:
    PROJECT.write_text("top_k = 3\n[describe]\ntogether = true")
    lines = [line.split()[:2] for line in g4("config").stdout.splitlines()]
    assert [
        line for line in lines if line and line[0] in ("top_k", "seed", "[describe]", "together")
    ] == [["top_k", "3"], ["seed", "-"], ["[describe]"], ["together", "true"]]


def test_home_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    PROJECT.write_text("seed = 4")
    (line,) = [each for each in g4("config").stdout.splitlines() if each.startswith("seed")]
    assert line.split() == ["seed", "4", "~/.g4.toml"]


def test_value_is_data() -> None:
    PROJECT.write_text('[chat]\nsystem = "a\\nb"')
    assert "a b" in g4("config", "chat").stdout


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PROJECT.write_text("model = ")  # no matter: it is not read
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    found = {each["path"]: each["exists"] for each in records(g4("config", "path", "--json"))}
    paths = list(found)
    nearest, project = tmp_path / "below" / ".g4.toml", tmp_path / ".g4.toml"
    assert paths[:2] == [str(nearest), str(project)] and paths[-1] == str(user_file())
    assert [path for path, exists in found.items() if exists] == [str(project)]
    lines = g4("config", "path").stdout.splitlines()
    assert [line.split() for line in lines[:2]] == [["-", str(nearest)], ["found", str(project)]]


@pytest.mark.parametrize("topic", ["models", "nonsense"])
def test_unknown_topic(topic: str) -> None:
    assert_fails(g4("config", topic), 2, f"{topic} has no settings: name one of describe, ")


def test_bad_value_is_an_error() -> None:
    PROJECT.write_text("[video]\nfps = true")
    assert_fails(g4("config"), 2, f"{PROJECT.absolute()}: video.fps must be a number, not True")


def test_variable_that_means_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G4_TEMPRATURE", "1")
    monkeypatch.setenv("G4_IGNORE_MEMORY", "1")
    result = g4("config", "--json")
    assert result.stderr == "G4_TEMPRATURE is not a setting of g4; did you mean G4_TEMPERATURE?\n"
    assert all(json.loads(line) for line in result.stdout.splitlines())


def test_settings_of_version_0_1_keep_their_meaning() -> None:
    saved = ROOT / "fixtures" / "formats" / "settings" / ".g4.toml"
    shutil.copy(saved, user_file())  # a project may not set all of it
    expected: dict[tuple[str | None, str], object] = {}
    for key, value in tomllib.loads(saved.read_text("utf-8")).items():
        own = value if isinstance(value, dict) else {key: value}
        table = key if isinstance(value, dict) else None
        expected |= {(table, each): own[each] for each in own}
    assert len(expected) > 40
    found = {path: (each["value"], each["source"]) for path, each in shown().items()}
    wrong = {
        path: found.get(path)
        for path, value in expected.items()
        if found.get(path) != (value, "file")
    }
    assert wrong == {}
