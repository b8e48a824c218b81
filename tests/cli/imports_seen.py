"""What a command line imports, by what a separate process says at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli_runs import command_line

_NO_PACKAGES = frozenset({"gemma4cli", "cython_runtime"})
"""The project itself, and a module that others make which were compiled by Cython."""


@dataclass(frozen=True, kw_only=True)
class Imports:
    """What was imported, or may be.

    ``own`` are modules of g4, without "gemma4cli."; ``foreign`` are packages of other projects;
    ``standard`` are those modules of the standard library that g4 itself asks for, because what
    others ask for changes with their versions. What may be imported has "engine.*" for a folder,
    and a module includes the folders that it is in.
    """

    own: frozenset[str]
    foreign: frozenset[str]
    standard: frozenset[str]

    def and_those(self, *, own: str = "", foreign: str = "", standard: str = "") -> Imports:
        return Imports(
            own=self.own | set(own.split()),
            foreign=self.foreign | set(foreign.split()),
            standard=self.standard | set(standard.split()),
        )

    def beyond(self, permitted: Imports) -> list[str]:
        """The names that are not permitted."""
        return sorted(
            (self.foreign - permitted.foreign)
            | (self.standard - permitted.standard)
            | {f"gemma4cli.{name}" for name in self.own if not permitted.has(name)}
        )

    def has(self, name: str) -> bool:
        """Whether a module of g4 is among those that may be imported."""
        return any(
            entry == name
            or entry.startswith(f"{name}.")
            or (entry.endswith(".*") and name.startswith(entry[:-1]))
            for entry in self.own
        )


def imports(*, own: str, foreign: str, standard: str) -> Imports:
    """Names with spaces between."""
    nothing = Imports(own=frozenset(), foreign=frozenset(), standard=frozenset())
    return nothing.and_those(own=own, foreign=foreign, standard=standard)


def imports_of_run(*args: str | Path, env: Mapping[str, str] | None = None) -> tuple[str, Imports]:
    """What g4 writes to standard output, and what it imports for that."""
    done = subprocess.run(
        command_line(*args, ways="imports"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, **(env or {})},
    )
    said = json.loads(done.stderr.splitlines()[-1])
    tops = {name.partition(".")[0] for name in said["modules"] if not name.startswith("_")}
    return done.stdout, Imports(
        own=frozenset(
            name.removeprefix("gemma4cli.")
            for name in said["modules"]
            if name.startswith("gemma4cli.")
        ),
        foreign=frozenset(tops - sys.stdlib_module_names - _NO_PACKAGES),
        standard=frozenset(
            name for name in said["asked"] if name.partition(".")[0] in sys.stdlib_module_names
        ),
    )
