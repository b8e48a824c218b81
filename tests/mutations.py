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

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "gemma4cli"
COPIED = (PACKAGE, "tests", "completions", "benchmarks", "docs", "pyproject.toml", "README.md")
LINKED = ("fixtures",)
"""Large, and only ever read."""
PATIENCE = 600.0
"""Seconds after which tests that are still running count as hung, and the break as noticed."""

TESTS: Mapping[str, Sequence[Sequence[str]]] = {
    "models": (
        ("tests/test_parity.py", "tests/models"),
        ("tests/engine", "tests/test_tiny_unified.py", "tests/test_samples.py"),
    ),
    "engine": (
        ("tests/test_parity.py", "tests/engine/test_[p-t]*.py", "tests/engine/test_[c-h]*.py"),
        ("tests/engine", "tests/models", "tests/test_session.py", "tests/cli/test_cli_models*.py"),
    ),
    "processing": (
        ("tests/processing",),
        ("tests/test_parity.py", "tests/media", "tests/test_session.py", "tests/test_samples.py"),
    ),
    "transcription": (
        ("tests/transcription",),
        ("tests/cli/test_cli_transcribe*.py", "tests/test_samples.py"),
    ),
    "media": (
        ("tests/media",),
        ("tests/processing", "tests/cli/test_cli_video*.py", "tests/cli/test_cli_bad_input.py"),
    ),
}
"""Which tests run for a break of an area: the later ones only where the first let it pass."""


@dataclass(frozen=True, slots=True)
class Break:
    """One mistake: ``old``, which is in the package exactly once, becomes ``new``."""

    area: str
    what: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """``noticed_by`` is the first test that failed; None where none did."""

    noticed_by: str | None
    seconds: float


class UsageError(Exception):
    """Nothing was measured, and why."""


