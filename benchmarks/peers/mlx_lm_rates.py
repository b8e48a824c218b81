"""How fast mlx-lm reads or writes, in its own environment; run by the comparison.

    python mlx_lm_rates.py CHECKPOINT TOKENS OUT LIMIT [TRIES]

With OUT 0 a prompt of TOKENS is read; otherwise OUT tokens are written after one. Tries with a few
tokens say how long all of them would take; TRIES are those of an earlier run. If it is more than
LIMIT seconds, the rate comes from the tries, and ``measured`` says how many tokens they were.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from mlx_lm import load, stream_generate

FEW, MORE = 2, 10
"""Tokens of two prompts; the difference is what one token more costs."""
STEPS = 2
"""Steps of decoding that are tried."""


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

    def times(self, tokens: int, out: int) -> tuple[float, float]:
        """Seconds until the first of ``out`` tokens, and for each one after it."""
        ids = [2] + [1000] * (tokens - 1)
        started = time.perf_counter()
        answer = stream_generate(self._model, self._tokenizer, ids, max_tokens=out)
        ends = [time.perf_counter() for _ in answer]
        assert len(ends) == out, "the answer ended early"
        return ends[0] - started, (ends[-1] - ends[0]) / max(out - 1, 1)

    def tries(self) -> Tries:
        self.times(FEW, 1)  # reads the weights
        few, step = self.times(FEW, STEPS + 1)
        return Tries(few, self.times(MORE, 1)[0], step)


def measure(
    generator: Generator, tries: Tries, tokens: int, out: int, limit: float
) -> dict[str, Any]:
    """The rate in tokens/s, on as many tokens as the time is enough for."""
    reading = tries.reading(tokens)
    if not out:
        if reading > limit:
            return {"rate": tokens / reading, "measured": MORE}
        return {"rate": tokens / generator.times(tokens, 1)[0], "measured": tokens}
    if reading > limit:
        return {"rate": None, "measured": 0}
    steps = out if reading + out * tries.step < limit else STEPS
    return {"rate": 1 / generator.times(tokens, steps + 1)[1], "measured": steps}


def main() -> None:
    checkpoint, tokens, out, limit, *known = sys.argv[1:]
    generator = Generator(checkpoint)
    tries = Tries(**json.loads(known[0])) if known else generator.tries()
    found = measure(generator, tries, int(tokens), int(out), float(limit))
    print(json.dumps(found | {"tries": asdict(tries)}))


if __name__ == "__main__":
    main()
