"""How well the finished audio tower hears: word errors of greedy CTC on every held-out set.

``python -m training.speech.evaluate_tower WORK`` prints a table; its rows without words count the
words that were heard where nobody speaks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from training.loop import trained

from .audio_features import finished_tower
from .audio_tower import FOLDER, HEADS, Speller, errors_in
from .shards import HELD_OUT_COUNTS, read_shard


def finished_speller(work: Path) -> Speller:
    """The tower as it is shipped, with the heads of its training."""
    speller = Speller(finished_tower(work))
    for name in HEADS:
        speller.get_submodule(name).load_state_dict(trained(work / FOLDER, name))
    return speller.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the finished audio tower.")
    parser.add_argument("work", type=Path, help="folder for working data")
    work: Path = parser.parse_args().work
    torch.set_num_threads(1)
    speller = finished_speller(work)
    sys.stdout.write("| set | clips | words | word errors | rate | clips without error |\n")
    for name in HELD_OUT_COUNTS:
        clips = read_shard(work, name, 0)
        wrong, said, exact = errors_in(speller, clips)
        rate = f"{100 * wrong / said:.1f} %" if said else "-"
        sys.stdout.write(f"| {name} | {len(clips)} | {said} | {wrong} | {rate} | {exact} |\n")


if __name__ == "__main__":
    main()
