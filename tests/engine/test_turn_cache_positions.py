"""The turn cache against its definition: where runs resume, and which tokens the caches hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.engine.turn_cache import CachedRun, TurnCache
from gemma4cli.models.language import LanguageModel
from gemma4cli.models.mlx_lm_parts import KVCache, RotatingKVCache

WINDOW = 4


class Network:
    """Has the caches of a full and a sliding layer, and computes nothing."""

    checkpoint: Any = LanguageModel.checkpoint
    resumed_cache: Any = LanguageModel.resumed_cache

    @property
    def language_model(self) -> Network:
        return self

    def make_cache(self) -> list[Any]:
        return [KVCache(), RotatingKVCache(WINDOW)]


def fill(run: CachedRun, content: Sequence[int], end: int) -> None:
    """Add the tokens up to ``end`` to all layers; keys and values are the tokens themselves."""
    tokens = mx.array([float(token) for token in content[run.cached : end]])[None, None, :, None]
    for layer in run.cache:
        layer.update_and_fetch(tokens, -tokens)


def check_layers(run: CachedRun, content: Sequence[int]) -> None:
    """The full layer holds all tokens so far, the sliding layer at least the window of them."""
    end = run.cached
    full, sliding = run.cache
    assert full.offset == sliding.offset == end
    if end:
        np.testing.assert_array_equal(np.array(full.state[0])[0, 0, :end, 0], content[:end])
        keys = np.array(sliding._temporal_order(sliding.keys))[0, 0, :, 0]
        newest = content[max(0, end - WINDOW) : end]
        np.testing.assert_array_equal(keys[-len(newest) :], newest)


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[list[int], list[tuple[int, bool]]]]:
    """Prompts, and for each the ends of its chunks with whether a checkpoint is made there."""
    result = []
    for _ in range(draw(st.integers(1, 5))):
        content = draw(st.lists(st.integers(0, 1), min_size=1, max_size=14))
        if result and draw(st.booleans()):  # continues the run before
            content = [*result[-1][0], *content]
        ends = draw(st.sets(st.integers(1, len(content)), min_size=1))
        result.append((content, [(end, draw(st.booleans())) for end in sorted(ends)]))
    return result


@given(runs())
def test_a_run_resumes_at_the_last_checkpoint_that_its_prompt_begins_with(
    plan: list[tuple[list[int], list[tuple[int, bool]]]],
) -> None:
    network: Any = Network()
    turns = TurnCache()
    checkpoints: list[list[int]] = []
    for content, chunks in plan:
        run = turns.begin(network, content)
        # The last position is always computed, because its logits are needed.
        resumable = [c for c in checkpoints if c == content[: len(c)] and len(c) < len(content)]
        start = max(map(len, resumable), default=0)
        assert run.start == run.cached == start
        check_layers(run, content)
        checkpoints = [c for c in checkpoints if len(c) <= start]
        for end, keeps in chunks:
            if end <= start:
                continue
            fill(run, content, end)
            check_layers(run, content)
            if keeps:
                run.keep()
                checkpoints.append(content[:end])


@given(st.integers(1, 6), st.lists(st.integers(1, 9), min_size=1, max_size=12, unique=True))
def test_the_newest_checkpoints_within_the_limit_are_kept(kept: int, ends: list[int]) -> None:
    """A checkpoint's size is that of the sliding layer's keys and values, at most the window."""
    ends = [WINDOW + end for end in sorted(ends)]
    size = 2 * WINDOW * np.dtype(np.float32).itemsize
    network: Any = Network()
    turns = TurnCache(limit=kept * size)
    content = list(range(30))
    run = turns.begin(network, content)
    for end in ends:
        fill(run, content, end)
        run.keep()
    oldest = ends[-kept:][0]
    assert turns.begin(network, [*content[:oldest], 99]).start == oldest
    assert turns.begin(network, [*content[: oldest - 1], 99]).start == 0
