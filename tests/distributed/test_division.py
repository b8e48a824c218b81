"""Which models of two machines are taken for the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.checkpoints import PARITY

from gemma4cli.engine.division import fingerprint
from gemma4cli.hub.resolved import ResolvedModel


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PARITY / "31b", tmp_path / "model"))


def fingerprint_of(folder: Path) -> str:
    return fingerprint(ResolvedModel.of(folder.name, folder))


def test_a_copy_is_the_same_model(copied: Path) -> None:
    assert fingerprint_of(copied) == fingerprint_of(PARITY / "31b")


def test_other_numbers_in_the_same_shapes_are_another_model(copied: Path) -> None:
    for path in copied.glob("model*.safetensors"):
        data = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        data[start:] = bytes(each ^ 1 for each in data[start:])
        path.write_bytes(data)
    assert fingerprint_of(copied) != fingerprint_of(PARITY / "31b")
