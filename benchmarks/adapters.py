"""What an adapter costs: how fast a model writes and reads with one of random numbers, and without.

    python benchmarks/adapters.py -m /tmp/e2b-random
    python benchmarks/adapters.py -m tiny --rank 64 --dora --stored bfloat16

The adapter changes every matrix of the decoder layers. Runs with and without it alternate, so that
other work on the machine slows both; every figure is a median, and a ratio that of medians. The
processor's time counts other work least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from gemma4cli.machine.backend import on_cpu, require_backend

# As the program does it: before anything imports mlx.
require_backend(fast_blas=True)

# ruff: noqa: E402
import mlx.core as mx

from gemma4cli.api import change_adapter, load
from gemma4cli.engine.decode import decode_tokens
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.prefill import Prefill
from gemma4cli.engine.sampling import make_sampler
from gemma4cli.models.adapters import plain_shape

LAYERS = "language_model.model.layers."


def write_adapter(model: LocalModel, folder: Path, rank: int, dora: bool, dtype: mx.Dtype) -> int:
    """An adapter in PEFT's layout; returns how many matrices it changes."""
    tensors, count = {}, 0
    for path, layer in model.network.named_modules():
        if not path.startswith(LAYERS) or "weight" not in layer or layer["weight"].ndim != 2:
            continue
        outputs, inputs = plain_shape(layer)
        name = f"base_model.model.model.{path.replace('language_model.model', 'language_model')}"
        tensors[f"{name}.lora_A.weight"] = mx.random.normal((rank, inputs)) * inputs**-0.5
        tensors[f"{name}.lora_B.weight"] = 0.01 * mx.random.normal((outputs, rank))
        if dora:
            tensors[f"{name}.lora_magnitude_vector"] = mx.random.uniform(0.5, 1.5, (outputs,))
        count += 1
    stored = {name: each.astype(dtype) for name, each in tensors.items()}
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), stored)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": []}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return count


def started(model: LocalModel, context: int) -> Iterator[int]:
    """Greedy steps after a prompt of ``context`` tokens."""
    cache = model.network.language_model.make_cache()
    logits = read(model, context, cache)
    greedy = make_sampler(temperature=0, top_p=1, top_k=0)
    return decode_tokens(model.network, cache, logits, greedy, lookahead=not on_cpu())


def read(model: LocalModel, tokens: int, cache: list | None = None) -> mx.array:
    """The last logits of a prompt of ordinary tokens."""
    ids = [2] + [1000 % model.network.config.text.vocab_size] * (tokens - 1)
    run = Prefill(network=model.network, ids=ids, spans=(), soft_tokens=(), step=512)
    *_, hidden = run.run(cache or model.network.language_model.make_cache())
    logits = model.network.language_model.logits(hidden)[0, -1]
    mx.eval(logits)
    return logits


class Times:
    """Seconds by the clock and of the processor for each token, of each turn."""

    def __init__(self) -> None:
        self.clock: list[float] = []
        self.processor: list[float] = []

    def measure(self, work: Callable[[], object], tokens: int) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        work()
        self.clock.append((time.perf_counter() - clock) / tokens)
        self.processor.append((time.process_time() - processor) / tokens)


def decode_times(models: dict[str, LocalModel], tokens: int, turns: int) -> dict[str, Times]:
    """A turn is some tokens with each model."""
    steps = {name: started(model, 32) for name, model in models.items()}
    for each in steps.values():
        list(islice(each, 110))  # until the weights are in large pages
    times = {name: Times() for name in models}
    for _ in range(turns):
        for name, each in steps.items():
            times[name].measure(partial(list, islice(each, tokens)), tokens)
    return times


def prefill_times(models: dict[str, LocalModel], tokens: int, turns: int) -> dict[str, Times]:
    times = {name: Times() for name in models}
    for _ in range(turns):
        for name, model in models.items():
            times[name].measure(partial(read, model, tokens), tokens)
    return times


def summary(times: dict[str, Times]) -> dict[str, float]:
    clock = {name: statistics.median(each.clock) for name, each in times.items()}
    processor = {name: statistics.median(each.processor) for name, each in times.items()}
    return {
        **{f"{name}, tokens/s": 1 / taken for name, taken in clock.items()},
        "ratio": clock["without"] / clock["with"],
        "ratio of processor time": processor["without"] / processor["with"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dora", action="store_true", help="with magnitudes")
    parser.add_argument("--stored", default="float32", help="the type of the adapter's tensors")
    parser.add_argument("--prompt", type=int, default=500, help="tokens to read")
    parser.add_argument("--decode", type=int, default=8, help="tokens of a turn of writing")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--only", choices=("decode", "prefill"))
    arguments = parser.parse_args()
    mx.random.seed(0)
    plain = load(arguments.model)
    assert isinstance(plain, LocalModel)
    with tempfile.TemporaryDirectory() as folder:
        dtype = getattr(mx, arguments.stored)
        count = write_adapter(plain, Path(folder), arguments.rank, arguments.dora, dtype)
        adapted = change_adapter(plain, folder)
        assert isinstance(adapted, LocalModel)
        models = {"without": plain, "with": adapted}
        kinds = [arguments.only] if arguments.only else ["decode", "prefill"]
        result: dict[str, object] = {"model": arguments.model, "matrices": count}
        for kind in kinds:
            if kind == "decode":
                times = decode_times(models, arguments.decode, arguments.turns)
            else:
                times = prefill_times(models, arguments.prompt, arguments.turns)
            rows = summary(times)
            print(kind, *(f"{label} {value:.3f}" for label, value in rows.items()), sep="\n  ")
            result[kind] = rows
    print(json.dumps(result))


if __name__ == "__main__":
    main()
