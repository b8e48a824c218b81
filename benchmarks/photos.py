"""How many photos a second are made ready for a model, by threads, without the model.

    python benchmarks/photos.py
    python benchmarks/photos.py --megapixels 24 --budget 1120

A JPEG of noise that was enlarged, of so many megapixels, is opened and prepared as ``g4 describe``
does it ahead of the model: decoded, turned upright, fitted to the budget and cut into patches.
Rounds with each number of threads take turns. CPU seconds say what a photo costs, photos a second
what threads gain. Beside it is what they gain for SHA-256, where no thread waits for another: on
a machine with other work that is less than their number, and what photos can gain. The last line of
stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
from PIL import Image

from gemma4cli import api
from gemma4cli.conversations.ahead import done_ahead
from gemma4cli.conversations.open_media import open_message, prepare
from gemma4cli.conversations.opened import OpenedMessage
from gemma4cli.engine.model import LoadedModel
from gemma4cli.media.pictures.images import load_image
from gemma4cli.messages import Message, Source, content_of
from gemma4cli.options import Budget, MediaOptions


def make(path: Path, megapixels: float) -> None:
    """A 4:3 photo of the size of a camera's file: 3.5 MB for 12 megapixels."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 255, (height // 8, height // 6, 3), np.uint8)
    large = Image.fromarray(noise).resize((height * 4 // 3, height), Image.Resampling.BICUBIC)
    large.save(path, quality=88)


def ready(model: LoadedModel, path: Path, media: MediaOptions) -> int:
    """Make one photo ready; returns its soft tokens."""
    content = content_of("Describe this image.", images=[path])
    for step in open_message(model, Message(role="user", content=content), media):
        if isinstance(step, OpenedMessage):
            return len(prepare(model, [step], media, think=False).ids)
    raise AssertionError("the message comes last")


_HASHED = bytes(60_000_000)
"""What takes about as long as a photo."""


def rate(work: Callable[[], object], threads: int, count: int) -> float:
    begun = time.monotonic()
    for _, result in done_ahead(lambda number: work(), range(count), threads=threads, most=8):
        assert not isinstance(result, Exception), result
    return count / (time.monotonic() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--budget", type=int, default=280)
    parser.add_argument("--photos", type=int, default=12, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    media = MediaOptions(budget=cast(Budget, options.budget))
    model = api.load("tiny")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        make(path, options.megapixels)
        ready(model, path, media)
        cost = {"decode": [], "all": []}  # type: dict[str, list[float]]
        for _ in range(options.rounds):
            begun = time.process_time()
            load_image(Source.of(path))
            cost["decode"].append(time.process_time() - begun)
            begun = time.process_time()
            ready(model, path, media)
            cost["all"].append(time.process_time() - begun)
        threads = [1, 2, 4][: 1 + (os.cpu_count() or 1).bit_length() - 1]
        rates: dict[int, list[float]] = {each: [] for each in threads}
        hashes: dict[int, list[float]] = {each: [] for each in threads}
        for _ in range(options.rounds):
            for each in threads:
                count = options.photos
                rates[each].append(rate(lambda: ready(model, path, media), each, count))
                hashes[each].append(rate(lambda: sha256(_HASHED).digest(), each, count))
    costs = {what: median(seconds) for what, seconds in cost.items()}
    gains, possible = gains_of(rates), gains_of(hashes)
    print(f"CPU s for a photo: {costs['all']:.3f}, of which {costs['decode']:.3f} to decode it")
    for each in threads:
        gain = f"{gains[each]:.2f} of one thread, SHA-256 {possible[each]:.2f}"
        print(f"{each} threads: {median(rates[each]):6.2f} photos/s, {gain}")
    result = {"cpu": costs, "rates": {each: median(rates[each]) for each in threads}}
    print(json.dumps({**result, "gains": gains, "possible": possible}))


def gains_of(rates: dict[int, list[float]]) -> dict[int, float]:
    """How much faster threads are than one, by their number: medians of the rounds' ratios."""
    return {
        threads: median(one / alone for one, alone in zip(found, rates[1], strict=True))
        for threads, found in rates.items()
    }


if __name__ == "__main__":
    main()
