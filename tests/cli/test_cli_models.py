"""``g4 models``: what runs here, where it is stored, what it is."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
from cli_runs import PARITY, assert_fails, g4, records
from support.published import config_of, tensor_lists

import gemma4cli
from gemma4cli.hub import inventory
from gemma4cli.hub.catalog import CATALOG

TINY = Path(gemma4cli.__file__).parent / "builtin" / "tiny"


def test_list() -> None:
    result = g4("models", "list")
    assert result.exit_code == 0
    head, line = result.stdout.splitlines()
    assert head.split() == ["NAME", "SIZE", "MEMORY", "FITS", "FROM"]
    assert line.startswith("tiny ") and line.endswith("built in")
    assert line.split()[1:3] == ["9.2", "MB"] and line.split()[5] == "yes"


def test_list_says_how_it_estimates() -> None:
    stderr = g4("models", "list").stderr
    assert "estimate" in stderr and "models may use" in stderr


def test_list_as_json() -> None:
    size = (TINY / "model.safetensors").stat().st_size
    result = g4("models", "list", "--json")
    (record,) = records(result)
    assert record.pop("memory_bytes") > size
    assert record == {
        "name": "tiny",
        "repo": None,
        "path": str(TINY),
        "bytes": size,
        "fits": True,
        "complete": True,
        "problem": None,
    }
    assert result.stderr == ""


def test_list_of_all_has_every_alias() -> None:
    aliases = {line.split()[0] for line in g4("models", "list", "--all").stdout.splitlines()}
    assert {"tiny", "e2b", "e2b:8bit", "e4b", "12b", "26b", "31b"} <= aliases


def test_the_list_of_all_marks_models_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "memory_limit", lambda found: 5 * 10**9)
    fits = {r["name"]: r["fits"] for r in records(g4("models", "list", "--all", "--json"))}
    assert fits["e2b"] and not fits["e4b"]


def test_list_fits_80_columns() -> None:
    lines = g4("models", "list", "--all").stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_path() -> None:
    assert g4("models", "path", "tiny").stdout == f"{TINY}\n"


def test_path_of_a_folder_is_the_folder(tmp_path: Path) -> None:
    assert g4("models", "path", tmp_path).stdout == f"{tmp_path}\n"


def test_info() -> None:
    result = g4("models", "info", "tiny")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    rows = {line[:13].strip(): line[14:] for line in lines if line[:13].strip()}
    assert rows["name"] == "tiny"
    assert rows["path"] == str(TINY)
    assert rows["inputs"] == "text, image, video, audio"
    assert rows["layers"] == "6 of width 128"
    assert rows["context"] == "8,192 tokens"
    assert rows["quantized"] == "no"
    assert rows["cache"] == "3 layers store 256 tokens, 1 store all, 2 share"
    assert rows["parameters"].endswith(" million")
    assert rows["8,192 tokens"].startswith("about ")
    assert "this machine" in rows


def test_info_as_json() -> None:
    (info,) = records(g4("models", "info", "tiny", "--json"))
    assert list(info) == [
        "name",
        "path",
        "architecture",
        "inputs",
        "parameters",
        "layers",
        "hidden_size",
        "context",
        "dtype",
        "quantization",
        "tied_embeddings",
        "tensors",
        "bytes",
        "memory",
        "memory_limit",
    ]
    assert (info["layers"], info["hidden_size"], info["context"]) == (6, 128, 8192)
    assert info["dtype"] in ("bfloat16", "float32")  # by the device
    assert info["quantization"] == []
    config = json.loads((TINY / "config.json").read_bytes())
    assert info["architecture"] == config["model_type"]


def test_info_adds_up() -> None:
    (info,) = records(g4("models", "info", "tiny", "--json"))
    (memory,) = info["memory"]
    assert memory["tokens"] == 8192
    assert memory["weights"] + memory["towers"] == info["bytes"]
    cache = memory["cache_sliding"] + memory["cache_full"]
    assert memory["total"] > info["bytes"] + cache + memory["activations"] * 0.9


@pytest.mark.parametrize("size", ["26b", "31b"])
def test_info_lists_the_inputs_of_a_model(size: str) -> None:
    (info,) = records(g4("models", "info", PARITY / "checkpoints" / size, "--json"))
    assert info["inputs"] == ["text", "image", "video"]


def test_path_of_an_alias_that_is_not_in_the_cache() -> None:
    assert_fails(g4("models", "path", "e2b"), 4, "g4 models pull e2b")


@pytest.mark.parametrize("name", ["e2b", "E2B:8bit", "12b", "26b:bf16", "31b"])
def test_info_knows_a_published_model_before_its_download(name: str) -> None:
    shown = g4("models", "info", name)
    assert shown.exit_code == 0 and f"g4 models pull {name.lower()}" in shown.stdout
    (info,) = records(g4("models", "info", name, "--json"))
    alias = name.lower().partition(":")[0]
    size = {"e2b": "E2B", "e4b": "E4B", "12b": "12B", "26b": "26B-A4B", "31b": "31B"}[alias]
    config = config_of(f"google__gemma-4-{size}-it")["text_config"]
    assert (info["layers"], info["hidden_size"], info["context"]) == (
        config["num_hidden_layers"],
        config["hidden_size"],
        config["max_position_embeddings"],
    )
    tensors = tensor_lists()[f"{size}.mlx-bf16"]
    assert info["parameters"] == sum(prod(shape) for _, shape in tensors.values())
    assert ("audio" in info["inputs"]) == (alias in ("e2b", "e4b", "12b"))
    assert [each["total"] > info["bytes"] for each in info["memory"]] == [True, True]
    assert info["others"] and name.lower() not in info["others"]


@pytest.mark.parametrize("alias", list(CATALOG))
def test_the_configs_of_published_models_are_the_published_ones(alias: str) -> None:
    size = {"e2b": "E2B", "e4b": "E4B", "12b": "12B", "26b": "26B-A4B", "31b": "31B"}[alias]
    shipped = json.loads(
        (Path(inventory.__file__).parent / "configs" / f"{alias}.json").read_bytes()
    )
    assert shipped == config_of(f"google__gemma-4-{size}-it")


def test_a_model_is_named_before_it_is_asked_for_a_yes() -> None:
    assert_fails(g4("models", "pull", "nonsense"), 4, "'nonsense' not found")
    assert_fails(g4("models", "pull", "tiny"), 4, "it is built in")
    assert_fails(g4("models", "pull", "e2b"), 2, "--yes", "mlx-community/gemma-4-e2b-it-4bit")


@pytest.mark.parametrize("command", ["path", "info"])
def test_unknown_name(command: str) -> None:
    assert_fails(g4("models", command, "tinny"), 4, "'tinny' not found", "did you mean tiny?")
