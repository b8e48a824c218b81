"""How long a step of tuning takes, and what it needs of memory beside what was foreseen.

    python benchmarks/tuning_speed.py -m e2b-folder            # two rows of 64 tokens, half learned
    python benchmarks/tuning_speed.py -m e2b-folder --length 256 --steps 2 --recompute
    python benchmarks/tuning_speed.py -m e2b-folder --torch ENVIRONMENT/bin/python

A step is the loss and the gradients of a batch, and the optimizer's change; the ids are drawn.
The last command takes the same steps in torch and PEFT too, with the same folder, ids, rank and
rate (torch reads ``random_checkpoint.py``'s E2B.google-hf-bf16), in float32 or by
``--torch-dtype``. Ratios are torch's median to g4's, both without the first step.
``G4_NO_NATIVE=1`` measures MLX's own operations.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, process_time

ROOT = Path(__file__).parents[1]
MOST_IDS = 200_000
"""Ids are below it: those of media are above."""
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
    parser.add_argument(
        "--torch", metavar="PYTHON", help="beside torch and PEFT, in this one's environment"
    )
    parser.add_argument("--torch-dtype", default="float32", choices=("float32", "bfloat16"))
    given = parser.parse_args()
    found = measured(given)
    if given.torch:
        found["torch"] = beside(given, found)
    print(json.dumps(found))


def drawn(given: argparse.Namespace, most: int) -> tuple[list[list[int]], int]:
    """Rows of ids, and where the learned ones begin."""
    import numpy as np

    ids = np.random.default_rng(7).integers(5, most, (given.rows, given.length))
    return ids.tolist(), max(1, given.length - max(1, round(given.learned * given.length)))


def beside(given: argparse.Namespace, found: dict[str, object]) -> dict[str, object]:
    """The same steps in torch, and how often g4's are done meanwhile."""
    command = [given.torch, str(ROOT / "benchmarks" / "tuning_torch.py"), given.model]
    ids, start = drawn(given, MOST_IDS)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"ids": ids, "start": start}, file)
        file.flush()
        command += [file.name, "--steps", str(given.steps), "--rank", str(given.rank)]
        command += ["--dtype", given.torch_dtype, *["--recompute"] * given.recompute]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    torch = json.loads(done.stdout.splitlines()[-1])
    for name in ("seconds", "processor_seconds"):
        torch[f"{name}_ratio"] = round(median_of(torch[name]) / median_of(found[name]), 2)
    return torch


def median_of(seconds: list[float]) -> float:
    """Without the first step, which allocates what others use again."""
    return statistics.median(seconds[1:] or seconds)


def measured(given: argparse.Namespace) -> dict[str, object]:
    import mlx.core as mx

    from gemma4cli.api import load
    from gemma4cli.engine.freed_buffers import release_buffers
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
        rows, start = drawn(given, min(model.network.config.text.vocab_size, MOST_IDS))
        learned = ((start, given.length),)
        examples = [
            Example(origin="drawn", ids=tuple(ids), learned=learned, spans=(), digests=())
            for ids in rows
        ]
        options = TuningOptions(batch=given.rows, recompute=given.recompute)
        foreseen = fitting(model, learner, examples, options).memory
        if given.recompute:
            recompute_layers(network)
        optimizer = Optimizer(learner.parameters, 0.01)
        seconds: list[float] = []
        processor: list[float] = []
        losses: list[float] = []
        for _ in range(given.steps):
            started, used = monotonic(), process_time()
            loss, gradients = learner.gradients(examples)
            learner.use(optimizer.changed(learner.parameters, gradients, 1e-4))
            release_buffers()
            seconds.append(round(monotonic() - started, 2))
            processor.append(round(process_time() - used, 2))
            losses.append(round(loss, 5))
        tokens = given.rows * given.length
        return {
            "tokens": tokens,
            "seconds": seconds,
            "processor_seconds": processor,
            "tokens_per_second": round(tokens / median_of(seconds), 1),
            "losses": losses,
            "foreseen_gb": round(foreseen / 1e9, 2),
            "peak_mlx_gb": round(mx.get_peak_memory() / 1e9, 2),
            "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        }


if __name__ == "__main__":
    main()
