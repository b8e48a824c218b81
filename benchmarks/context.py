"""How much memory and time a long context takes, with and without --kv-bits 8.

    python benchmarks/context.py
    python benchmarks/context.py --tokens 8192 32768 --images 0
    G4_NO_NATIVE=1 python benchmarks/context.py --tokens 8192 32768
    python benchmarks/context.py --model FOLDER --tokens 2048 8192 32768

Each line is a process of its own: a network of the built-in model's sizes with random weights, and
no limit to its context, reads a prompt and decodes from there. Memory is the most that MLX held
above the weights and the cache; the last line of stdout is one JSON document.

With --model, a checkpoint decodes after so many tokens that were not read: both caches hold random
keys and values, and their steps alternate.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

from gemma4cli.machine.backend import on_cpu, require_backend

# As the program does it: before anything imports mlx.
require_backend()

# ruff: noqa: E402
import mlx.core as mx
from mlx.utils import tree_map

from gemma4cli.engine.cache_room import make_room
from gemma4cli.engine.decode import decode_tokens, run_tokens
from gemma4cli.engine.prefill import Prefill
from gemma4cli.engine.sampling import make_sampler
from gemma4cli.machine.backend import native_in_use
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4, SoftTokens
from gemma4cli.models.language import RowCache
from gemma4cli.models.masks import NO_MASKS
from gemma4cli.models.mlx_lm_parts import KVCache
from gemma4cli.processing.prompt import MediaSpan

CONFIG = Path(__file__).parents[1] / "gemma4cli/builtin/tiny/config.json"
SOFT_TOKENS = 280
DECODED = 16


def network() -> Gemma4:
    """A network without towers, with random weights."""
    published = Gemma4Config.from_dict(json.loads(CONFIG.read_bytes()))
    config = replace(published, vision=None, audio=None, placeholders=None)
    built = Gemma4(config)
    if native_in_use():
        from gemma4cli.models.native_network import use_native

        use_native(built)
    dtype = mx.float32 if on_cpu() else mx.bfloat16
    built.update(tree_map(lambda each: each.astype(dtype), built.parameters()))
    mx.eval(built.parameters())
    return built


def measure(tokens: int, images: int, kv_bits: int | None, step: int) -> dict[str, float]:
    """Megabytes and tokens per second of one prompt."""
    model = network()
    model.language_model.kv_bits = kv_bits
    starts = [10 + number * (SOFT_TOKENS + 2) for number in range(images)]
    spans = [
        MediaSpan(kind="image", item=i, start=s, end=s + SOFT_TOKENS) for i, s in enumerate(starts)
    ]
    soft = [
        SoftTokens(start=s, values=mx.zeros((SOFT_TOKENS, model.config.text.hidden_size)))
        for s in starts
    ]
    prefill = Prefill(network=model, ids=[5] * tokens, spans=spans, soft_tokens=soft, step=step)
    cache = model.language_model.make_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    started = time.perf_counter()
    *_, hidden = prefill.run(cache)
    mx.eval(hidden)
    read = time.perf_counter() - started
    peak = mx.get_peak_memory() - before
    held = {True: 0, False: 0}
    for layer in cache:
        held[isinstance(layer, KVCache)] += layer.nbytes
    logits = model.language_model.logits(hidden)[0, -1]
    greedy = make_sampler(temperature=0, top_p=1, top_k=0)
    steps = decode_tokens(model, cache, logits, greedy, lookahead=not on_cpu())
    list(islice(steps, 2))
    mx.reset_peak_memory()
    started = time.perf_counter()
    list(islice(steps, DECODED))
    decoded = time.perf_counter() - started
    return {
        "tokens": tokens,
        "images": images,
        "kv_bits": kv_bits or 0,
        "sliding_mb": held[False] / 1e6,
        "full_mb": held[True] / 1e6,
        "prefill_mb": (peak - held[True] - held[False]) / 1e6,
        "decode_mb": (mx.get_peak_memory() - before - held[True] - held[False]) / 1e6,
        "prefill_tokens_per_second": tokens / read,
        "decode_tokens_per_second": DECODED / decoded,
    }


def decode_filled(folder: str, lengths: Sequence[int], steps: int) -> list[dict[str, float]]:
    """Median milliseconds of a step with both kinds of cache, by the tokens they hold."""
    from gemma4cli.api import load

    model = load(folder).network
    text = model.language_model
    rows = []
    for length in lengths:
        caches = {}
        for text.kv_bits in (None, 8):
            caches[text.kv_bits or 0] = cache = text.make_cache()
            fill_with_noise(model, cache, length)
        times: dict[int, list[float]] = {bits: [] for bits in caches}
        for _ in range(steps):
            for bits, cache in caches.items():
                make_room(cache, 1)
                started = time.perf_counter()
                _, logits, finite = run_tokens(model, cache, mx.array(5), None)
                mx.eval(logits, finite)
                times[bits].append(time.perf_counter() - started)
        plain, packed = (1000 * median(each) for each in times.values())
        rows.append({"tokens": length, "plain_ms": plain, "packed_ms": packed})
    return rows


def fill_with_noise(model: Gemma4, cache: Sequence[RowCache], length: int) -> None:
    """Let an empty cache hold ``length`` positions of random numbers."""
    model.language_model.model.fill(*model.embed([0]), cache, NO_MASKS)
    for layer in cache:
        full = isinstance(layer, KVCache)
        held = length - 1 if full else min(length, layer.max_size) - 1
        like = layer.keys_and_values()[0] if full else layer.keys
        heads = (like if isinstance(like, mx.array) else like[0]).shape[1]
        attention = model.language_model.model.layers[cache.index(layer)].self_attn
        shape = (1, heads, held, attention.head_dim)
        layer.update_and_fetch(*(mx.random.normal((2, *shape)) / attention.head_dim**0.5))
        layer.offset = length
        mx.eval(layer.state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="*", default=[8192, 32768, 131072])
    parser.add_argument("--images", type=int, default=64, help="in one more prompt; 0 for none")
    parser.add_argument("--step", type=int, default=512)
    parser.add_argument("--model", help="decode with this checkpoint and filled caches")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.model:
        print("| after | decode tokens/s | with --kv-bits 8 | ratio |")
        print("|-|-|-|-|")
        found = decode_filled(arguments.model, arguments.tokens, steps=2 * DECODED)
        for row in found:
            plain, packed = row["plain_ms"], row["packed_ms"]
            print(
                f"| {row['tokens']:,} tokens | {1000 / plain:.1f} | {1000 / packed:.1f} "
                f"| {plain / packed:.2f} |"
            )
        print(json.dumps({"rows": found}))
        return
    if arguments.one:
        tokens, images, kv_bits = map(int, arguments.one.split(","))
        print(json.dumps(measure(tokens, images, kv_bits or None, arguments.step)))
        return
    prompts = [(tokens, 0) for tokens in arguments.tokens]
    if arguments.images:
        prompts.append((20 + arguments.images * (SOFT_TOKENS + 2), arguments.images))
    rows = []
    print(
        "| prompt | --kv-bits | sliding MB | full MB | prefill + MB | decode + MB "
        "| prefill tokens/s | decode tokens/s |"
    )
    print("|-|-|-|-|-|-|-|-|")
    for tokens, images in prompts:
        for kv_bits in (0, 8):
            command = [sys.executable, __file__, "--step", str(arguments.step)]
            command += ["--one", f"{tokens},{images},{kv_bits}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = json.loads(done.stdout)
            rows.append(row)
            name = f"{images} images" if images else f"{tokens:,} tokens"
            print(
                f"| {name} | {kv_bits or '-'} | {row['sliding_mb']:.1f} | {row['full_mb']:.0f} "
                f"| {row['prefill_mb']:.0f} | {row['decode_mb']:.0f} "
                f"| {row['prefill_tokens_per_second']:,.0f} "
                f"| {row['decode_tokens_per_second']:.1f} |",
                flush=True,
            )
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
