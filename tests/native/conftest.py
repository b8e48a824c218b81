"""The native part, where it was built."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import mlx.core as mx
import pytest

from gemma4cli.native.extension import extension

ARM = platform.machine() in ("aarch64", "arm64")
INSTRUCTION_SETS = ["plain", "neon"] if ARM else ["plain", "avx2", "avx512", "avx512-vnni"]


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


@contextmanager
def computing_with(native: ModuleType, unit: str) -> Iterator[ModuleType]:
    """The compiled module with an instruction set, or with AMX for products of many rows.

    Skips the test where this processor lacks it. AMX is off with the instruction sets: its products
    would take the place of theirs.
    """
    amx, best = unit == "amx", native.instruction_set()
    if amx and not native.has_amx():
        pytest.skip("this processor has no AMX")
    try:
        native.use_instruction_set(best if amx else unit)
    except ValueError as exc:
        pytest.skip(str(exc))
    native.use_amx(amx)
    try:
        yield native
    finally:
        native.use_amx(True)
        native.use_instruction_set(best)


@pytest.fixture(params=INSTRUCTION_SETS)
def native_set(request: pytest.FixtureRequest, native: ModuleType) -> Iterator[ModuleType]:
    """The compiled module with each instruction set in turn."""
    with computing_with(native, request.param) as part:
        yield part


@pytest.fixture(params=[*INSTRUCTION_SETS, "amx"])
def native_unit(request: pytest.FixtureRequest, native: ModuleType) -> Iterator[ModuleType]:
    """The compiled module with all that computes products of many rows in turn."""
    with computing_with(native, request.param) as part:
        yield part
