"""``python -m tests.fuzz.soak``: long runs, and whether memory and descriptors stay flat.

A conversation at a terminal with a new picture in every turn, long past the end of its context,
and many recordings, pictures and clips in one run each; no two of them are alike. All of it takes
half an hour. Memory and descriptors of the second half may be little more than those of the
quarter before it. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from .seeds import ROOT, SAMPLES, TINY, write_clip

_MORE = 1.1
"""How many times the memory of the second quarter the second half may need."""
_SPARE_BYTES = 16 << 20
_SPARE_FILES = 2
_EVERY = 0.05
"""Seconds between two looks at a process."""

_CONTEXT = 2048
"""Tokens of the conversation: about 20 turns with a picture."""
_PROMPT = "\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""
_SETTLED = 0.05
"""Seconds without output after which a prompt is whole."""
_PATIENCE = 120.0


class _Watch:
    """Notes the memory, in bytes, and the open descriptors of a process until it ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._samples: list[tuple[int, int]] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        folder = Path(f"/proc/{self._process.pid}")
        while self._process.poll() is None:
            try:
                pages = int((folder / "statm").read_text().split()[1])
                self._samples.append(
                    (pages * os.sysconf("SC_PAGESIZE"), len(os.listdir(folder / "fd")))
                )
            except OSError:
                return
            time.sleep(_EVERY)

    def is_flat(self, name: str) -> bool:
        """Print what the process needed, and whether that stayed flat. Call after its end."""
        self._thread.join()
        middle = len(self._samples) // 2
        before, after = self._samples[middle // 2 : middle], self._samples[middle:]
        memory, files = (max(each) for each in zip(*before, strict=True))
        later, later_files = (max(each) for each in zip(*after, strict=True))
        flat = later < memory * _MORE + _SPARE_BYTES and later_files <= files + _SPARE_FILES
        print(
            f"{name}: {memory / 1e6:.0f} MB and {files} descriptors, then {later / 1e6:.0f} MB and "
            f"{later_files}: {'flat' if flat else 'GROWS'}",
            flush=True,
        )
        return flat


def _started(folder: Path, args: Sequence[str], **streams: int) -> subprocess.Popen[bytes]:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    env |= {f"XDG_{name}_HOME": str(folder / name) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    env |= {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    command = [sys.executable, "-m", "gemma4cli", *args]
    return subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **streams)


def _photo(path: Path, number: int, size: tuple[int, int]) -> None:
    levels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(levels).resize(size).save(path)


def _recording(path: Path, number: int) -> None:
    """A second of speech."""
    with wave.open(str(SAMPLES / f"speech{number % 12:02}.wav")) as source:
        source.setpos(number % 1000)
        samples = np.frombuffer(source.readframes(16_000), "<i2")
    with wave.open(str(path), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes((samples * (0.5 + number % 997 / 2000)).astype("<i2").tobytes())


def _many(count: int, suffix: str, make: Callable[[Path, int], None], *args: str) -> bool:
    """Run a command on a folder of ``count`` inputs, each with a result of its own."""
    with TemporaryDirectory(prefix="g4-soak-") as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        for number in range(count):
            make(folder / "in" / f"{number:05}{suffix}", number)
        process = _started(folder, [args[0], "in", "-m", "tiny", "-q", *args[1:], "-o", "out/"])
        watch = _Watch(process)
        status = process.wait()
        written = len(list((folder / "out").iterdir()))
        print(f"status {status}, {written} results of {count} inputs")
        return watch.is_flat(f"{args[0]}, {count} inputs") and status == 0 and written == count


def soak_recordings(count: int) -> bool:
    """Short recordings."""
    return _many(count, ".wav", _recording, "transcribe")


def soak_pictures(count: int) -> bool:
    """Small pictures."""
    make: Callable[[Path, int], None] = lambda path, number: _photo(path, number, (60, 45))  # noqa: E731
    return _many(count, ".png", make, "describe", "--max-tokens", "4")


def soak_clips(count: int) -> bool:
    """Short clips with sound."""
    make: Callable[[Path, int], None] = lambda path, number: write_clip(  # noqa: E731
        path, "libx264", "yuv420p", shade=number
    )
    return _many(count, ".mp4", make, "video", "--max-tokens", "4")


def soak_turns(count: int) -> bool:
    """A photo in every turn; the oldest turns are dropped when g4 offers that."""
    with TemporaryDirectory(prefix="g4-soak-") as temporary:
        folder = Path(temporary)
        _short_model(folder / "model")
        ours, theirs = pty.openpty()
        process = _started(
            folder,
            ["chat", "-m", "model", "--max-tokens", "8", "--temperature", "0", "--session", "long"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        watch = _Watch(process)
        dropped = 0
        for number in range(count):
            dropped += _turns_dropped(_until_prompt(ours))
            _photo(folder / f"{number}.jpg", number, (1200, 900))
            os.write(ours, f"{number}.jpg What is this?\r".encode())
        _until_prompt(ours)
        os.write(ours, b"\x04")
        status = process.wait(_PATIENCE)
        os.close(ours)
        print(f"status {status}, {dropped} turns dropped")
        return watch.is_flat(f"chat, {count} turns") and status == 0 and dropped > count // 2


def _short_model(folder: Path) -> None:
    shutil.copytree(TINY, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["text_config"]["max_position_embeddings"] = _CONTEXT
    path.write_text(json.dumps(config), encoding="utf-8")


def _until_prompt(terminal: int) -> str:
    """What is shown until the next question can be typed; offers to drop turns are accepted."""
    shown, answered = "", 0
    while True:
        prompts = shown.count(_PROMPT)
        wait = _SETTLED if prompts > answered else _PATIENCE
        if select.select([terminal], [], [], wait)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
        elif prompts == answered:
            raise SystemExit(f"soak: no prompt came after: {shown[-500:]!r}")
        elif "[y/n]" in shown.rpartition(_PROMPT)[2]:
            answered = prompts
            os.write(terminal, b"y\r")
        else:
            return shown


def _turns_dropped(shown: str) -> int:
    return sum(int(number) for number in re.findall(r"dropped (\d+) turn", shown))


_RUNS: dict[str, tuple[Callable[[int], bool], int]] = {
    "turns": (soak_turns, 300),
    "recordings": (soak_recordings, 2000),
    "pictures": (soak_pictures, 2000),
    "clips": (soak_clips, 200),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the status is 1 if anything grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak", description="Soak g4.")
    for name, (_, count) in _RUNS.items():
        parser.add_argument(f"--{name}", type=int, default=count, help=f"{count} unless given")
    given = vars(parser.parse_args(args))
    flat = [run(given[name]) for name, (run, _) in _RUNS.items() if given[name]]
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
