"""How processes agree on memory that they share."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest

from gemma4cli.distributed import memory as module
from gemma4cli.distributed.memory import shared_memory
from gemma4cli.native.extension import Extension, extension


@pytest.fixture
def native() -> ModuleType:
    found = extension().module
    if found is None:
        pytest.skip("the native part is missing")
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_FOLDER", str(tmp_path))
    return tmp_path


def test_its_file_is_gone_when_all_have_it(native: ModuleType, folder: Path) -> None:
    told: list[str] = []

    def tell(path: str) -> str:
        told.append(path)
        assert Path(path).stat().st_size == native.SharedMemory.file_size(1)
        return path

    assert shared_memory(0, 1, tell, int) is not None
    assert Path(told[0]).parent == folder
    assert not list(folder.iterdir())


def test_none_uses_it_if_one_cannot(native: ModuleType, folder: Path) -> None:
    assert shared_memory(0, 2, lambda path: path, int) is None
    assert not list(folder.iterdir())
    assert shared_memory(1, 2, lambda path: "", lambda has_it: 1 + has_it) is None
    assert shared_memory(1, 2, lambda path: str(folder / "x"), lambda has_it: 1 + has_it) is None


def test_without_the_native_part_or_a_folder_there_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FOLDER", str(folder / "missing"))
    assert shared_memory(0, 1, lambda path: path, int) is None
    monkeypatch.setattr(module, "extension", lambda: Extension(reason="switched off"))
    assert shared_memory(0, 1, lambda path: path, int) is None


def test_a_sum_takes_the_memory_of_its_input(native: ModuleType, folder: Path) -> None:
    memory = shared_memory(0, 1, lambda path: path, int)
    assert memory is not None
    numbers = mx.arange(1 << 20, dtype=mx.float32)
    mx.eval(numbers)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    summed = memory.sum(numbers * 2)
    mx.eval(summed)
    assert mx.get_peak_memory() - before < 1.5 * numbers.nbytes
    assert mx.array_equal(summed, numbers * 2)
