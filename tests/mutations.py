"""Does the test suite notice it when the program is broken?

    python -m tests.mutations              every break, and which test noticed it first
    python -m tests.mutations --list
    python -m tests.mutations --only media --only 12

Each break is one realistic mistake. It is made in a temporary copy of the tree, where the tests of
its area then run until one fails. A break finds its spot by the text of the code, so files may be
moved; where the text itself has changed, the break has to be written again.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import cache_from_source
from os import environ, killpg
from pathlib import Path
from queue import SimpleQueue

from tests.mutants import BREAKS, Break

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "gemma4cli"
COPIED = (PACKAGE, "tests", "completions", "benchmarks", "docs", "pyproject.toml", "README.md")
LINKED = ("fixtures",)
"""Large, and only ever read."""
TESTS: Mapping[str, Sequence[Sequence[str]]] = {
    "engine": (
        (
            "tests/engine/test_[hprs]*.py",
            "tests/engine/test_[cegi]*.py",
            "tests/engine/test_batch*.py",
            "tests/engine/test_turn_cache.py",
            "tests/hub",
            "tests/machine",
            "tests/engine",
        ),
        ("tests/models", "tests/conversations/test_chat.py", "tests/test_parity.py"),
    ),
    "models": (
        (
            "tests/models/test_[cmpw]*.py",
            "tests/models",
            "tests/engine/test_[eg]*.py",
            "tests/engine/test_batch*.py",
        ),
        ("tests/test_parity.py", "tests/engine"),
    ),
    "native": (("tests/native", "tests/test_parity.py", "tests/machine"),),
    "processing": (
        ("tests/processing",),
        ("tests/media", "tests/conversations/test_chat.py", "tests/test_parity.py"),
    ),
    "transcription": (
        ("tests/transcription",),
        ("tests/cli/test_cli_transcribe*.py",),
    ),
    "media": (
        ("tests/media/test_media_[a-i]*.py", "tests/media/test_media_[s-v]*.py", "tests/media"),
        ("tests/processing", "tests/cli/test_cli_video*.py", "tests/cli/test_cli_bad_input.py"),
    ),
    "remote": (("tests/wire", "tests/remote", "tests/server/test_g4_api.py"),),
}
"""Which tests run for a break of an area: the later ones only where the first let it pass."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``noticed_by`` is the first test that failed; None where none did."""

    noticed_by: str | None
    seconds: float


class UsageError(Exception):
    """Nothing was measured, and why."""


