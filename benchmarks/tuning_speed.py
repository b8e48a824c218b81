"""How long a step of tuning takes, and what it needs of memory beside what was foreseen.

    python benchmarks/tuning_speed.py -m e2b-folder            # two rows of 64 tokens, half learned
    python benchmarks/tuning_speed.py -m e2b-folder --length 256 --steps 2 --recompute

A step is the loss and the gradients of a batch, and the optimizer's change; the ids are drawn.
``G4_NO_NATIVE=1`` measures MLX's own operations.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", default="tiny")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--length", type=int, default=64, help="tokens of each row")
    parser.add_argument("--learned", type=float, default=0.5, help="share of them that is learned")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument(
        "--recompute", action="store_true", help="layers compute their values again"
    )
    print(json.dumps(measured(parser.parse_args())))


def measured(given: argparse.Namespace) -> dict[str, object]:
    import mlx.core as mx
    import numpy as np

    from gemma4cli.api import load
    from gemma4cli.models.training import recompute_layers, with_gradients
    from gemma4cli.options import LoadOptions
    from gemma4cli.tuning.adapter import LowRankOptions, with_new_adapter
    from gemma4cli.tuning.examples import Example
    from gemma4cli.tuning.fit import fitting
    from gemma4cli.tuning.media_store import MediaStore
    from gemma4cli.tuning.settings import TuningOptions
    from gemma4cli.tuning.steps import Learner, Optimizer

    model = load(given.model, options=LoadOptions(draft="none"))
    additions = LowRankOptions(
        rank=given.rank, alpha=2.0 * given.rank, targets=("attention", "mlp")
    )
    network = with_new_adapter(with_gradients(model.network, towers=False), additions, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        media = MediaStore(model=model, folder=Path(scratch), in_step=False)
        learner = Learner(network=network, media=media, tokens_at_once=10**6)
        chance = np.random.default_rng(7)
        most = min(model.network.config.text.vocab_size, 200_000)
        start = given.length - max(1, round(given.learned * given.length))
        examples = [
            Example(
                origin="drawn",
                ids=tuple(chance.integers(5, most, given.length).tolist()),
                learned=((max(1, start), given.length),),
                spans=(),
                digests=(),
            )
            for _ in range(given.rows)
        ]
        options = TuningOptions(batch=given.rows, recompute=given.recompute)
        foreseen = fitting(model, learner, examples, options).memory
        if given.recompute:
            recompute_layers(network)
        optimizer = Optimizer(learner.parameters, 0.01)
        seconds: list[float] = []
        losses: list[float] = []
        for _ in range(given.steps):
            started = monotonic()
            loss, gradients = learner.gradients(examples)
            learner.use(optimizer.changed(learner.parameters, gradients, 1e-4))
            mx.clear_cache()
            seconds.append(round(monotonic() - started, 2))
            losses.append(round(loss, 5))
        tokens = given.rows * given.length
        return {
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_second": round(tokens / statistics.median(seconds), 1),
            "losses": losses,
            "foreseen_gb": round(foreseen / 1e9, 2),
            "peak_mlx_gb": round(mx.get_peak_memory() / 1e9, 2),
            "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        }


if __name__ == "__main__":
    main()
