"""How fast mlx-lm reads or writes, in its own environment; run by the comparison.

    python mlx_lm_rates.py CHECKPOINT TOKENS OUT LIMIT [TRIES]

With OUT 0 a prompt of TOKENS is read; otherwise OUT tokens are written with TOKENS in the cache,
which is filled with zeros: reading them would take longer than what is measured. Tries with a few
tokens say how long all of it would take; TRIES are those of an earlier run. If it is more than
LIMIT seconds, the rate comes from fewer tokens, and ``shortened`` says from which.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import mlx.core as mx
from mlx_lm import load, stream_generate
from mlx_lm.models.cache import make_prompt_cache

FEW, MORE = 2, 10
"""Tokens of two prompts; the difference is what one token more costs."""
STEPS = 4
"""Steps of decoding that are tried, and measured where all would take too long."""


@dataclass(frozen=True)
class Tries:
    """Seconds until the first token after each prompt, and for each token after it."""

    few: float
    more: float
    step: float

    def reading(self, tokens: int) -> float:
        return self.more + (tokens - MORE) * (self.more - self.few) / (MORE - FEW)


class Generator:
    """The model, loaded."""

    def __init__(self, checkpoint: str) -> None:
        self._model, self._tokenizer, *_ = load(checkpoint)

    def times(self, tokens: int, out: int, cache: list[Any] | None = None) -> tuple[float, float]:
        """Seconds until the first of ``out`` tokens, and for each one after it."""
        ids = [2] + [1000] * (tokens - 1)
        started = time.perf_counter()
        answer = stream_generate(
            self._model, self._tokenizer, ids, max_tokens=out, prompt_cache=cache
        )
        ends = []
        for response in answer:
            ends.append(time.perf_counter())
            assert response.prompt_tokens == tokens
        assert len(ends) == out, "the answer ended early"
        return ends[0] - started, (ends[-1] - ends[0]) / max(out - 1, 1)

    def tries(self) -> Tries:
        self.times(FEW, 1)  # reads the weights
        few, step = self.times(FEW, STEPS + 1)
        return Tries(few, self.times(MORE, 1)[0], step)

    def steps(self, context: int, out: int) -> float:
        """Seconds of each of ``out`` steps with ``context`` tokens in the cache."""
        cache = make_prompt_cache(self._model)
        self.times(FEW, 1, cache)  # gives each layer's arrays their shape
        for layer in cache:
            before = [array[:, :, :1] for array in (layer.keys, layer.values)]
            # The first step writes one more.
            count = context - layer.offset - 1
            layer.update_and_fetch(*(mx.repeat(mx.zeros_like(a), count, axis=2) for a in before))
            mx.eval(layer.keys, layer.values)
        step = self.times(1, out + 1, cache)[1]
        assert {layer.offset for layer in cache} <= {context + out, context + out + 1}
        return step


def measure(
    generator: Generator, tries: Tries, tokens: int, out: int, limit: float
) -> dict[str, Any]:
    """The rate in tokens/s, on as many tokens as the time is enough for."""
    if out:
        steps = out if out * tries.step < limit else STEPS
        shortened = f"{steps} of {out} tokens" if steps < out else ""
        return {"rate": 1 / generator.steps(tokens, steps), "shortened": shortened}
    if tries.reading(tokens) < limit:
        return {"rate": tokens / generator.times(tokens, 1)[0], "shortened": ""}
    shortened = f"from prompts of {FEW} and {MORE} tokens"
    return {"rate": tokens / tries.reading(tokens), "shortened": shortened}


def main() -> None:
    checkpoint, tokens, out, limit, *known = sys.argv[1:]
    generator = Generator(checkpoint)
    tries = Tries(**json.loads(known[0])) if known else generator.tries()
    found = measure(generator, tries, int(tokens), int(out), float(limit))
    print(json.dumps(found | {"tries": asdict(tries)}))


if __name__ == "__main__":
    main()
