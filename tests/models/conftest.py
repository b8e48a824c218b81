"""These tests are about MLX's own layers, so the models here run without the native part."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from gemma4cli.engine.model import LoadedModel
from gemma4cli.machine import backend
from gemma4cli.native.extension import Extension


@pytest.fixture(scope="session")
def parity_model(parity_model: Callable[[str], LoadedModel]) -> Callable[[str], LoadedModel]:
    """As for all tests, but on MLX's own kernels."""
    load_arch = parity_model.__wrapped__

    @cache
    def load_plain(arch: str) -> LoadedModel:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend, "extension", lambda: Extension(reason="not built"))
            model: LoadedModel = load_arch(arch)
        return model

    return load_plain
