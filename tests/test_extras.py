"""What is missing is named with a command that can be typed as it stands."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from gemma4cli.extras import PACKAGES, install_command, rebuild_command, reinstall_command

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_packages_are_those_of_the_extras() -> None:
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    for extra, packages in PACKAGES.items():
        assert [required.split(">")[0] for required in extras[extra]] == packages.split()


def where(monkeypatch: pytest.MonkeyPatch, folder: str, *, pip: str | None) -> None:
    """As if g4 ran in an environment, and the shell found this pip."""
    monkeypatch.setattr(sys, "prefix", folder)
    monkeypatch.setattr(sys, "executable", f"{folder}/bin/python")
    monkeypatch.setattr(shutil, "which", lambda name: pip)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def test_the_pip_of_an_active_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    where(monkeypatch, "/home/ada/g4/.venv", pip="/home/ada/g4/.venv/bin/pip")
    assert install_command("cuda") == "pip install 'mlx[cuda13]'"
    assert reinstall_command("av") == "pip install --force-reinstall av"


def test_another_pip_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    where(monkeypatch, "/home/ada/my g4", pip="/usr/bin/pip")
    python = "'/home/ada/my g4/bin/python'"
    assert install_command("heif") == f"{python} -m pip install pillow-heif"


def test_an_environment_of_uv_has_no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    where(monkeypatch, "/home/ada/uv/tools/gemma4cli", pip=None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    python = "/home/ada/uv/tools/gemma4cli/bin/python"
    assert install_command("cpu") == f"uv pip install --python {python} 'mlx[cpu]'"


def test_an_environment_of_pipx(monkeypatch: pytest.MonkeyPatch) -> None:
    where(monkeypatch, "/home/ada/.local/share/pipx/venvs/gemma4cli", pip=None)
    assert install_command("heif") == "pipx runpip gemma4cli install pillow-heif"


@pytest.mark.parametrize(
    ("record", "origin"),
    [
        (
            {"url": "file:///home/ada/my%20g4", "dir_info": {"editable": True}},
            "-e '/home/ada/my g4'",
        ),
        ({"url": "file:///home/ada/g4", "dir_info": {}}, "/home/ada/g4"),
        (
            {"url": "https://github.com/g4-cli/g4", "vcs_info": {"vcs": "git", "commit_id": "1a"}},
            "--no-cache-dir git+https://github.com/g4-cli/g4",
        ),
        (
            {"url": "https://ada.org/g4.tar.gz", "archive_info": {}},
            "--no-cache-dir https://ada.org/g4.tar.gz",
        ),
        (None, "--no-cache-dir gemma4cli"),
    ],
)
def test_g4_is_built_again_from_where_it_came(
    monkeypatch: pytest.MonkeyPatch, record: dict[str, object] | None, origin: str
) -> None:
    where(monkeypatch, "/home/ada/.venv", pip="/home/ada/.venv/bin/pip")
    text = record and json.dumps(record)
    found = SimpleNamespace(read_text=lambda name: text if name == "direct_url.json" else "")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)
    assert rebuild_command() == f"pip install --force-reinstall --no-deps {origin}"
