"""``python -m tests.fuzz.soak``: long runs, and whether memory and descriptors stay flat.

A conversation of 300 turns with pictures runs past the end of the context; 2,000 short clips are
transcribed in one run. Both take minutes. The second half may need little more than the first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gemma4cli import api
from gemma4cli.conversations.chat import Chat
from gemma4cli.messages import content_of
from gemma4cli.options import GenerateOptions, MediaOptions

from .seeds import SAMPLES

_MORE = 1.15
"""How many times the memory of the first half the second may need."""
_SPARE_BYTES = 64 << 20
_TURN_TOKENS = 700
"""More than a turn with a picture needs."""


def _status(pid: int) -> tuple[int, int]:
    """Bytes in memory, and open descriptors, of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024, len(os.listdir(f"/proc/{pid}/fd"))
    return 0, 0


def _flat(name: str, samples: Sequence[tuple[int, int]]) -> bool:
    """Print what a run needed, and whether its second half needed no more than its first."""
    middle = len(samples) // 2
    first, second = samples[middle // 2 : middle], samples[middle:]
    memory, later = max(each[0] for each in first), max(each[0] for each in second)
    files, later_files = max(each[1] for each in first), max(each[1] for each in second)
    flat = later < memory * _MORE + _SPARE_BYTES and later_files <= files + 2
    print(
        f"{name}: {memory / 1e6:.0f} MB and {files} descriptors, then {later / 1e6:.0f} MB and "
        f"{later_files}: {'flat' if flat else 'GROWS'}"
    )
    return flat


def soak_chat(turns: int) -> bool:
    """Pictures in every turn; the oldest turn is taken out when the context is full."""
    model = api.load("tiny")
    chat = Chat(model, media=MediaOptions())
    options = GenerateOptions(max_tokens=8, temperature=0.0)
    samples, dropped = [], 0
    for turn in range(turns):
        picture = SAMPLES / f"image{turn % 12:02}.png"
        content = content_of(f"What is number {turn}?", images=[picture])
        while chat.context().tokens + _TURN_TOKENS > model.context_length:
            chat.drop_oldest()
            dropped += 1
        for _ in chat.send(content, options):
            pass
        samples.append(_status(os.getpid()))
    return _flat(f"{turns} turns, {dropped} of them taken out again", samples)


def soak_clips(clips: int) -> bool:
    """Links to a few recordings, transcribed into files by one process."""
    with TemporaryDirectory(prefix="g4-soak-") as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        for number in range(clips):
            os.symlink(SAMPLES / f"speech{number % 12:02}.wav", folder / "in" / f"{number:05}.wav")
        command = [sys.executable, "-m", "gemma4cli", "transcribe", "in", "-m", "tiny", "-q"]
        env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "TMPDIR": temporary}
        process = subprocess.Popen([*command, "-o", "out/"], cwd=folder, env=env)
        samples = []
        while process.poll() is None:
            samples.append(_status(process.pid))
            time.sleep(0.5)
        written = len(list((folder / "out").iterdir()))
        ended = process.returncode == 0 and written == clips
        print(f"status {process.returncode}, {written} of {clips} transcripts")
        return _flat(f"{clips} clips", [each for each in samples if each[0]]) and ended


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the status is 1 if anything grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak", description="Soak g4.")
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--clips", type=int, default=2000)
    given = parser.parse_args(args)
    runs: list[tuple[Callable[[int], bool], int]] = [
        (soak_clips, given.clips),
        (soak_chat, given.turns),
    ]
    flat = [run(count) for run, count in runs if count]
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
