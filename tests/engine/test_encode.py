"""Each distinct medium is encoded once, and its soft tokens get the right positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from support.goldens import inputs_of, soft_tokens_of
from support.models import fresh

from gemma4cli.engine.encode import encode_features
from gemma4cli.engine.model import FeatureCache, LoadedModel
from gemma4cli.errors import NonFiniteError, PlaceholderMismatchError
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.processing.image import image_features
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Calls of the towers: the kind, and how many items together."""
    seen: list[tuple[str, int]] = []
    images, audio = Gemma4.encode_images, Gemma4.encode_audio

    def encode_images(self: Gemma4, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        seen.append(("image", len(patches)))
        return images(self, patches, grid)

    def encode_audio(self: Gemma4, features: mx.array) -> mx.array:
        seen.append(("audio", 1))
        return audio(self, features)

    monkeypatch.setattr(Gemma4, "encode_images", encode_images)
    monkeypatch.setattr(Gemma4, "encode_audio", encode_audio)
    return seen


def twice(inputs: ModelInputs) -> ModelInputs:
    """A prompt repeated once, media included."""
    length = len(inputs.ids)
    again = [
        dataclasses.replace(s, start=s.start + length, end=s.end + length) for s in inputs.spans
    ]
    return dataclasses.replace(
        inputs, ids=inputs.ids * 2, spans=(*inputs.spans, *again), features=inputs.features * 2
    )


@pytest.mark.parametrize(
    ("case", "calls"),
    [("image_70", [("image", 1)]), ("audio", [("audio", 1)]), ("video", [("image", 4)])],
)
def test_a_repeated_medium_is_encoded_once(
    case: str,
    calls: list[tuple[str, int]],
    parity_model: ParityModel,
    counted: list[tuple[str, int]],
) -> None:
    """Within a prompt and from turn to turn. Frames of one size are encoded together."""
    model = fresh(parity_model("e2b"))
    inputs = twice(inputs_of(model, case))
    soft_tokens = soft_tokens_of(model, inputs)
    assert counted == calls
    half = len(soft_tokens) // 2
    for first, second in zip(soft_tokens[:half], soft_tokens[half:], strict=True):
        assert first.values is second.values
        assert second.start == first.start + len(inputs.ids) // 2
    soft_tokens_of(model, inputs)
    assert counted == calls


def test_images_of_different_sizes_are_encoded_alone(
    parity_model: ParityModel, counted: list[tuple[str, int]]
) -> None:
    model = fresh(parity_model("e2b"))
    inputs = inputs_of(model, "images")
    grids = [feature.grid for feature in inputs.features]
    assert len(set(grids)) == len(grids) > 1
    soft_tokens_of(model, inputs)
    assert counted == [("image", 1)] * len(grids)


def test_a_wide_image_and_a_tall_one_are_encoded_apart(
    parity_model: ParityModel, counted: list[tuple[str, int]]
) -> None:
    """They have equally many patches, but different grids."""
    model = fresh(parity_model("e2b"))
    wide = np.zeros((96, 144, 3), np.uint8)
    features = [
        image_features(pixels, 6, model.processor.config.vision, unified=False)
        for pixels in (wide, wide.swapaxes(0, 1))
    ]
    assert features[0].patches().shape == features[1].patches().shape
    assert features[0].grid != features[1].grid
    *_, known = encode_features(model, features)
    assert len(known) == 2
    assert counted == [("image", 1)] * 2


def test_media_that_exceed_the_cache_are_encoded_once_per_prompt(
    parity_model: ParityModel, counted: list[tuple[str, int]]
) -> None:
    model = fresh(parity_model("e2b"), limit=0)
    inputs = twice(inputs_of(model, "video"))
    first = soft_tokens_of(model, inputs)
    assert counted == [("image", 4)]
    second = soft_tokens_of(model, inputs)
    assert counted == [("image", 4)] * 2
    for one, other in zip(first, second, strict=True):
        assert one.start == other.start
        np.testing.assert_array_equal(np.array(one.values), np.array(other.values))


def test_the_feature_cache_drops_the_least_recently_used_items() -> None:
    cache = FeatureCache(8)
    for name in ("a", "b"):
        cache.put(name, mx.zeros(1))
    assert cache.get("a") is not None
    cache.put("c", mx.zeros(1))
    assert [name for name in "abc" if cache.get(name) is not None] == ["a", "c"]
    cache.put("too large", mx.zeros(3))
    assert not any(cache.get(name) is not None for name in ("a", "c", "too large"))
    cache.put("d", mx.zeros(2))
    assert cache.get("d") is not None


# Errors


@pytest.mark.parametrize(
    ("case", "kind"), [("image_70", "image"), ("audio", "audio"), ("video", "video")]
)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_number_of_soft_tokens_is_an_error_with_both_numbers(
    case: str, kind: str, change: int, parity_model: ParityModel
) -> None:
    model = fresh(parity_model("e2b"))
    inputs = inputs_of(model, case)
    first, *others = inputs.spans
    spans = (dataclasses.replace(first, end=first.end + change), *others)
    with pytest.raises(PlaceholderMismatchError) as caught:
        soft_tokens_of(model, dataclasses.replace(inputs, spans=spans))
    count = first.end - first.start
    assert caught.value.kind == kind
    assert (caught.value.placeholders, caught.value.soft_tokens) == (count + change, count)
    assert f"{count + change} {kind} placeholders but {count}" in str(caught.value)


@pytest.mark.parametrize(
    ("case", "broken"), [("image_70", "embed_vision"), ("audio", "embed_audio")]
)
def test_nan_in_soft_tokens_is_an_error_and_not_kept_for_the_next_turn(
    case: str, broken: str, parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"))
    inputs = inputs_of(model, case)
    projection = model.network[broken].embedding_projection
    with monkeypatch.context() as patch:
        patch.setitem(projection, "weight", projection.weight * mx.nan)
        with pytest.raises(NonFiniteError) as caught:
            soft_tokens_of(model, inputs)
    assert caught.value.where == "encoding media"
    assert model.soft_tokens.get(inputs.features[0].digest) is None
    assert mx.isfinite(soft_tokens_of(model, inputs)[0].values).all().item()
