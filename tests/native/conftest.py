"""What all tests of the native part share."""

from __future__ import annotations

from types import ModuleType

import pytest

from gemma4cli.native.extension import extension


@pytest.fixture
def native() -> ModuleType:
    part = extension()
    if part.module is None:
        pytest.skip(f"the native part is missing: {part.missing}")
    return part.module
