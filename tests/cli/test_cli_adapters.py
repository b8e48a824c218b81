"""--adapter, /adapter, and an adapter that is given as a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import PARITY, assert_fails, g4, g4_with, records
from support.adapters import matrices, write_mlx_lm, write_mlx_vlm, write_peft
from talks import Talk

from gemma4cli.cli.commands.serve_names import labeled, names_of_all
from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import OptionError
from gemma4cli.hub.adapters import find_adapter
from gemma4cli.hub.resolving import resolve

ASK = ("--max-tokens", "4", "--temperature", "0", "-p", "Hello", "--json")


@pytest.fixture
def adapter(tiny: LocalModel, tmp_path: Path) -> Path:
    return write_peft(tmp_path / "mine", matrices(tiny.network, "q_proj", "down_proj", size=3.0))


def test_an_adapter_changes_answers_and_is_named(adapter: Path) -> None:
    (plain,) = records(g4("chat", "-m", "tiny", *ASK))
    (changed,) = records(g4("chat", "-m", "tiny", "--adapter", adapter, *ASK))
    assert (plain["model"], changed["model"]) == ("tiny", f"tiny+{adapter}")
    assert plain["text"] != changed["text"]
    (again,) = records(g4("chat", "-m", f"tiny+{adapter}", *ASK))
    assert again["text"] == changed["text"]


def test_an_adapter_as_a_model_loads_the_one_it_is_for(
    adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (found,) = records(g4("chat", "-m", adapter, *ASK))
    assert found["model"] == str(adapter)
    assert f"{adapter} is an adapter" in caplog.text and "its model is tiny" in caplog.text


def test_a_setting_names_an_adapter(adapter: Path) -> None:
    run = g4_with({"G4_ADAPTER": str(adapter)}, "chat", "-m", "tiny", *ASK)
    (found,) = records(run)
    assert found["model"] == f"tiny+{adapter}"


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    other = PARITY / "adapters" / "e2b" / "lora"
    result = g4("chat", "-m", "tiny", "--adapter", other, "-p", "Hello")
    assert_fails(result, 4, "does not fit tiny: base_model.model.", "google/gemma-4-E2B-it")
    result = g4("chat", "-m", "tiny", "--adapter", tmp_path / "nowhere", "-p", "Hello")
    assert_fails(result, 4, "there is no such folder")


def test_a_chat_changes_its_adapter(talk: Talk, tiny: LocalModel, tmp_path: Path) -> None:
    talk.say("Hello")
    plain = talk.out
    adapter = write_mlx_lm(
        tmp_path / "mlx", matrices(tiny.network, "q_proj", "down_proj", size=3.0)
    )
    assert talk.say(f"/adapter {adapter}", "/adapter") == f"tiny+{adapter}\n" * 2
    talk.say("/retry")
    assert talk.out != plain
    assert "there is no such folder" in talk.say("/adapter nowhere")
    assert talk.say("/adapter none") == "tiny\n"
    talk.say("/retry")
    assert talk.out == plain


def test_facts_of_a_model_name_its_adapter(adapter: Path) -> None:
    result = g4("models", "info", adapter)
    assert "adapter       LoRA of rank 2 for 12 layers, PEFT, " in result.stdout
    assert " kB, trained on tiny; " in result.stdout
    (found,) = records(g4("models", "info", adapter, "--json"))
    size = found["adapter"].pop("bytes")
    assert 0 < size < (adapter / "adapter_model.safetensors").stat().st_size
    assert found["adapter"] == {
        "path": str(adapter),
        "layout": "PEFT",
        "kind": "LoRA",
        "rank": 2,
        "layers": 12,
        "whole_tensors": 0,
        "base": "tiny",
    }


def test_a_merged_checkpoint_answers_as_the_model_with_its_adapter(
    adapter: Path, tmp_path: Path
) -> None:
    result = g4("models", "merge", adapter, "-o", tmp_path / "merged")
    assert result.stdout == f"{tmp_path / 'merged'}\n"
    (found,) = records(g4("chat", "-m", tmp_path / "merged", *ASK))
    (expected,) = records(g4("chat", "-m", adapter, *ASK))
    assert found["text"] == expected["text"]
    again = g4("models", "merge", "tiny", "--adapter", adapter, "-o", tmp_path / "merged")
    assert_fails(again, 1, "is there already: name a new folder")
    assert_fails(g4("models", "merge", "tiny", "-o", tmp_path / "x"), 4, "it has no adapter")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merged", "mine"]


def test_served_adapters_have_names_of_their_own(adapter: Path) -> None:
    assert labeled(f"brief={adapter}") == ("brief", str(adapter))
    assert labeled(str(adapter)) == (None, str(adapter))
    found = find_adapter(str(adapter))
    assert names_of_all("tiny", [found, found], [None, "brief"]) == [
        ("mine", "tiny+mine"),
        ("brief", "tiny+brief"),
        ("tiny",),
    ]
    for labels in ([None, None], ["a", "a"], ["tiny", None], ["default", None]):
        with pytest.raises(OptionError, match=r"two models would be called .*NAME="):
            names_of_all("tiny", [found, found], labels)


@pytest.mark.parametrize("named", ["{}", "tiny+{}"])
def test_a_model_named_with_its_adapter_is_known_without_it(adapter: Path, named: str) -> None:
    assert resolve(named.format(adapter)).plain.name == "tiny"


@pytest.fixture
def in_cache(tiny: LocalModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A hub cache with an adapter, a damaged one, and one of mlx-vlm."""
    hub = tmp_path / "hub"
    changes = matrices(tiny.network, "q_proj", "down_proj")

    def snapshot(name: str) -> Path:
        return hub / f"models--me--{name}" / "snapshots" / "main"

    write_peft(snapshot("good"), changes)
    write_mlx_vlm(snapshot("old"), changes)
    (write_peft(snapshot("worse"), changes) / "adapter_model.safetensors").write_bytes(b"nothing")
    monkeypatch.setattr("gemma4cli.hub.snapshots.cache_folder", lambda: hub)
    return hub


