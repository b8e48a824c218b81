"""Prompts to bytes and back; what nobody made is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gemma4cli.checked_json import JsonError
from gemma4cli.engine.answering import Prompt
from gemma4cli.errors import ContextLengthError, OptionError
from gemma4cli.options import GenerateOptions, TokenBias
from gemma4cli.processing.inputs import AudioFeatures, ImageFeatures
from gemma4cli.wire.bodies import Array, packed, unpacked
from gemma4cli.wire.requests import (
    PromptLimits,
    ids_body,
    options_body,
    prompts_body,
    read_ids,
    read_options,
    read_prompts,
    read_texts,
    texts_body,
)


def test_prompts_come_back_as_they_were(prompt: Prompt, limits: PromptLimits) -> None:
    first, second = read_prompts(prompts_body([prompt, prompt]), limits)
    for read in (first, second):
        assert (read.inputs.ids, read.inputs.spans) == (prompt.inputs.ids, prompt.inputs.spans)
        assert read.options == replace(prompt.options, prefill_step_size=None)
    (picture, clip), (read_picture, read_clip) = prompt.inputs.features, first.inputs.features
    assert isinstance(picture, ImageFeatures) and isinstance(read_picture, ImageFeatures)
    assert isinstance(clip, AudioFeatures) and isinstance(read_clip, AudioFeatures)
    assert np.array_equal(picture.pixels, read_picture.pixels)
    assert picture.digest == read_picture.digest
    assert (picture.grid, picture.scale) == (read_picture.grid, read_picture.scale)
    assert np.array_equal(clip.frames, read_clip.frames)
    assert [each.soft_tokens for each in prompt.inputs.features] == [
        each.soft_tokens for each in first.inputs.features
    ]


def test_keys_of_what_is_kept_come_from_the_arrays(prompt: Prompt, limits: PromptLimits) -> None:
    """A client cannot say that its picture is another one's."""
    picture, clip = prompt.inputs.features
    assert isinstance(picture, ImageFeatures)
    other = replace(picture, pixels=255 - picture.pixels)  # with the digest of the first
    inputs = replace(prompt.inputs, features=(other, clip))
    (read,) = read_prompts(prompts_body([replace(prompt, inputs=inputs)]), limits)
    assert read.inputs.features[0].digest != picture.digest


Facts = dict[str, Any]
Arrays = dict[str, Array]


def _span(**changed: object) -> Callable[[Facts, Arrays], None]:
    return lambda facts, arrays: facts["prompts"][0]["spans"][0].update(changed)


def _option(**changed: object) -> Callable[[Facts, Arrays], None]:
    return lambda facts, arrays: facts["prompts"][0]["options"].update(changed)


def _array(name: str, change: Callable[[Array], Array]) -> Callable[[Facts, Arrays], None]:
    return lambda facts, arrays: arrays.update({name: change(arrays[name])})


