"""How fast one model loads, reads, looks, listens and writes, and how much memory it takes.

    python benchmarks/engine.py -m tiny
    python benchmarks/engine.py -m /tmp/e2b-random --prompt 64 --decode 4 --budget 70 --seconds 5
    python benchmarks/engine.py -m /tmp/e2b-random --only decode --decode 32 --context 2000

A table for people, and as the last line of stdout one JSON document. Every figure is the median of
``--repeat`` runs after one that is not counted, but for loading, which happens once.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from gemma4cli.machine.backend import on_cpu, require_backend

# As the program does it: before anything imports mlx.
require_backend(fast_blas="--reference-blas" not in sys.argv)

# ruff: noqa: E402
import mlx.core as mx

from gemma4cli.api import load
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.decode import decode_tokens
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.prefill import Prefill
from gemma4cli.engine.sampling import make_sampler
from gemma4cli.events import Finished
from gemma4cli.messages import content_of
from gemma4cli.options import GenerateOptions, LoadOptions
from gemma4cli.processing.audio import audio_features
from gemma4cli.processing.image import image_features

PARTS = ("decode", "prefill", "image", "clip", "turn")


def seconds(work: Callable[[], object], repeat: int) -> float:
    """The median time of ``repeat`` runs, after one that reads the weights."""
    work()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def prefill(model: LoadedModel, tokens: int, step: int) -> None:
    """Read a prompt of ordinary tokens up to its last logits."""
    ids = [2] + [1000 % model.network.config.text.vocab_size] * (tokens - 1)
    run = Prefill(network=model.network, ids=ids, spans=(), soft_tokens=(), step=step)
    *_, hidden = run.run(model.network.language_model.make_cache())
    mx.eval(model.network.language_model.logits(hidden))


def decode(model: LoadedModel, tokens: int, context: int, repeat: int) -> float:
    """Seconds of ``tokens`` greedy steps after a prompt of ``context`` tokens; median."""
    cache = model.network.language_model.make_cache()
    ids = [2] + [1000 % model.network.config.text.vocab_size] * (context - 1)
    run = Prefill(network=model.network, ids=ids, spans=(), soft_tokens=(), step=512)
    *_, hidden = run.run(cache)
    logits = model.network.language_model.logits(hidden)[0, -1]
    mx.eval(logits)
    greedy = make_sampler(temperature=0, top_p=1, top_k=0)
    steps = decode_tokens(model.network, cache, logits, greedy, lookahead=not on_cpu())
    list(islice(steps, 2))
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        list(islice(steps, tokens))
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def second_turn(model: LoadedModel, image: str, repeat: int) -> tuple[float, int]:
    """Seconds until the first token of a follow-up about an image, and its new tokens."""
    times, new = [], 0
    options = GenerateOptions(max_tokens=1, temperature=0.0)
    for _ in range(repeat):
        chat = Chat(model)
        list(chat.send(content_of("What is this?", images=[image]), options))
        started = time.perf_counter()
        *_, last = chat.send("And why is that?", options)
        times.append(time.perf_counter() - started)
        assert isinstance(last, Finished)
        new = last.usage.prompt_tokens - last.usage.cached_tokens
    return statistics.median(times), new


def look(model: LoadedModel, budget: int) -> int:
    pixels = np.random.default_rng(0).integers(0, 256, (768, 1024, 3), np.uint8)
    config = model.processor.config.vision
    features = image_features(pixels, budget, config, unified=model.processor.unified)
    mx.eval(model.network.encode_images(mx.array(features.patches())[None], features.grid))
    return features.soft_tokens


def listen(model: LoadedModel, length: float) -> int:
    samples = np.random.default_rng(0).standard_normal(int(length * 16000)).astype(np.float32) / 10
    features = audio_features(samples, model.processor.config.audio)
    mx.eval(model.network.encode_audio(mx.array(features.frames)))
    return features.soft_tokens


def measure(model: LoadedModel, arguments: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Label and value of each row; memory between them."""
    only, repeat = arguments.only, arguments.repeat
    if "decode" in only:
        took = decode(model, arguments.decode, arguments.context, repeat)
        yield f"decode of {arguments.decode}, tokens/s", arguments.decode / took
    if "prefill" in only:
        took = seconds(lambda: prefill(model, arguments.prompt, arguments.step), repeat)
        yield f"prefill of {arguments.prompt}, tokens/s", arguments.prompt / took
    yield "memory after text, MB", peak_megabytes()
    if "image" in only and model.processor.sees:
        soft = look(model, arguments.budget)
        yield (
            f"image of {soft} soft tokens, s",
            seconds(lambda: look(model, arguments.budget), repeat),
        )
    if "clip" in only and model.processor.hears:
        yield (
            f"clip of {arguments.seconds:g} s, s",
            seconds(lambda: listen(model, arguments.seconds), repeat),
        )
    if "turn" in only and arguments.image:
        took, new = second_turn(model, arguments.image, repeat)
        yield f"second turn of {new} tokens, s", took
    yield "memory at most, MB", peak_megabytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompt", type=int, default=512, help="tokens to prefill")
    parser.add_argument("--step", type=int, default=512, help="prefill chunk")
    parser.add_argument("--decode", type=int, default=64, help="tokens to decode")
    parser.add_argument("--context", type=int, default=2, help="tokens in the cache before that")
    parser.add_argument("--budget", type=int, default=280, help="soft tokens of the image")
    parser.add_argument("--image", help="a picture for the second turn; without it there is none")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--reference-blas", action="store_true", help="leave MLX its own BLAS")
    arguments = parser.parse_args()

    started = time.perf_counter()
    model = load(arguments.model, options=LoadOptions(dtype=arguments.dtype))
    rows: dict[str, float] = {"load, s": time.perf_counter() - started}
    rows["memory after loading, MB"] = peak_megabytes()
    rows |= measure(model, arguments)
    for label, value in rows.items():
        print(f"{label:<34} {value:10.2f}")
    about = {"model": arguments.model, "device": str(mx.default_device()), "mlx": mx.__version__}
    print(json.dumps(about | {"machine": platform.machine(), **rows}))


if __name__ == "__main__":
    main()