def test_cached_adapters_are_listed_with_the_models_they_are_for(in_cache: Path) -> None:
    result = g4("models", "list")
    lines = result.stdout.splitlines()
    at = lines.index("Adapters, each for --adapter with the model it was trained on:")
    good, old, worse = lines[at + 1 :]
    assert good.startswith("me/good  ") and good.endswith(" for 12 layers, PEFT  tiny")
    assert old.startswith("me/old  ") and old.endswith(", mlx-vlm")
    assert worse.startswith("me/worse  ") and "adapter_model.safetensors" in worse
    found = [each for each in records(g4("models", "list", "--json")) if "adapter" in each]
    assert [each["adapter"] for each in found] == ["me/good", "me/old", "me/worse"]
    assert (found[0]["base"], found[0]["rank"], found[0]["problem"]) == ("tiny", 2, None)
    assert found[0]["path"] == str(in_cache / "models--me--good" / "snapshots" / "main")
    assert found[2]["problem"] and "rank" not in found[2]
    (answer,) = records(g4("chat", "-m", "tiny", "--adapter", "me/good", *ASK))
    assert answer["model"] == "tiny+me/good"


def test_facts_of_a_model_with_an_adapter(in_cache: Path) -> None:
    result = g4("models", "info", "tiny", "--adapter", "me/old")
    assert "name          tiny+me/old\n" in result.stdout
    assert "adapter       LoRA of rank 2 for 12 layers, mlx-vlm, 45.1 kB; " in result.stdout
    assert 'add "scale": 3 to adapter_config.json' in result.stdout
    (found,) = records(g4("models", "info", "tiny", "--adapter", "me/good", "--json"))
    (plain,) = records(g4("models", "info", "tiny", "--json"))
    assert found["bytes"] == plain["bytes"] + found["adapter"]["bytes"]
    assert_fails(g4("models", "info", "tiny", "--adapter", "nowhere"), 4, "no such folder")
    assert_fails(g4("models", "info", "e2b", "--adapter", "me/good"), 4, "g4 models pull e2b")


def test_an_adapter_of_mlx_vlm_says_what_its_scale_is_taken_for(
    in_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    g4("chat", "-m", "tiny", "--adapter", "me/old", *ASK)
    assert "me/old: its scale is taken for alpha / rank, 1.5" in caplog.text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("style.zip", "is an archive: unpack it, and name the folder"),
        ("notes.txt", "is no adapter: name its folder"),
    ],
)
def test_a_file_that_is_no_adapter_says_what_to_do(name: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK")
    result = g4("chat", "Hi", "-m", "tiny", "--adapter", tmp_path / name)
    assert_fails(result, 4, problem)
