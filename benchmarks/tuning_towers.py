"""How long a step of tuning with a medium takes when towers are tuned too, and its peak memory.

    python benchmarks/tuning_towers.py -m e2b-folder                # a picture
    python benchmarks/tuning_towers.py -m e2b-folder --budget 70    # a small one
    python benchmarks/tuning_towers.py -m e2b-folder --audio talk.wav --targets audio

A step is the loss and the gradients of one example, whose medium goes through its tower. The
picture is drawn.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import monotonic, process_time

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", default="tiny")
    parser.add_argument("--targets", default="attention,mlp,vision,projections")
    parser.add_argument("--audio", type=Path, help="a recording instead of a picture")
    parser.add_argument("--budget", type=int, help="soft tokens of the picture")
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measured(given, Path(scratch))))


def picture(file: Path) -> Path:
    """Noise in large squares."""
    import numpy as np
    from PIL import Image

    colors = np.random.default_rng(7).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(colors).resize((1024, 768), Image.Resampling.NEAREST).save(file)
    return file


def measured(given: argparse.Namespace, scratch: Path) -> dict[str, object]:
    import mlx.core as mx

    from gemma4cli.api import load
    from gemma4cli.messages import AudioPart, ImagePart, Message, Source, TextPart
    from gemma4cli.models.training import with_gradients
    from gemma4cli.options import LoadOptions
    from gemma4cli.tuning.adapter import LowRankOptions, with_new_adapter
    from gemma4cli.tuning.examples import Prepared, prepare_sample
    from gemma4cli.tuning.fit import fitting
    from gemma4cli.tuning.media_store import MediaStore
    from gemma4cli.tuning.samples import medium_sample
    from gemma4cli.tuning.settings import TuningOptions
    from gemma4cli.tuning.steps import Learner

    model = load(given.model, options=LoadOptions(draft="none"))
    if given.audio:
        part = AudioPart(source=Source.of(given.audio))
    else:
        part = ImagePart(source=Source.of(picture(scratch / "picture.png")))
    question = Message(role="user", content=(part, TextPart(text="What is it?")))
    sample = medium_sample(question, "Squares of many colors, side by side.", "drawn")
    conversation = replace(sample.conversation, max_soft_tokens=given.budget)
    sample = replace(sample, conversation=conversation)
    (found,) = (each for each in prepare_sample(model, sample, 10**6) if isinstance(each, Prepared))
    media = MediaStore(model=model, folder=scratch, in_step=True)
    media.add(found.media)
    additions = LowRankOptions(rank=16, alpha=32.0, targets=tuple(given.targets.split(",")))
    network = with_new_adapter(with_gradients(model.network, towers=True), additions, seed=0)
    learner = Learner(network=network, media=media, tokens_at_once=10**6)
    foreseen = fitting(model, learner, found.examples, TuningOptions(batch=1)).memory
    seconds: list[float] = []
    processor: list[float] = []
    losses: list[float] = []
    for _ in range(given.steps):
        started, used = monotonic(), process_time()
        loss, gradients = learner.gradients(found.examples)
        mx.eval(gradients)
        seconds.append(round(monotonic() - started, 2))
        processor.append(round(process_time() - used, 2))
        losses.append(round(loss, 5))
    return {
        "tokens": len(found.examples[0].ids),
        "seconds": seconds,
        "median": statistics.median(seconds[1:] or seconds),
        "processor_seconds": processor,
        "losses": losses,
        "foreseen_gb": round(foreseen / 1e9, 2),
        "peak_mlx_gb": round(mx.get_peak_memory() / 1e9, 2),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


if __name__ == "__main__":
    main()
