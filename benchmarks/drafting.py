"""How fast decoding is with a drafter, by the share of its guesses that are right.

    python benchmarks/drafting.py -m /tmp/e2b-random --drafter google__gemma-4-E2B-it-assistant

The drafter has the published size and random weights. It is computed in full, and then the token
that the model will choose takes the place of its guess, as often as the share says. A table for
people, and as the last line of stdout one JSON document; tokens per second are medians of
``--repeat`` answers.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gemma4cli.machine.backend import require_backend

require_backend()

# ruff: noqa: E402
import mlx.core as mx

from gemma4cli.api import load, stream_generate
from gemma4cli.engine.model import LoadedDrafter, LoadedModel
from gemma4cli.engine.pace import Pace
from gemma4cli.events import Finished
from gemma4cli.models.drafter import Drafter, Guess
from gemma4cli.models.drafter_config import DrafterConfig
from gemma4cli.models.language import KeysValues
from gemma4cli.options import GenerateOptions, LoadOptions

CONFIGS = Path(__file__).parents[1] / "fixtures" / "gemma4" / "configs"
PROMPT = "Tell me a long story about the sea."


class Known:
    """A drafter whose guesses are right as often as ``share``; ``ids`` is the answer."""

    def __init__(self, drafter: Drafter, share: float, prompt: int, ids: Sequence[int]) -> None:
        self._drafter, self._share, self._prompt, self._ids = drafter, share, prompt, ids
        self._chance = random.Random(0)
        self._position, self._step = -1, 0

    def parameters(self) -> object:
        return self._drafter.parameters()

    def __call__(
        self,
        embedding: mx.array,
        hidden: mx.array,
        keys_values: Mapping[str, KeysValues],
        position: int,
        among: mx.array | None = None,
    ) -> Guess:
        guess = self._drafter(embedding, hidden, keys_values, position, among)
        self._step = self._step + 1 if position == self._position else 1
        self._position = position
        number = position - self._prompt + self._step
        right = number < len(self._ids) and self._chance.random() < self._share
        token = self._ids[number] if right else 7
        # So the drafter's own work stays in the graph.
        ids = (guess.token() * 0 + token).reshape(1)
        return Guess(logits=mx.ones((1,)), ids=ids, hidden=guess.hidden)


def random_drafter(config: str) -> Drafter:
    """A drafter of a published size, in bfloat16."""
    raw = json.loads((CONFIGS / config / "config.json").read_text())
    drafter = Drafter(DrafterConfig.from_dict(raw))
    drafter.set_dtype(mx.bfloat16)
    if drafter.config.clusters is not None:
        clusters = drafter.masked_embedding
        clusters.token_ordering = mx.arange(drafter.config.text.vocab_size, dtype=mx.int32)
    mx.eval(drafter.parameters())
    return drafter


def answer(model: LoadedModel, tokens: int) -> Finished:
    options = GenerateOptions(max_tokens=tokens, temperature=0, repetition_guard=False)
    *_, last = stream_generate(model, PROMPT, options=options)
    assert isinstance(last, Finished)
    return last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--drafter", required=True, metavar="CONFIG", help="in fixtures/gemma4")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.3, 0.5, 0.7, 0.9, 1])
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    model = load(arguments.model, options=LoadOptions(draft="none"))
    drafter = random_drafter(arguments.drafter)
    answer(model, arguments.tokens)  # reads the weights
    rows: dict[str, float] = {}

    def note(name: str, helped: LoadedModel) -> Finished:
        speeds = []
        for _ in range(arguments.repeat):
            last = answer(helped, arguments.tokens)
            speeds.append(len(last.token_ids) / last.timings.decode)
        rows[name] = round(statistics.median(speeds), 2)
        used = last.usage
        print(f"{name:>12} {rows[name]:8.2f} tokens/s {used.guessed_tokens:5} guesses")
        return last

    alone = note("none", model)
    for share in arguments.shares:
        known = Known(drafter, share, alone.usage.prompt_tokens, alone.token_ids)
        helped = replace(model, drafter=LoadedDrafter(name="known", network=known, pace=Pace()))
        last = note(f"{share:.0%}", helped)
        assert last.token_ids == alone.token_ids
    print(json.dumps({"model": arguments.model, "tokens": arguments.tokens, **rows}))


if __name__ == "__main__":
    main()
