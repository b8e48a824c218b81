"""Import the compiled module, or say why it cannot be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal
from zlib import crc32

Reason = Literal["switched off", "not built", "cannot be loaded", "other sources", "other MLX"]

_SWITCH = "G4_NO_NATIVE"
_INTERFACE = Path(__file__).with_name("bindings.cpp")
"""The module's functions as they should be; wheels have no sources and need no comparison."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """The compiled module, or the ``reason`` for having none, and what is ``missing`` in words."""

    module: ModuleType | None = None
    reason: Reason | None = None
    missing: str | None = None
    built_for: str | None = None
    """The version of MLX, if the reason is another one."""


@cache
def extension() -> Extension:
    """The module if it fits this package and the MLX that is installed; imports MLX.

    Objects of MLX are laid out differently in each version, so any other version is refused. In a
    checkout the module can be older than the Python code that calls it.
    """
    if os.environ.get(_SWITCH, "") not in ("", "0"):
        return Extension(reason="switched off", missing=f"{_SWITCH} is set")
    mx = import_module("mlx.core")
    try:
        module = import_module("gemma4cli.native._native")
    except ModuleNotFoundError:
        return Extension(reason="not built", missing="it is not built")
    except ImportError as exc:
        return Extension(reason="cannot be loaded", missing=" ".join(str(exc).split()))
    built_for = getattr(module, "mlx_version", None)
    if built_for != mx.__version__:
        missing = f"it was built for MLX {built_for}, but {mx.__version__} is installed"
        return Extension(reason="other MLX", missing=missing, built_for=built_for)
    interface = getattr(module, "interface", None)
    if _INTERFACE.exists() and crc32(_INTERFACE.read_bytes()) != interface:
        return Extension(reason="other sources", missing="it was built from other sources")
    return Extension(module=module)
