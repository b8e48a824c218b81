"""How to install what g4 runs without: the packages of its extras, where this g4 is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

PACKAGES: Mapping[str, str] = {"cpu": "mlx[cpu]", "cuda": "mlx[cuda13]", "heif": "pillow-heif"}
"""The package that each extra of pyproject.toml adds.

They are named instead of ``gemma4cli[cpu]`` because g4 may be installed from a checkout.
"""


def install_command(extra: str) -> str:
    """A shell line that installs an extra where this g4 is."""
    return f"{_installer()} {shlex.quote(PACKAGES[extra])}"


def reinstall_command(package: str) -> str:
    """A shell line that installs a package again where this g4 is."""
    return f"{_installer()} --force-reinstall {package}"


def _installer() -> str:
    from importlib.util import find_spec
    from shutil import which

    python, folders = shlex.quote(sys.executable), Path(sys.prefix).parts
    if "pipx" in folders:
        return f"pipx runpip {Path(sys.prefix).name} install"
    if find_spec("pip") is None:
        return f"uv pip install --python {python}"
    on_path = which("pip")
    if on_path is not None and Path(on_path).parent == Path(sys.executable).parent:
        return "pip install"
    return f"{python} -m pip install"
