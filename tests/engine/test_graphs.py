"""What a GPU does for a token and for a chunk of a prompt, at most what mlx-lm's own model does.

Counted on the graphs of the published configurations; nothing is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import mlx.core as mx
import pytest
from support.graphs import as_on_gpu, filled, primitives, without_weights
from support.published import config_of

from gemma4cli.engine.decode import next_logits
from gemma4cli.engine.sampling import Sampler, make_sampler, suppress
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.masks import make_masks

NAMES = ["google__gemma-4-E2B-it", "google__gemma-4-12B-it", "google__gemma-4-31B-it"]

BEFORE = 1500
"""Positions in the cache, more than a window and not at the end of its buffers."""

CHUNK = 512


class Pair(NamedTuple):
    """g4's network and mlx-lm's model of one configuration."""

    ours: Gemma4
    theirs: Any

    def caches(self, length: int = BEFORE) -> tuple[Any, Any]:
        """Their caches with so many positions."""
        ours, theirs = self.ours.language_model.make_cache(), self.theirs.make_cache()
        layers = [each.self_attn for each in self.ours.language_model.model.layers][: len(ours)]
        for cache in (ours, theirs):
            filled(cache, [(each.n_kv_heads, each.head_dim) for each in layers], length)
        return ours, theirs


@pytest.fixture(scope="module", params=NAMES, ids=lambda name: name.split("-")[2])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    from mlx_lm.models import gemma4

    raw = config_of(request.param)
    found = Pair(Gemma4(Gemma4Config.from_dict(raw)), gemma4.Model(gemma4.ModelArgs.from_dict(raw)))
    for network in found:
        without_weights(network)
    # The weights that were not computed have drawn from it.
    mx.random.seed(0)
    mx.eval(mx.random.state)
    yield found


def step_of_mlx_lm(model: Any, cache: Any, sampler: Any) -> list[mx.array]:
    """``_step`` of mlx_lm.generate.generate_step, and what is evaluated of it."""
    token = mx.array([7])
    logits = model(token[None], cache=cache)[:, -1, :]
    logprobs = logits - mx.logsumexp(logits, keepdims=True)
    return [sampler(logprobs), logprobs.squeeze(0)]


def step(network: Gemma4, cache: Any, sampler: Sampler) -> list[mx.array]:
    bias = suppress(network.config.text.vocab_size, [258882, 258883])
    mx.eval(bias)
    logits, finite = next_logits(network, cache, mx.array(7), bias)
    return [sampler(logits), finite]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_step_takes_no_more_operations_than_mlx_lms(pair: Pair, temperature: float) -> None:
    """With logits, the check that they are finite, suppressed tokens, and sampling."""
    from mlx_lm.sample_utils import make_sampler as make_theirs

    ours, theirs = pair.caches()
    mine = make_sampler(temperature=temperature, top_p=0.95, top_k=64, key=mx.random.key(0))
    with as_on_gpu():
        least = primitives(
            *step_of_mlx_lm(pair.theirs, theirs, make_theirs(temperature, top_p=0.95, top_k=64))
        )
        found = primitives(*step(pair.ours, ours, mine))
    assert len(least) > 40 * len(theirs)
    assert len(found) <= len(least), Counter(found) - Counter(least)


@pytest.mark.parametrize("before", [0, BEFORE])
def test_a_chunk_takes_no_more_operations_than_mlx_lms(pair: Pair, before: int) -> None:
    ours, theirs = (
        pair.caches(before)
        if before
        else (
            pair.ours.language_model.make_cache(),
            pair.theirs.make_cache(),
        )
    )
    ids = list(range(3, 3 + CHUNK))
    masks = make_masks(length=CHUNK, offset=before, window=pair.ours.config.text.sliding_window)
    with as_on_gpu():
        pair.theirs(mx.array(ids)[None], cache=theirs)
        least = primitives(
            *(each for layer in theirs for each in layer.state if isinstance(each, mx.array))
        )
        pair.ours.fill(*pair.ours.embed(ids), ours, masks)
        found = primitives(
            *(each for layer in ours for each in layer.state if isinstance(each, mx.array))
        )
    assert len(least) > 30 * len(theirs)
    assert len(found) <= len(least), Counter(found) - Counter(least)


def test_a_batch_sorts_once(pair: Pair) -> None:
    rows = [make_sampler(temperature=1, top_p=0.9, top_k=9, key=mx.random.key(i)) for i in range(8)]
    logits = mx.zeros((8, 400))
    mx.eval(logits)
    with as_on_gpu():
        alone = primitives(rows[0](logits[0]))
        together = primitives(Sampler.sample_rows(rows, logits))
    assert [names.count("ArgPartition") for names in (alone, together)] == [1, 1]
