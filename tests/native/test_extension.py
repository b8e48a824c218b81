"""Which compiled modules are used, and why others are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from zlib import crc32

import mlx.core as mx
import pytest

from gemma4cli.native import extension as extension_module
from gemma4cli.native.extension import Extension, Reason, extension

SOURCES = b"the functions of the module"


@pytest.fixture(autouse=True)
def _each_time_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("G4_NO_NATIVE", raising=False)
    extension.cache_clear()
    yield
    extension.cache_clear()


def found(
    monkeypatch: pytest.MonkeyPatch, compiled: ModuleType | ImportError, sources: Path
) -> Extension:
    """What is made of the compiled module in a package with these sources."""

    def load(name: str) -> object:
        if name == "mlx.core":
            return mx
        if isinstance(compiled, ImportError):
            raise compiled
        return compiled

    monkeypatch.setattr(extension_module, "import_module", load)
    monkeypatch.setattr(extension_module, "_INTERFACE", sources)
    return extension()


def built(mlx_version: str = mx.__version__, sources: bytes = SOURCES) -> ModuleType:
    module = ModuleType("_native")
    vars(module).update(mlx_version=mlx_version, interface=crc32(sources))
    return module


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    path = tmp_path / "bindings.cpp"
    path.write_bytes(SOURCES)
    return path


def test_a_module_for_this_package_and_this_mlx_is_used(
    monkeypatch: pytest.MonkeyPatch, sources: Path
) -> None:
    module = built()
    assert found(monkeypatch, module, sources) == Extension(module=module)


def test_a_package_without_sources_has_nothing_to_compare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = built(sources=b"unknown")
    assert found(monkeypatch, module, tmp_path / "none").module is module


@pytest.mark.parametrize(
    ("compiled", "reason"),
    [
        (ModuleNotFoundError("No module named '_native'"), "not built"),
        (ImportError("libmlx.so: undefined symbol"), "cannot be loaded"),
        (built(mlx_version="0.1"), "other MLX"),
        (built(sources=b"older"), "other sources"),
        (ModuleType("from before there was a comparison"), "other MLX"),
    ],
)
def test_other_modules_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    sources: Path,
    compiled: ModuleType | ImportError,
    reason: Reason,
) -> None:
    part = found(monkeypatch, compiled, sources)
    assert part.module is None and part.reason == reason and part.missing


@pytest.mark.parametrize(("value", "used"), [("1", False), ("0", True), ("", True)])
def test_a_variable_switches_the_native_part_off(
    monkeypatch: pytest.MonkeyPatch, sources: Path, value: str, used: bool
) -> None:
    monkeypatch.setenv("G4_NO_NATIVE", value)
    part = found(monkeypatch, built(), sources)
    assert (part.module is not None) == used
    assert used or part.reason == "switched off"
