"""The native part, where it was built."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from types import ModuleType

import mlx.core as mx
import pytest

from gemma4cli.native.extension import extension

ARM = platform.machine() in ("aarch64", "arm64")
INSTRUCTION_SETS = ["plain", "neon"] if ARM else ["plain", "avx2", "avx512"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    mx.random.seed(0)


@pytest.fixture
def native() -> ModuleType:
    """The compiled module with the best instruction set of this processor."""
    part = extension()
    if part.module is None:
        pytest.skip(f"the native part is missing: {part.missing}")
    return part.module


@pytest.fixture(params=INSTRUCTION_SETS)
def native_set(request: pytest.FixtureRequest, native: ModuleType) -> Iterator[ModuleType]:
    """The compiled module with each instruction set in turn, if this processor has it.

    AMX is off: its products of many rows would take the place of the set's own.
    """
    best = native.instruction_set()
    try:
        native.use_instruction_set(request.param)
    except ValueError as exc:
        pytest.skip(str(exc))
    native.use_amx(False)
    yield native
    native.use_amx(True)
    native.use_instruction_set(best)
