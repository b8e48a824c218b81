"""Which model answers: -m, then G4_MODEL, then the project, then the user, then the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cli_runs import Exchange, assert_fails, g4, g4_with, g4_with_a_person, records

from gemma4cli.cli.environment import Environment
from gemma4cli.cli.run import runner
from gemma4cli.engine import memory_limits
from gemma4cli.hub import inventory, resolving
from gemma4cli.hub.download import cache_folder

pytestmark = pytest.mark.usefixtures("sent")


def model_used(*options: str, **variables: str) -> str:
    (record,) = records(g4_with(variables, "describe", "a.png", "--json", *options))
    return str(record["model"])


def assert_asks_for(name: str, *options: str, **variables: str) -> None:
    """The run wants the model ``name``, which does not exist."""
    run = g4_with(variables, "describe", "a.png", *options)
    assert_fails(run, 4, f"model '{name}' not found")


def write_project(folder: Path, name: str) -> None:
    (folder / ".g4.toml").write_text(f'model = "{name}"\n')


def write_user(name: str) -> None:
    folder = Path(os.environ["XDG_CONFIG_HOME"]) / "g4"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'model = "{name}"\n')


def test_option() -> None:
    assert model_used("-m", "tiny") == "tiny"


def test_option_before_variable() -> None:
    assert model_used("-m", "tiny", G4_MODEL="of-variable") == "tiny"
    assert_asks_for("of-option", "-m", "of-option", G4_MODEL="of-variable")


def test_variable_before_project(tmp_path: Path) -> None:
    write_project(tmp_path, "of-project")
    assert model_used(G4_MODEL="tiny") == "tiny"


def test_an_empty_variable_names_no_model(tmp_path: Path) -> None:
    write_project(tmp_path, "tiny")
    assert model_used(G4_MODEL="") == "tiny"


def test_project_before_user(tmp_path: Path) -> None:
    write_user("of-user")
    write_project(tmp_path, "tiny")
    assert model_used() == "tiny"


def test_project_in_a_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path, "tiny")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert model_used() == "tiny"


def test_path_in_a_project_starts_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, "./models/mine")
    deep = tmp_path / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    assert_asks_for(str(tmp_path / "models" / "mine"))


def test_nearest_project_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path, "of-project-above")
    below = tmp_path / "below"
    below.mkdir()
    write_project(below, "tiny")
    monkeypatch.chdir(below)
    assert model_used() == "tiny"


def test_project_that_names_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".g4.toml").write_text("# nothing yet\n")
    write_user("tiny")
    assert model_used() == "tiny"


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache holds a model, "of-cache"."""
    found = replace(resolving.resolve("tiny"), name="of-cache")
    monkeypatch.setattr(inventory, "largest_that_fits", lambda: found)


@pytest.mark.usefixtures("cached")
def test_user_before_cache() -> None:
    write_user("tiny")
    assert model_used() == "tiny"


@pytest.mark.usefixtures("cached")
def test_without_settings_the_largest_of_the_cache_answers() -> None:
    assert model_used() == "of-cache"


def test_removed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    write_user("tiny")
    assert model_used() == "tiny"
    monkeypatch.chdir(tmp_path)


def test_without_a_model_tiny_never_answers_unasked(sent: Exchange) -> None:
    result = g4("describe", "a.png")
    assert_fails(result, 4, "g4 models pull e2b", "-m tiny")
    assert sent.parts == []


@dataclass
class Downloads:
    """What the machine is made for, and the models that are downloaded, "tiny" under all names."""

    recommended: str | None = "e2b"
    names: list[str] = field(default_factory=list)

    def fetch(self, env: Environment, name: str, *, quiet: bool = False) -> Path:
        self.names.append(name)
        return Path("there")


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> Downloads:
    made = Downloads()
    tiny = resolving.resolve("tiny")
    resolve = resolving.resolve
    replaced = {
        (inventory, "recommended_model"): lambda: made.recommended,
        (resolving, "resolve"): lambda name: tiny if name in made.names else resolve(name),
        (runner, "fetch"): made.fetch,
    }
    for (module, name), function in replaced.items():
        monkeypatch.setattr(module, name, function)
    return made


@pytest.mark.parametrize(
    ("answers", "code"), [("n\ny\n", 0), ("\nYes\n", 0), ("n\nn\n", 4), ("\n\n", 4), ("", 4)]
)
def test_without_a_model_a_person_is_offered_tiny(
    downloads: Downloads, sent: Exchange, answers: str, code: int
) -> None:
    result = g4_with_a_person("describe", "a.png", typed=answers)
    assert result.exit_code == code
    assert result.stdout == ("Done.\n" if code == 0 else "")
    assert "tiny" in result.stderr
    assert len(sent.parts) == (1 if code == 0 else 0)
    assert downloads.names == []


def test_the_offer_names_the_download_and_its_size(downloads: Downloads) -> None:
    stderr = g4_with_a_person("describe", "a.png", typed="").stderr
    for said in ("mlx-community/gemma-4-e2b-it-4bit", "3.55 GB", str(cache_folder())):
        assert said in stderr


def test_a_yes_downloads_the_recommended_model(downloads: Downloads, sent: Exchange) -> None:
    result = g4_with_a_person("describe", "a.png", typed="y\n")
    assert (result.exit_code, result.stdout) == (0, "Done.\n")
    assert downloads.names == ["e2b"]


def test_an_offline_run_does_not_offer_a_download(downloads: Downloads) -> None:
    result = g4_with_a_person("describe", "a.png", "--offline", typed="y\n")
    assert (result.exit_code, result.stdout) == (0, "Done.\n")
    assert downloads.names == []


def test_a_small_machine_is_offered_tiny_alone(downloads: Downloads) -> None:
    downloads.recommended = None
    result = g4_with_a_person("describe", "a.png", typed="y\n")
    assert (result.exit_code, result.stdout) == (0, "Done.\n")
    assert downloads.names == []


def test_a_model_that_does_not_fit_the_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, sent: Exchange
) -> None:
    monkeypatch.setattr(memory_limits, "available_memory", lambda: 10**6)
    assert_fails(g4("describe", "a.png", "-m", "tiny"), 4, "MB of memory", "G4_IGNORE_MEMORY=1")
    assert sent.parts == []
    monkeypatch.setenv("G4_IGNORE_MEMORY", "1")
    assert g4("describe", "a.png", "-m", "tiny").exit_code == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"model = ", "cannot be read"),
        (b"\xff\xfe=", "cannot be read"),
        (b"model = 3", "model must be a name, not 3"),
        (b'model = ""', "model must be a name"),
    ],
)
def test_broken_settings(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / ".g4.toml"
    path.write_bytes(content)
    assert_fails(g4("describe", "a.png"), 2, f"{path}: {problem}")
