"""How fast one engine reads prompts and writes after them on this device; run by gpu.sh.

    python device_rates.py g4|mlx-lm|mlx-vlm CHECKPOINT [--prompts 512 2048] [--out 64]

Loads the checkpoint once. For each prompt: tokens/s until the first token, and of those after it,
each the best of ``--repeat`` runs after one that is not counted. Every engine runs the loop that
its own program runs, greedily and without an end. One line of JSON, which also has the seconds of
loading and the device's memory at most.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Steps = Callable[[list[int], int], Iterator[object]]
"""Token by token: the prompt's ids and how many tokens to write."""


def g4(folder: Path) -> Steps:
    from dataclasses import replace

    from gemma4cli.api import load
    from gemma4cli.engine.answer_rules import make_answer_sampler
    from gemma4cli.engine.memory_limits import prefill_step
    from gemma4cli.engine.prefill import make_prefill
    from gemma4cli.machine.backend import on_cpu
    from gemma4cli.options import GenerateOptions, LoadOptions
    from gemma4cli.processing.inputs import ModelInputs

    model = load(str(folder), options=LoadOptions(draft="none"))
    ended = replace(model.generation, stop_ids=frozenset())
    model = replace(model, generation=ended)

    def steps(ids: list[int], out: int) -> Iterator[object]:
        from gemma4cli.engine.decode import decode_tokens
        from gemma4cli.engine.sampling import suppress

        options = GenerateOptions(temperature=0, max_tokens=out)
        inputs = ModelInputs(ids=tuple(ids), spans=(), features=(), text="", notices=())
        step = prefill_step(model, inputs, options)
        cache = model.network.language_model.make_cache()
        *_, hidden = make_prefill(model, inputs, [], step).run(cache)
        yield from decode_tokens(
            model.network,
            cache,
            model.network.language_model.logits(hidden)[0, -1],
            make_answer_sampler(model, options),
            bias=suppress(model.network.config.text.vocab_size, ended.suppressed_ids),
            lookahead=not on_cpu(),
        )

    return steps


def mlx_lm(folder: Path) -> Steps:
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model

    text = json.loads((folder / "config.json").read_text())["text_config"]
    # It takes Gemma's vocabulary for granted; the tests' checkpoints have a smaller one.
    model, _ = load_model(folder, model_config={"vocab_size": text["vocab_size"]})
    return lambda ids, out: generate_step(mx.array(ids), model, max_tokens=out)


def mlx_vlm(folder: Path) -> Steps:
    import mlx.core as mx
    from mlx_vlm.generate import generate_step
    from mlx_vlm.utils import load_model

    model = load_model(folder)
    return lambda ids, out: generate_step(
        mx.array([ids]), model, None, None, max_tokens=out, temperature=0
    )


ENGINES: dict[str, Callable[[Path], Steps]] = {"g4": g4, "mlx-lm": mlx_lm, "mlx-vlm": mlx_vlm}


def rates(steps: Steps, prompt: int, out: int) -> tuple[float, float]:
    """Tokens/s of a prompt, and of the tokens after the first."""
    ids = [2] + [100 + number % 64 for number in range(prompt - 1)]
    started = time.perf_counter()
    ends: list[float] = []
    for _ in steps(ids, out + 1):
        ends.append(time.perf_counter())
        if len(ends) > out:
            break
    assert len(ends) == out + 1, "the answer ended early"
    return prompt / (ends[0] - started), out / (ends[-1] - ends[0])


def measure(engine: str, folder: Path, prompts: Sequence[int], out: int, repeat: int) -> Any:
    import mlx.core as mx

    started = time.perf_counter()
    steps = ENGINES[engine](folder)
    rates(steps, 32, 2)  # reads what is not read yet
    found: dict[str, float] = {"load": time.perf_counter() - started}
    for prompt in prompts:
        runs = [rates(steps, prompt, out) for _ in range(repeat + 1)][1:]
        found[f"prefill {prompt}"] = max(run[0] for run in runs)
        found[f"decode at {prompt}"] = max(run[1] for run in runs)
    return {"engine": engine, "checkpoint": folder.name, "rates": found} | {
        "device": str(mx.default_device()),
        "name": str(mx.device_info().get("device_name")),
        "mlx": mx.__version__,
        "peak": mx.get_peak_memory(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--prompts", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--out", type=int, default=64, help="tokens to write")
    parser.add_argument("--repeat", type=int, default=2)
    given = parser.parse_args()
    folder = given.checkpoint.resolve()
    print(json.dumps(measure(given.engine, folder, given.prompts, given.out, given.repeat)))


if __name__ == "__main__":
    main()