# fmt: off
BREAKS = (
    Break("engine", "chunks of a prompt may end inside a video frame",
          'images = [span for span in spans if span.kind != "audio"]',
          'images = [span for span in spans if span.kind == "image"]'),
    Break("engine", "the images of one chunk count as one block, so that they see each other",
          "blocks[span.start - start : span.end - start] = [number] *",
          "blocks[span.start - start : span.end - start] = [0] *"),
    Break("engine", "a prompt that goes on from a cache is chunked as if it began at 0",
          "replace(span, start=span.start - start, end=span.end - start)",
          "replace(span, start=span.start, end=span.end)"),
    Break("engine", "only the first logit is checked for NaN in decoding",
          "finite = mx.isfinite(logits.sum())",
          "finite = mx.isfinite(logits[0])"),
    Break("engine", "a prompt that is all in the cache leaves no position to compute",
          "min(_agreement(self._content, content), len(content) - 1)",
          "min(_agreement(self._content, content), len(content))"),
    Break("engine", "turns that were run with other masks are gone on from",
          "if network is not self._network or open_full_layers != self._open_full_layers:",
          "if network is not self._network:"),
    Break("engine", "two different media of one length count as the same in the cache",
          "[feature.digest] * (span.end - span.start)",
          "[span.kind] * (span.end - span.start)"),
    Break("engine", "kept states share their arrays with the running cache",
          "each[...] if isinstance(each, mx.array) else each for each in state",
          "each for each in state"),
    Break("engine", "rows of a batch go on with another row's sampler once one has ended",
          "self._samplers = [self._samplers[row] for row in rows]",
          "self._samplers = self._samplers[: len(rows)]"),
    Break("engine", "a batch's chunk has a column too many",
          "bisect_left(begins, end + 1) * (end + 1 - start) <= step",
          "bisect_left(begins, end + 1) * (end - start) <= step"),
    Break("engine", "top-p leaves out the token that reaches it",
          "mx.where(before < top_p, logits[order], -mx.inf)",
          "mx.where(before + probabilities <= top_p, logits[order], -mx.inf)"),
    Break("engine", "images of unlike grids with as many patches are encoded as one grid",
          "return first.grid == feature.grid and patches <= _PATCHES_AT_ONCE",
          "return len(first.patches) * count == patches <= _PATCHES_AT_ONCE"),
    Break("engine", "the estimate forgets the chunk that sliding layers hold besides the window",
          "min(grown, text.sliding_window) + min(step, max(0, grown - text.sliding_window))",
          "min(grown, text.sliding_window)"),
    Break("engine", "an empty thought that the prompt has closed counts as open",
          "self._in_thought = token == self._open\n        self._in_label",
          "self._in_thought = True\n        self._in_label"),
    Break("engine", "a channel's name shows when it comes in several tokens",
          "self._in_label = not newline",
          "self._in_label = False"),
    Break("engine", "a short refrain ends the answer as an endless loop",
          "run = max(_SHORTEST_RUN, _REPEATS * cycle)",
          "run = _REPEATS * cycle"),
    Break("engine", "a download that broke off begins anew behind what has come",
          "resume_size=begun,",
          "resume_size=0,"),
    Break("engine", "a download with a wrong checksum is kept",
          "if digest != etag:",
          "if not digest:"),
    Break("engine", "an unfinished download is run",
          "if not is_complete(folder):",
          "if not folder.exists():"),

    Break("models", "per-layer embeddings are not scaled",
          "self._rows(self.embed_tokens_per_layer, ids) * config.ple_size**0.5",
          "self._rows(self.embed_tokens_per_layer, ids)"),
    Break("models", "layers that share keys and values take those of the first layer of their kind",
          "newest[kind] = (keys_values, offset)",
          "newest.setdefault(kind, (keys_values, offset))"),
    Break("models", "the cap on logits hides an infinity",
          "return mx.where(mx.isinf(logits), mx.nan, capped)",
          "return capped"),
    Break("models", "the sliding window has a token too many",
          "return k > q - window",
          "return k >= q - window"),
    Break("models", "rows of a batch forget that padding leaves the window",
          "dropped = offset - kept",
          "dropped = 0"),
    Break("models", "text between images sees the text ahead of it",
          "(ids[:, None] == ids[None]) & (ids[:, None] >= 0)",
          "ids[:, None] == ids[None]"),
    Break("models", "x and y of a patch's position are swapped",
          "hidden + (table[0][xs] + table[1][ys])",
          "hidden + (table[1][xs] + table[0][ys])"),
    Break("models", "patches are rotated the wrong way round",
          "[first * cos - second * sin, second * cos + first * sin]",
          "[first * cos + second * sin, second * cos - first * sin]"),
    Break("models", "image features are standardized in the wrong order",
          "pooled = (pooled - bias) * scale",
          "pooled = pooled * scale - bias"),
    Break("models", "x and y of a patch's position are swapped in the unified model",
          "self.pos_embedding[xs, 0] + self.pos_embedding[ys, 1]",
          "self.pos_embedding[xs, 1] + self.pos_embedding[ys, 0]"),
    Break("models", "a sound token sees one token too many of the past",
          "(distance >= 0) & (distance < before)",
          "(distance >= 0) & (distance <= before)"),
    Break("models", "a clip's last token hears the clip that shares its batch",
          "heard = mx.arange(x.shape[1]) < ends[:, None]",
          "heard = mx.arange(x.shape[1]) <= ends[:, None]"),
    Break("models", "the audio tower's feed-forward counts in full",
          "return x + out * self.config.residual_weight",
          "return x + out"),
    Break("models", "soft tokens that two chunks share begin anew in the second",
          "item.values[first - item.start : last - item.start]",
          "item.values[: last - first]"),
    Break("models", "the halves of fused experts are swapped",
          "gate, up = mx.split(value, 2, axis=-2)",
          "up, gate = mx.split(value, 2, axis=-2)"),
    Break("models", "kernels of convolutions come out transposed",
          "moved = mx.moveaxis(value, 1, -1)",
          "moved = mx.swapaxes(value, 1, -1)"),
    Break("models", "layers that differ in their heads are taken for alike",
          "if not overrides or any(o != overrides[0] for o in overrides):",
          "if not overrides:"),
    Break("models", "dropped padding of a batch still counts as filled",
          "columns.filled -= spare",
          "columns.filled -= 0"),

    Break("processing", "times of frames are rounded to the nearest second",
          'yield Text(f"{gap}{time_label(seconds)} ")',
          'yield Text(f"{gap}{time_label(round(seconds))} ")'),
    Break("processing", "no space stands between a frame and the next one's time",
          'gap = " " if number else ""',
          'gap = ""'),
    Break("processing", "two images whose sizes are swapped are not noticed",
          "if wanted == given:",
          "if sum(wanted) == sum(given):"),
    Break("processing", "an empty thought opens the answer while thinking is on",
          "if options.empty_thought and not options.think:",
          "if options.empty_thought:"),
    Break("processing", "thoughts of earlier turns are shown again",
          "shows_thoughts=head > last_user,",
          "shows_thoughts=True,"),
    Break("processing", "a turn that ends in a tool's result is closed",
          "elif not goes_on and (turn.left is None or has_content or turn.next_role is not None):",
          "elif not goes_on:"),
    Break("processing", "control tokens that a user types become control tokens",
          "backend.encode_special_tokens = True",
          "backend.encode_special_tokens = False"),
    Break("processing", "a character that breaks off inside an answer leaves nothing behind",
          "return self.flush() + self._tokenizer.decode([token_id])",
          "return self._tokenizer.decode([token_id])"),
    Break("processing", "an image is fitted to the nearest size and may exceed its budget",
          "(math.floor(scale * side / unit) for side in (height, width))",
          "(round(scale * side / unit) for side in (height, width))"),
    Break("processing", "a very wide image exceeds its budget",
          "rows, columns = 1, min(width // height, budget)",
          "rows, columns = 1, width // height"),
    Break("processing", "patches run across the whole image",
          "pixels.reshape(rows, side, columns, side, 3).swapaxes(1, 2)",
          "pixels.reshape(rows, side, columns, side, 3)"),
    Break("processing", "the window of sound frames is symmetric instead of periodic",
          "np.cos(2 * np.pi * np.arange(length) / length)",
          "np.cos(2 * np.pi * np.arange(length) / (length - 1))"),
    Break("processing", "half a frame of silence in front of a clip is not counted",
          "padded = samples + config.frame_length // 2",
          "padded = samples"),
    Break("processing", "a span reaches behind the end of its clip",
          "end = duration if end is None else min(end, duration)",
          "end = duration if end is None else end"),
    Break("processing", "a frame that begins just behind its time is put to the next one",
          "bisect_left(plan.times, frame.seconds - _SLACK)",
          "bisect_left(plan.times, frame.seconds)"),
    Break("processing", "a small image is enlarged without need",
          "if b >= min(detail, most)",
          "if b >= most"),

    Break("transcription", "what precedes a pause takes more than half of it",
          "bound = (last.end + rest[0].start) // 2 if rest else",
          "bound = rest[0].start if rest else"),
    Break("transcription", "sound before speech may have been heard already",
          "return max(self._regions[0].start - self._padding, self._floor)",
          "return max(self._regions[0].start - self._padding, 0)"),
    Break("transcription", "the longest pause is taken however early it is",
          "(before.end >= late, after.start - before.end, number)",
          "(after.start - before.end, number)"),
    Break("transcription", "speech that was cut is found once more from its old beginning",
          "region.start = self._onset = again",
          "region.start = again"),
    Break("transcription", "cuts are made at the beginning of the quiet, not in its middle",
          "return start + int(np.argmin(loudness)) + window // 2",
          "return start + int(np.argmin(loudness))"),
    Break("transcription", "signs of a language without spaces count as whole words",
          "if size > most_words:",
          "if count > most_words:"),
    Break("transcription", "the word at a joint is lost",
          "left[-1].start].rstrip(), _from(after, right, count - 1)",
          "left[-1].start].rstrip(), _from(after, right, count)"),
    Break("transcription", "two words that only begin alike count as the same",
          "if (other and same < 2) or (not same and sure < cut):",
          "if other and same < 2:"),
    Break("transcription", "segments that overlap do not meet in the middle",
          "border = (after.start + before.end) / 2",
          "border = before.end"),
    Break("transcription", "what was heard before a recording breaks off is lost",
          "yield from self._told(self._held)",
          "yield from ()"),
    Break("transcription", "a torn line stays in the journal",
          "self._truncate(length)\n        return done",
          "return done"),
    Break("transcription", "a journal that is cut back loses one more",
          'lines = self._content().split(b"\\n")[: count + 1]',
          'lines = self._content().split(b"\\n")[:count]'),
    Break("transcription", "a second try counts even when it is no better",
          'best = runs[-1] if runs[-1].reason == "stop" else first',
          "best = runs[-1]"),
    Break("transcription", "a loop is cut off only when it was said once more",
          "if repeated >= (_ROUNDS - 1) * cycle:",
          "if repeated >= _ROUNDS * cycle:"),
    Break("transcription", "short stops within speech add up to a pause",
          "spoken, quiet = spoken + FRAME_SECONDS, 0.0",
          "spoken += FRAME_SECONDS"),

    Break("media", "8-bit sound is off its middle by one",
          "samples -= 128.0",
          "samples -= 127.0"),
    Break("media", "channels that are interleaved get mixed up",
          "values = values.reshape(frame.samples, -1).T",
          "values = values.reshape(-1, frame.samples)"),
    Break("media", "a clock that jumps by hours gives hours of silence",
          "if GAP_SECONDS < gap < LONGEST_GAP_SECONDS:",
          "if GAP_SECONDS < gap:"),
    Break("media", "not-a-numbers of a sound file reach the model",
          "np.clip(np.nan_to_num(samples, nan=0.0), -1.0, 1.0)",
          "np.clip(samples, -1.0, 1.0)"),
    Break("media", "the second block of a span begins too late",
          "wanted = block[max(first - at, 0) : max(stop, 0)]",
          "wanted = block[max(first, 0) : max(stop, 0)]"),
    Break("media", "a chunk of odd size hides the chunks behind it",
          "file.seek(size + size % 2, os.SEEK_CUR)",
          "file.seek(size, os.SEEK_CUR)"),
    Break("media", "photos of a phone held upright lie upside down",
          "6: Pillow.Transpose.ROTATE_270,",
          "6: Pillow.Transpose.ROTATE_90,"),
    Break("media", "transparent parts lie on black",
          "rgba.size, (255, 255, 255, 255))",
          "rgba.size, (0, 0, 0, 255))"),
    Break("media", "the transparent grey is the one that shows",
          "np.where(values == key, np.uint8(0), np.uint8(255))",
          "np.where(values == key, np.uint8(255), np.uint8(0))"),
    Break("media", "the container around a magic number is not asked for",
          "if offset == 0 or head[:4] == _RIFF_LIKE[magic]:",
          "if offset >= 0:"),
    Break("media", "the last of a file's brands is not read",
          "for at in range(16, size - 3, 4)}",
          "for at in range(16, size - 4, 4)}"),
    Break("media", "clips are turned the wrong way round",
          "np.rot90(pixels, shot.turns)",
          "np.rot90(pixels, -shot.turns)"),
    Break("media", "a frame that begins a rounding error late is missed",
          "math.floor((Fraction(time) + slack) / track.tick)",
          "math.floor(Fraction(time) / track.tick)"),
    Break("media", "a frame comes twice when jumping fails behind it",
          "if given is None or shot.pts > given:",
          "if given is None or shot.pts >= given:"),
    Break("media", "a clip that is upside down has its sides swapped",
          "if head.turns % 2:",
          "if head.turns:"),
    Break("media", "speech after short silences is not listened to",
          "still = still + 1 if loudest < _STILL else 0",
          "still = still + 1 if loudest < _STILL else still"),
    Break("media", "an empty file is opened",
          "if size == 0:",
          "if size < 0:"),
)
# fmt: on


