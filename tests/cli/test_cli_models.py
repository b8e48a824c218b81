"""``g4 models``: what runs here, where it lies, what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import PARITY, assert_fails, g4, records

import gemma4cli

TINY = Path(gemma4cli.__file__).parent / "builtin" / "tiny"


def test_list() -> None:
    result = g4("models", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    assert line.split() == ["tiny", "7.2", "MB", "built", "in"]


def test_list_as_json() -> None:
    size = (TINY / "model.safetensors").stat().st_size
    assert records(g4("models", "list", "--json")) == [
        {"name": "tiny", "repo": None, "path": str(TINY), "bytes": size}
    ]


def test_path() -> None:
    assert g4("models", "path", "tiny").stdout == f"{TINY}\n"


def test_path_of_a_folder_is_the_folder(tmp_path: Path) -> None:
    assert g4("models", "path", tmp_path).stdout == f"{tmp_path}\n"


def test_info() -> None:
    result = g4("models", "info", "tiny")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert rows["name"] == "tiny"
    assert rows["path"] == str(TINY)
    assert rows["inputs"] == "text, image, video, audio"
    assert rows["layers"] == "6 of width 128"
    assert rows["context"] == "8,192 tokens"
    assert rows["quantised"] == "no"


def test_info_as_json() -> None:
    (info,) = records(g4("models", "info", "tiny", "--json"))
    assert list(info) == [
        "name",
        "path",
        "architecture",
        "inputs",
        "layers",
        "hidden_size",
        "context",
        "dtype",
        "quantization",
        "tensors",
        "bytes",
    ]
    assert (info["layers"], info["hidden_size"], info["context"]) == (6, 128, 8192)
    assert info["dtype"] in ("bfloat16", "float32")  # by the device
    assert info["quantization"] == []
    config = json.loads((TINY / "config.json").read_bytes())
    assert info["architecture"] == config["model_type"]


@pytest.mark.parametrize("size", ["26b", "31b"])
def test_info_says_what_a_model_cannot_take(size: str) -> None:
    (info,) = records(g4("models", "info", PARITY / "checkpoints" / size, "--json"))
    assert info["inputs"] == ["text", "image", "video"]


@pytest.mark.parametrize("command", ["path", "info"])
def test_alias_that_is_not_in_the_cache(command: str) -> None:
    result = g4("models", command, "e2b")
    assert_fails(result, 4, "hf download mlx-community/gemma-4-e2b-it-4bit")


@pytest.mark.parametrize("command", ["path", "info"])
def test_unknown_name(command: str) -> None:
    assert_fails(g4("models", command, "tinny"), 4, "'tinny' not found", "did you mean tiny?")
