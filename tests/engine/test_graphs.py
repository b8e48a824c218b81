"""What a GPU does for a token and for a chunk of a prompt, at most what mlx-lm's own model does.

Counted on the graphs of the published configurations; nothing is computed.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import mlx.core as mx
import pytest
from support.graphs import (
    Pair,
    as_on_gpu,
    checked,
    drafter_of,
    guesses_of,
    our_step,
    pair_of,
    primitives,
    step_of_mlx_lm,
)

from gemma4cli.engine.sampling import Sampler, make_sampler
from gemma4cli.models.layers import ClippedLinear
from gemma4cli.models.masks import make_masks
from gemma4cli.models.vision_tower import axial_angles, rotate_axial

NAMES = ["google__gemma-4-E2B-it", "google__gemma-4-12B-it", "google__gemma-4-31B-it"]

BEFORE = 1500
"""Positions in the cache, more than a window and not at the end of its buffers."""

CHUNK = 512


@pytest.fixture(scope="module", params=NAMES, ids=lambda name: name.split("-")[2])
def pair(request: pytest.FixtureRequest) -> Pair:
    return pair_of(request.param)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_step_takes_no_more_operations_than_mlx_lms(pair: Pair, temperature: float) -> None:
    """With logits, the check that they are finite, suppressed tokens, and sampling."""
    ours, theirs = pair.caches(BEFORE)
    with as_on_gpu():
        least = primitives(*step_of_mlx_lm(pair.theirs, temperature)(theirs))
        found = primitives(*our_step(pair.ours, temperature)(ours))
    assert len(least) > 40 * len(theirs)
    assert len(found) <= len(least), Counter(found) - Counter(least)


@pytest.mark.parametrize("before", [0, BEFORE])
def test_a_chunk_takes_no_more_operations_than_mlx_lms(pair: Pair, before: int) -> None:
    ours, theirs = pair.caches(before)
    ids = list(range(3, 3 + CHUNK))
    masks = make_masks(length=CHUNK, offset=before, window=pair.ours.config.text.sliding_window)
    with as_on_gpu():
        pair.theirs(mx.array(ids)[None], cache=theirs)
        least = primitives(
            *(each for layer in theirs for each in layer.state if isinstance(each, mx.array))
        )
        pair.ours.language_model.model.fill(*pair.ours.embed(ids), ours, masks)
        found = primitives(
            *(each for layer in ours for each in layer.state if isinstance(each, mx.array))
        )
    assert len(least) > 30 * len(theirs)
    assert len(found) <= len(least), Counter(found) - Counter(least)


OF_A_DRAFT = {"E2B": (178, 2072), "12B": (163, 2664), "31B": (163, 3322)}
"""Operations of a guess, and of the step that checks guesses past the end of the window."""


def test_a_guess_and_its_check_take_no_more_operations_than_so_far(
    request: pytest.FixtureRequest, pair: Pair
) -> None:
    """Each guess takes as many, with no keys or values of its own; and so does any check."""
    name = request.node.callspec.params["pair"]
    most, most_checked = OF_A_DRAFT[name.split("-")[2]]
    drafter = drafter_of(name)
    with as_on_gpu():
        guesses = guesses_of(drafter, pair.ours, pair.caches(BEFORE)[0], 3)
        found = [primitives(*guesses[:count]) for count in (1, 2, 3)]
        steps = [primitives(*checked(pair.ours, pair.caches(BEFORE)[0], n)) for n in (1, 7)]
    counts = [len(each) for each in found]
    assert max(counts[0], *(after - before for before, after in pairwise(counts))) <= most
    layers, clusters = len(drafter.language_model.model.layers), drafter.config.clusters
    # Queries, output, and three of the MLP; the inputs, the head, and the clusters' centers.
    assert found[0].count("Matmul") == 5 * layers + 2 + (clusters is not None)
    assert len(steps[0]) == len(steps[1]) <= most_checked


def test_a_batch_sorts_once(pair: Pair) -> None:
    rows = [make_sampler(temperature=1, top_p=0.9, top_k=9, key=mx.random.key(i)) for i in range(8)]
    logits = mx.zeros((8, 400))
    mx.eval(logits)
    with as_on_gpu():
        alone = primitives(rows[0](logits[0]))
        together = primitives(Sampler.sample_rows(rows, logits))
    assert [names.count("ArgPartition") for names in (alone, together)] == [1, 1]


def test_limits_and_turns_of_the_towers_are_one_operation_each() -> None:
    layer = ClippedLinear(8, 4, clipped=True)
    x, places = mx.zeros((1, 6, 2, 8)), mx.arange(6)
    angles = axial_angles(places, places, 8, 100.0, mx.float32)
    mx.eval(layer.parameters(), x, angles)
    with as_on_gpu():
        linear, turned = primitives(layer(x)), primitives(rotate_axial(x, angles))
        plain = primitives(layer.linear(x))
    assert len(linear) == len(plain) + 2
    assert sum(name.startswith("Compiled") or name in ("Multiply", "Add") for name in turned) <= 2