class Tree:
    """A copy of everything that the tests need, in ``root``; one break at a time is made in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
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
            paths = self._paths(patterns)
            failure = self._run([*paths, *(f"--ignore={path}" for path in done)])
            if failure is not None:
                return failure
            done += paths
        return None

    def _paths(self, patterns: Sequence[str]) -> list[str]:
        found: list[str] = []
        for pattern in patterns:
            paths = sorted(str(p.relative_to(self._root)) for p in self._root.glob(pattern))
            if not paths:
                raise UsageError(f"there are no tests {pattern}")
            found += [path for path in paths if path not in found]
        return found

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
                output, _ = process.communicate(timeout=PATIENCE)
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


def measure(breaks: Sequence[Break], jobs: int, *, checked: bool) -> Iterator[Outcome]:
    """What each break comes to, in order. ``checked``: first see that nothing fails without it."""
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
            trees.put(Tree(root))
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
        return _report(breaks, options.jobs, checked=not options.unchecked)
    except UsageError as error:
        sys.stderr.write(f"mutations: {error}\n")
        return 2


def _report(breaks: Sequence[tuple[int, Break]], jobs: int, *, checked: bool) -> int:
    survived = 0
    begun = time.monotonic()
    outcomes = measure([each for _, each in breaks], jobs, checked=checked)
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
