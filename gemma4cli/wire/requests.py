"""Prompts as one body, and back: token ids and options, pixels and frames of sound.

What is read is checked against the model's processor: the sizes of media, their places in the
prompt, token ids. The keys under which a server keeps what it computed are made from the arrays
themselves, so that nobody can put one picture's soft tokens in another's place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..checked_json import JsonError, as_dataclass, parse, shown, whole
from ..engine.answering import Prompt
from ..errors import ContextLengthError
from ..options import SOFT_TOKEN_BUDGETS, GenerateOptions
from ..processing.config import FRAMES_PER_TOKEN, MelConfig
from ..processing.image import patch_features
from ..processing.inputs import AudioFeatures, ImageFeatures, MediaFeatures, ModelInputs, digest_of
from ..processing.processor import Processor
from ..processing.prompt import PLACEHOLDER, MediaSpan
from .bodies import Array, packed, unpacked

MOST_PROMPTS = 64
MOST_TEXTS = 4096
_LONGEST_TOKEN = 64
"""Characters, more than of any token in Gemma's vocabulary."""
_MOST_SEED = 2**64 - 1
_MOST_LEVEL = 1e6
"""Of a number in a clip's frames; logarithms of a loud clip are below 10, samples mostly below 1.
Larger numbers would overflow in the network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLimits:
    """What a prompt must keep to; token ids are below ``vocabulary``, ``context`` is in tokens."""

    processor: Processor
    vocabulary: int
    context: int


def prompts_body(prompts: Sequence[Prompt]) -> bytes:
    """The body of a request for answers; notices and the prompts' texts stay here."""
    arrays: dict[str, Array] = {}
    facts: list[dict[str, object]] = []
    for number, prompt in enumerate(prompts):
        arrays[f"{number}.ids"] = np.array(prompt.inputs.ids, np.int32)
        for place, feature in enumerate(prompt.inputs.features):
            arrays[f"{number}.{place}"] = (
                feature.pixels if isinstance(feature, ImageFeatures) else feature.frames
            )
        spans = [asdict(span) for span in prompt.inputs.spans]
        facts.append({"spans": spans, "options": prompt.options.facts})
    return packed({"prompts": facts}, arrays)


def read_prompts(body: bytes, limits: PromptLimits) -> list[Prompt]:
    """The prompts of a body.

    Raises JsonError, OptionError for an option out of range, and ContextLengthError.
    """
    facts, arrays = unpacked(body)
    given = facts.get("prompts") if isinstance(facts, dict) else None
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_PROMPTS:
        raise JsonError(f"must be a list of 1 to {MOST_PROMPTS} prompts", "prompts")
    prompts = [
        _prompt(each, f"prompts[{number}]", number, arrays, limits)
        for number, each in enumerate(given)
    ]
    if arrays:
        raise JsonError(f"belongs to no prompt: {shown(min(arrays))}")
    return prompts


def options_body(options: GenerateOptions) -> bytes:
    """The body of a question whether a model can answer with these options.

    Their facts lack the prefill step, which is the server's.
    """
    return json.dumps({"options": options.facts}).encode()


def read_options(body: bytes) -> GenerateOptions:
    """The options in a body. Raises JsonError and OptionError."""
    return _options(_only_key(body, "options"), "options")


def texts_body(texts: Iterable[str]) -> bytes:
    """The body of a question for the token ids of texts."""
    return json.dumps({"texts": list(texts)}).encode()


def read_texts(body: bytes, context: int) -> list[str]:
    """The texts in a body, for a model with a context of so many tokens. Raises JsonError."""
    texts = _only_key(body, "texts")
    if not isinstance(texts, list) or len(texts) > MOST_TEXTS:
        raise JsonError(f"must be a list of at most {MOST_TEXTS} texts", "texts")
    if not all(isinstance(each, str) for each in texts):
        raise JsonError("must be a list of texts", "texts")
    if sum(map(len, texts)) > _LONGEST_TOKEN * context:
        raise JsonError("must not be longer than the context", "texts")
    return texts


def ids_body(ids: Sequence[Sequence[int]]) -> bytes:
    """The token ids of texts."""
    return packed({}, {str(number): np.array(each, np.int32) for number, each in enumerate(ids)})


def read_ids(body: bytes, count: int) -> list[list[int]]:
    """The token ids of ``count`` texts. Raises JsonError."""
    _, arrays = unpacked(body)
    return [_ids(arrays.pop(str(number), None), str(number)) for number in range(count)]


def _only_key(body: bytes, key: str) -> Any:
    value = parse(body)
    if not isinstance(value, dict) or value.keys() != {key}:
        raise JsonError(f"must be an object with the key {key}")
    return value[key]


def _options(value: object, path: str) -> GenerateOptions:
    if not isinstance(value, Mapping):
        raise JsonError(f"must be an object, not {shown(value)}", path)
    seed = value.get("seed")
    if seed is not None:
        seed = whole(seed, f"{path}.seed", least=0, most=_MOST_SEED)
    rest = {name: each for name, each in value.items() if name not in ("seed", "prefill_step_size")}
    return replace(as_dataclass(GenerateOptions, rest, path), seed=seed)


