"""Whether g4's own kernels compute on this CPU, and what to do if they do not."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from shutil import which

from ..extras import install_command, rebuild_command
from ..native.extension import Extension, extension
from .findings import Finding

_COMPILERS = ("c++", "g++", "clang++")
_PACKAGES = {
    "apt install": ("g++", "python{0}.{1}-dev"),
    "dnf install": ("gcc-c++", "python{0}.{1}-devel"),
    "zypper install": ("gcc-c++", "python{0}{1}-devel"),
    "pacman -S": ("gcc", "python"),
}
"""The packages with a C++ compiler and with this Python's headers, by what installs them."""


def native_part() -> Finding:
    """Whether the native part is in use; a note if it is not."""
    found = extension()
    if found.module is not None:
        tiles = ", AMX" * found.module.has_amx()
        threads = found.module.threads()
        value = f"{found.module.instruction_set()}{tiles}, {threads} thread{'s' * (threads != 1)}"
        return Finding(name="native part", value=value)
    value = f"not used: {found.missing}; MLX alone is several times slower on a CPU"
    return Finding(name="native part", value=value, state="note", advice=_advice(found))


def _advice(found: Extension) -> str:
    match found.reason:
        case "switched off":
            return "unset the variable"
        case "other MLX":
            pinned = install_command("cpu", version=found.built_for)
            return f"{pinned}, or build g4 again: {rebuild_command()}"
        case "not built" if lacking := _lacking():
            return f"{lacking}, then build g4 again: {rebuild_command()}"
        case "not built":
            return f"build g4 again; -v shows what fails: {rebuild_command()} -v"
        case _:
            return f"build g4 again: {rebuild_command()}"


def _lacking() -> str | None:
    """How to install the compiler or the headers of Python; None if neither is missing."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    there = (any(map(which, _COMPILERS)), headers.exists())
    if all(there):
        return None
    for command, packages in _PACKAGES.items():
        if which(command.split()[0]):
            wanted = (name for name, found in zip(packages, there, strict=True) if not found)
            return f"{command} {' '.join(wanted)}".format(*sys.version_info)
    return "install a C++ compiler and the headers of Python"
