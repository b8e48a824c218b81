"""Import the compiled module, or say why it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """The compiled module, or ``missing``: why there is none."""

    module: ModuleType | None
    missing: str | None


@cache
def extension() -> Extension:
    """The module if it was built for the MLX that is installed; imports MLX.

    Objects of MLX are laid out differently in each version, so any other version is refused.
    """
    mx = import_module("mlx.core")
    try:
        module = import_module("gemma4cli.native._native")
    except ImportError as exc:
        return Extension(module=None, missing=f"it is not built ({exc})")
    if module.mlx_version != mx.__version__:
        missing = f"it was built for MLX {module.mlx_version}, but {mx.__version__} is installed"
        return Extension(module=None, missing=missing)
    return Extension(module=module, missing=None)
