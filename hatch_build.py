"""Builds the native part of a wheel on Linux.

Without a compiler, or when the build fails, the wheel is made without it: g4 then computes with
MLX alone. Tools that the build needs are installed only where there is something to build.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = "gemma4cli/native"
_COMPILERS = ("c++", "g++", "clang++")
_MACHINES = ("x86_64", "aarch64")
_NANOBIND = "nanobind==3.1.*"
"""Arrays cross over only between modules that were built with the same ABI of nanobind, here 22."""


class NativePart(BuildHookInterface):  # type: ignore[type-arg]
    """The build hook; hatchling finds it as the only one of its kind in this file."""

    def dependencies(self) -> list[str]:
        """What the build needs: MLX's headers in the version that will be installed beside g4."""
        if not _wanted():
            return []
        tools = [name for name in ("cmake", "ninja") if not _works(name)]
        requirements = self.metadata.core.dependencies_complex.values()
        mlx = next(each.specifier for each in requirements if each.name == "mlx")
        return [*tools, _NANOBIND, f"mlx[cpu]{mlx}"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the module, for an editable installation into the package itself."""
        if not _wanted():
            return
        source = Path(self.root, _FOLDER)
        editable = version == "editable"
        self._installed = TemporaryDirectory()  # until the wheel is written
        target = source if editable else Path(self._installed.name)
        try:
            _build(source, target)
        except (OSError, subprocess.CalledProcessError) as exc:
            self.app.display_warning(f"The native part is left out: {exc}")
            return
        if not editable:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            for file in target.iterdir():
                build_data["force_include"][str(file)] = f"{_FOLDER}/{file.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the wheel now contains."""
        if hasattr(self, "_installed"):
            self._installed.cleanup()


def _wanted() -> bool:
    """Whether g4 has kernels for this machine, there is a compiler, and nobody forbids it."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    if os.environ.get("G4_NO_NATIVE", "") not in ("", "0"):
        return False
    return "CXX" in os.environ or any(map(shutil.which, _COMPILERS))


def _works(program: str) -> bool:
    """Whether a program runs; the scripts of a Python environment do not in an isolated build."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _build(source: Path, target: Path) -> None:
    """Compile the folder `source` and put the module into the folder `target`."""
    cores = len(os.sched_getaffinity(0))
    with TemporaryDirectory() as folder:
        python = f"-DPython_EXECUTABLE={sys.executable}"
        for arguments in (
            ["-G", "Ninja", "-S", str(source), "-B", folder, python],
            ["--build", folder, "--parallel", str(cores)],
            ["--install", folder, "--prefix", str(target), "--strip"],
        ):
            subprocess.run(["cmake", *arguments], check=True)