WRONG: dict[str, Callable[[Facts, Arrays], object]] = {
    "no prompts": lambda facts, arrays: facts.update(prompts=[]),
    "prompts that are a number": lambda facts, arrays: facts.update(prompts=1),
    "too many prompts": lambda facts, arrays: facts.update(prompts=facts["prompts"] * 65),
    "a prompt that is a text": lambda facts, arrays: facts.update(prompts=["Hello"]),
    "no spans": lambda facts, arrays: facts["prompts"][0].pop("spans"),
    "fewer spans": lambda facts, arrays: facts["prompts"][0]["spans"].pop(),
    "spans in another order": lambda facts, arrays: facts["prompts"][0]["spans"].reverse(),
    "a span that is a number": lambda facts, arrays: facts["prompts"][0].update(spans=[3]),
    "a span of another kind": _span(kind="audio"),
    "a span of no kind": _span(kind="smell"),
    "an empty span": _span(end=6),
    "a span before the prompt": _span(start=-5),
    "a span after the prompt": _span(end=10**6),
    "a shorter span": lambda facts, arrays: facts["prompts"][0]["spans"][0].update(
        end=facts["prompts"][0]["spans"][0]["end"] - 1
    ),
    "a span with more": _span(weight=1),
    "a frame that is a text": _span(frame="first"),
    "no ids": lambda facts, arrays: arrays.pop("0.ids"),
    "an empty prompt": _array("0.ids", lambda ids: ids[:0]),
    "an id outside the vocabulary": _array("0.ids", lambda ids: ids + 2000),
    "a negative id": _array("0.ids", lambda ids: -ids),
    "ids that are fractions": _array("0.ids", lambda ids: ids.astype(np.float32)),
    "ids in a table": _array("0.ids", lambda ids: ids[None]),
    "placeholders outside of spans": _array("0.ids", lambda ids: np.full_like(ids, 18)),
    "one placeholder more": _array("0.ids", lambda ids: np.append(ids, np.int32(18))),
    "no picture": lambda facts, arrays: arrays.pop("0.0"),
    "a picture that is a clip": lambda facts, arrays: arrays.update({"0.0": arrays["0.1"]}),
    "a clip that is a picture": lambda facts, arrays: arrays.update({"0.1": arrays["0.0"]}),
    "a picture of another size": _array("0.0", lambda pixels: pixels[:-1]),
    "a smaller picture": _array("0.0", lambda pixels: pixels[48:]),
    "a picture without a pixel": _array("0.0", lambda pixels: pixels[:0]),
    "a gray picture": _array("0.0", lambda pixels: pixels[..., :1]),
    "a huge picture": _array("0.0", lambda pixels: np.zeros((4800, 4800, 3), np.uint8)),
    "a shorter clip": _array("0.1", lambda frames: frames[:-8]),
    "a clip without sound": _array("0.1", lambda frames: frames[:0]),
    "a clip of other bins": _array("0.1", lambda frames: frames[:, :-1]),
    "a clip with NaN": _array("0.1", lambda frames: frames * np.float32("nan")),
    "a clip with infinity": _array("0.1", lambda frames: frames - np.float32("inf")),
    "a clip with huge numbers": _array("0.1", lambda frames: np.full_like(frames, 3e38)),
    "an array too many": lambda facts, arrays: arrays.update({"1.ids": arrays["0.ids"]}),
    "no options": lambda facts, arrays: facts["prompts"][0].pop("options"),
    "options that are a list": lambda facts, arrays: facts["prompts"][0].update(options=[]),
    "an option that there is not": _option(speed=3),
    "an option that is a text": _option(max_tokens="7"),
    "an option out of range": _option(top_p=0),
    "a seed out of range": _option(seed=2**64),
    "a negative seed": _option(seed=-1),
    "a fraction of a token": _option(max_tokens=0.5),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_client_sends_is_refused(name: str, prompt: Prompt, limits: PromptLimits) -> None:
    facts, arrays = unpacked(prompts_body([prompt]))
    WRONG[name](facts, arrays)
    with pytest.raises((JsonError, OptionError)):
        read_prompts(packed(facts, arrays), limits)


def test_damaged_bodies_are_refused_or_read(prompt: Prompt, limits: PromptLimits) -> None:
    """A bit that changes a pixel goes unnoticed; nothing else than the two errors comes of any."""
    body = prompts_body([prompt])
    head = 8 + int.from_bytes(body[:8], "little")
    random = np.random.default_rng(5)
    refused = 0
    for number in range(400):
        damaged = bytearray(body)
        if number % 4 == 0:
            del damaged[random.integers(len(body)) :]
        elif number % 4 == 1:
            damaged[random.integers(8)] ^= 1 << random.integers(8)
        else:
            for place in random.integers(8, head + 40, 1 + number % 7):
                damaged[place] = random.integers(256)
        try:
            read_prompts(bytes(damaged), limits)
        except (JsonError, OptionError):
            refused += 1
    assert refused > 300


def test_options_texts_and_ids_come_back(prompt: Prompt) -> None:
    options = GenerateOptions(
        schema='{"type": "object"}',
        seed=2**63,
        temperature=1 / 3,
        logit_bias=(TokenBias(token=7, bias=-0.1), TokenBias(token=9, bias=2.0)),
    )
    assert read_options(options_body(options)) == options
    assert read_texts(texts_body(["Hé", "", "a\nb"]), 1) == ["Hé", "", "a\nb"]
    assert read_ids(ids_body([[1, 2], [], [3]]), 3) == [[1, 2], [], [3]]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"texts": 1}', b'{"texts": [1]}', b"\xff"])
def test_a_question_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(JsonError):
        read_texts(body, 9)
    with pytest.raises(JsonError):
        read_options(body)
    with pytest.raises(JsonError):
        read_ids(body, 1)


def test_more_texts_than_a_prompt_has_are_refused() -> None:
    with pytest.raises(JsonError, match="at most 4096"):
        read_texts(texts_body(["a"] * 4097), 9000)
    with pytest.raises(JsonError, match="longer than the context"):
        read_texts(texts_body(["a" * 300, "b" * 300]), 9)


def test_a_prompt_that_is_longer_than_the_context_is_not_read(
    prompt: Prompt, limits: PromptLimits
) -> None:
    facts, arrays = unpacked(prompts_body([prompt]))
    arrays["0.ids"] = np.zeros(limits.context, np.int32)
    with pytest.raises(ContextLengthError, match="8,192"):
        read_prompts(packed(facts, arrays), limits)


def test_an_error_about_a_header_is_one_line_whatever_the_header_quotes() -> None:
    header = b'{"a": {"dtype": "F32\\n\\u001b[2J", "shape": [1], "data_offsets": [0, 4]}}'
    with pytest.raises(JsonError, match="is not in the format of safetensors") as raised:
        read_ids(len(header).to_bytes(8, "little") + header + bytes(4), 1)
    assert str(raised.value).isprintable()