class Tree:
    """A copy of everything that the tests need, in ``root``; one break at a time is made in it."""

    def __init__(self, root: Path, patience: float) -> None:
        self._root = root
        self._patience = patience
        skipped = shutil.ignore_patterns("__pycache__")
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, root / name, ignore=skipped)
            else:
                shutil.copy(ROOT / name, root / name)
        for name in LINKED:
            (root / name).symlink_to(ROOT / name)
        # The tests' own processes import the copy as well.
        self._env = {**environ, "PYTHONPATH": str(root)}
        found = self._python("-c", f"import {PACKAGE}; print({PACKAGE}.__file__)")
        if not Path(found.stdout.strip()).is_relative_to(root):
            raise UsageError(f"the copy in {root} is not what Python imports: {found.stdout}")

    @contextmanager
    def broken(self, mistake: Break) -> Iterator[None]:
        """The tree with this mistake in it."""
        path = self._root / file_of(mistake)
        text = path.read_text("utf-8")
        try:
            _write(path, text.replace(mistake.old, mistake.new))
            yield
        finally:
            _write(path, text)

    def first_failure(self, area: str) -> str | None:
        """The first test of an area that fails, or what else is wrong; None when all pass."""
        done: list[str] = []
        for patterns in TESTS[area]:
            paths = [path for path in self._paths(patterns) if path not in done]
            failure = self._run(paths) if paths else None
            if failure is not None:
                return failure
            done += paths
        return None

    def _paths(self, patterns: Sequence[str]) -> list[str]:
        """Files in the order given; folders are spelled out, since pytest would sort them all."""
        found: list[Path] = []
        for pattern in patterns:
            named = sorted(self._root.glob(pattern))
            if not named:
                raise UsageError(f"there are no tests {pattern}")
            for path in named:
                found += sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        return list(dict.fromkeys(str(path.relative_to(self._root)) for path in found))

    def _run(self, arguments: Sequence[str]) -> str | None:
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
        try:
            result = self._python("-m", "pytest", *options, *arguments)
        except subprocess.TimeoutExpired:
            return "hangs"
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", result.stdout, re.MULTILINE)
        if failed is not None:
            return failed[1]
        if result.returncode < 0:
            return f"crashes with {signal.Signals(-result.returncode).name}"
        if result.returncode:
            raise UsageError(f"pytest did not run:\n{result.stdout[-2000:]}")
        return None

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Python in the copy; a group of its own, so that what it has started ends with it."""
        command = [sys.executable, *arguments]
        with subprocess.Popen(
            command,
            cwd=self._root,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=self._patience)
            except BaseException:
                killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(command, process.returncode, output)


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    # It goes by size and by the second, and both may be the same.
    Path(cache_from_source(str(path))).unlink(missing_ok=True)


def file_of(mistake: Break) -> Path:
    """The one file that a break is for, from the root on. Raises UsageError."""
    found = [
        path.relative_to(ROOT)
        for path in (ROOT / PACKAGE).rglob("*.py")
        for _ in range(path.read_text("utf-8").count(mistake.old))
    ]
    if len(found) != 1:
        number = BREAKS.index(mistake) + 1
        raise UsageError(f"break {number} fits {len(found)} places of {PACKAGE}: {mistake.old!r}")
    return found[0]


def chosen(only: Sequence[str]) -> list[tuple[int, Break]]:
    """The breaks with their numbers; ``only`` names areas and numbers, and nothing means all."""
    known = {*TESTS, *(str(number) for number, _ in enumerate(BREAKS, 1))}
    if lost := [word for word in only if word not in known]:
        raise UsageError(f"no area and no number: {', '.join(lost)}")
    return [
        (number, each)
        for number, each in enumerate(BREAKS, 1)
        if not only or each.area in only or str(number) in only
    ]


def measure(
    breaks: Sequence[Break], *, jobs: int, patience: float, checked: bool
) -> Iterator[Outcome]:
    """What each break comes to, in order.

    Tests that run for more than ``patience`` seconds count as hung, and the break as noticed.
    ``checked``: first see that nothing fails without any break.
    """
    trees: SimpleQueue[Tree] = SimpleQueue()

    @contextmanager
    def free_tree() -> Iterator[Tree]:
        tree = trees.get()
        try:
            yield tree
        finally:
            trees.put(tree)

    def sound(area: str) -> None:
        with free_tree() as tree:
            if (failure := tree.first_failure(area)) is not None:
                raise UsageError(f"{failure} fails although nothing is broken")

    def outcome(mistake: Break) -> Outcome:
        begun = time.monotonic()
        with free_tree() as tree, tree.broken(mistake):
            failure = tree.first_failure(mistake.area)
        return Outcome(failure, time.monotonic() - begun)

    with tempfile.TemporaryDirectory(prefix="g4-mutations-") as folder:
        for job in range(jobs):
            root = Path(folder, str(job)).resolve()
            root.mkdir()
            trees.put(Tree(root, patience))
        pool = ThreadPoolExecutor(jobs)
        try:
            areas = {each.area for each in breaks}
            for _ in pool.map(sound, sorted(areas) if checked else ()):
                pass
            yield from pool.map(outcome, breaks)
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> int:
    """Runs the breaks; 1 when one of them survives."""
    parser = argparse.ArgumentParser(description="Break the program, and see whether tests notice.")
    parser.add_argument("--only", action="append", default=[], metavar="AREA|NUMBER")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tested at once")
    parser.add_argument("--patience", type=float, default=900.0, help="seconds until tests hang")
    parser.add_argument("--list", action="store_true", help="show the breaks and run nothing")
    parser.add_argument("--unchecked", action="store_true", help="skip the tests of the sound tree")
    options = parser.parse_args()
    try:
        breaks = chosen(options.only)
        for _, each in breaks:
            file_of(each)
        if options.list:
            for number, each in breaks:
                _say(f"{number:>3} | {each.area:<13} | {each.what}")
            return 0
        outcomes = measure(
            [each for _, each in breaks],
            jobs=options.jobs,
            patience=options.patience,
            checked=not options.unchecked,
        )
        return _report(breaks, outcomes)
    except UsageError as error:
        sys.stderr.write(f"mutations: {error}\n")
        return 2


def _report(breaks: Sequence[tuple[int, Break]], outcomes: Iterator[Outcome]) -> int:
    survived = 0
    begun = time.monotonic()
    for (number, each), outcome in zip(breaks, outcomes, strict=True):
        survived += outcome.noticed_by is None
        verdict = outcome.noticed_by or "SURVIVED"
        _say(f"{number:>3} | {each.area:<13} | {each.what} | {verdict} | {outcome.seconds:.0f} s")
    noticed, passed = len(breaks) - survived, time.monotonic() - begun
    _say(f"{len(breaks)} breaks: {noticed} noticed, {survived} survived; {passed:.0f} s")
    return 1 if survived else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