def _prompt(
    facts: object, path: str, number: int, arrays: dict[str, Array], limits: PromptLimits
) -> Prompt:
    if not isinstance(facts, Mapping) or not isinstance(facts.get("spans"), list):
        raise JsonError("must be an object with spans and options", path)
    row = arrays.pop(f"{number}.ids", None)
    if row is not None and row.size >= limits.context:
        raise ContextLengthError(row.size, limits.context)
    ids = _ids(row, f"{path}.ids")
    if not ids or max(ids) >= limits.vocabulary:
        raise JsonError(f"must be token ids below {limits.vocabulary}", f"{path}.ids")
    spans = [_span(each, f"{path}.spans[{place}]") for place, each in enumerate(facts["spans"])]
    _check_places(ids, spans, f"{path}.spans", limits.processor)
    features = [
        _feature(arrays.pop(f"{number}.{place}", None), span, f"{path}.{place}", limits.processor)
        for place, span in enumerate(spans)
    ]
    inputs = ModelInputs(
        ids=tuple(ids), spans=tuple(spans), features=tuple(features), text="", notices=()
    )
    return Prompt(inputs=inputs, options=_options(facts.get("options"), f"{path}.options"))


def _ids(array: Array | None, path: str) -> list[int]:
    if array is None or array.dtype != np.int32 or array.ndim != 1 or (array < 0).any():
        raise JsonError("must be a row of token ids", path)
    ids: list[int] = array.tolist()
    return ids


def _span(value: object, path: str) -> MediaSpan:
    if not isinstance(value, Mapping):
        raise JsonError(f"must be an object, not {shown(value)}", path)
    return as_dataclass(MediaSpan, value, path)


def _check_places(
    ids: Sequence[int], spans: Sequence[MediaSpan], path: str, processor: Processor
) -> None:
    """Raise JsonError unless the spans, in order, hold all placeholders of their kinds."""
    tokens = {
        kind: processor.tokenizer.control_id(name)
        for kind, name in PLACEHOLDER.items()
        if processor.tokenizer.has_control(name)
    }
    expected = list(ids)
    end = 0
    for number, span in enumerate(spans):
        if not end <= span.start < span.end <= len(ids):
            raise JsonError("must follow each other within the prompt", f"{path}[{number}]")
        if span.kind not in tokens:
            raise JsonError(f"the model takes no {span.kind}", f"{path}[{number}]")
        expected[span.start : span.end] = [tokens[span.kind]] * (span.end - span.start)
        end = span.end
    inside = sum(span.end - span.start for span in spans)
    if expected != list(ids) or inside != sum(each in tokens.values() for each in ids):
        raise JsonError("must hold the placeholders of the prompt, and nothing else", path)


def _feature(
    array: Array | None, span: MediaSpan, path: str, processor: Processor
) -> MediaFeatures:
    """The features of a medium, from its array alone."""
    if array is None:
        raise JsonError("lacks its array", path)
    feature: MediaFeatures
    if span.kind == "audio":
        feature = _clip(array, path, processor)
    else:
        feature = _picture(array, path, processor)
    if feature.soft_tokens != span.end - span.start:
        raise JsonError(
            f"has {feature.soft_tokens} soft tokens, but {span.end - span.start} placeholders", path
        )
    return feature


def _picture(pixels: Array, path: str, processor: Processor) -> ImageFeatures:
    vision = processor.config.vision
    unit = vision.patch_size * vision.pooling
    if not processor.sees or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise JsonError("must be the pixels of a picture, for a model that sees", path)
    rows, columns = pixels.shape[0] // unit, pixels.shape[1] // unit
    most = max(*SOFT_TOKEN_BUDGETS, vision.image_budget, vision.video_budget)
    if (
        pixels.shape[:2] != (rows * unit, columns * unit)
        or not 1 <= rows * columns <= most
        or max(rows, columns) > vision.longest_side
    ):
        size = " x ".join(map(str, pixels.shape[:2]))
        raise JsonError(f"{size} pixels are no size of a picture for this model", path)
    return patch_features(pixels, vision, unified=processor.unified)


def _clip(frames: Array, path: str, processor: Processor) -> AudioFeatures:
    audio = processor.config.audio
    if not processor.hears or frames.dtype != np.float32 or frames.ndim != 2 or not len(frames):
        raise JsonError("must be the frames of a clip, for a model that hears", path)
    count, width = frames.shape
    if isinstance(audio, MelConfig):
        soft_tokens = -(-count // FRAMES_PER_TOKEN)
        fits = width == audio.bins and soft_tokens <= audio.max_tokens
    else:
        soft_tokens = count
        fits = width == audio.samples_per_token
    if not fits:
        raise JsonError(f"{count} x {width} is no size of a clip for this model", path)
    if not (np.abs(frames) <= _MOST_LEVEL).all():
        raise JsonError(f"must have numbers from -{_MOST_LEVEL:g} to {_MOST_LEVEL:g}", path)
    return AudioFeatures(
        frames=frames, soft_tokens=soft_tokens, digest=digest_of(frames, "frames"), heard_seconds=0
    )
