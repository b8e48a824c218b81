"""``g4 models``: what runs here, where it is stored, what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import PARITY, assert_fails, g4, records

import gemma4cli
from gemma4cli.hub import cache as hub
from gemma4cli.machine.device import Memory

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
    }
    assert result.stderr == ""


def test_list_of_all_has_every_alias() -> None:
    aliases = {line.split()[0] for line in g4("models", "list", "--all").stdout.splitlines()}
    assert {"tiny", "e2b", "e2b:8bit", "e4b", "12b", "26b", "31b"} <= aliases


def test_the_list_of_all_marks_models_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(total=8 * 10**9, free=10**9, limit=5 * 10**9)
    monkeypatch.setattr(hub, "model_memory", lambda: memory)
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


@pytest.mark.parametrize("command", ["path", "info"])
def test_alias_that_is_not_in_the_cache(command: str) -> None:
    result = g4("models", command, "e2b")
    assert_fails(result, 4, "g4 models pull e2b")


@pytest.mark.parametrize("command", ["path", "info"])
def test_unknown_name(command: str) -> None:
    assert_fails(g4("models", command, "tinny"), 4, "'tinny' not found", "did you mean tiny?")
