"""What a tokenizer.json may hold: what Gemma's has, checked before the library builds anything.

The library would also run regular expressions, replace texts by longer ones again and again, and
end in panics. No tokenizer of Gemma 4 needs any of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..checked_json import JsonError, parse, shown, whole

_PARTS: Mapping[str, tuple[str, frozenset[str]]] = {
    "normalizer": ("normalizers", frozenset({"Replace", "Prepend", "Strip", "NFC"})),
    "pre_tokenizer": ("pretokenizers", frozenset({"Split", "Metaspace"})),
    "post_processor": ("processors", frozenset({"TemplateProcessing"})),
    "decoder": ("decoders", frozenset({"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"})),
}
"""The sections, the name of the list in a sequence of each, and the steps that are known."""
_SECTIONS = frozenset({*_PARTS, "added_tokens", "model"})
_WITHOUT = ("continuing_subword_prefix", "end_of_word_suffix", "dropout")
"""Keys of the model that Gemma leaves empty."""
_MOST_STEPS = 8
_MOST_GROWTH = 64
"""How many times longer all replacements together may make a text."""
_MOST_ADDED, _LONGEST_ADDED = 2**16, 256
"""Tokens beside the merged ones, and the characters of one."""


def check_tokenizer(data: bytes) -> None:
    """Check the content of a tokenizer.json, except its vocabulary. Raises JsonError."""
    content = _without_vocabulary(data)
    if not isinstance(content, dict):
        raise JsonError("must hold a JSON object")
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise JsonError("must have a vocabulary of the type BPE", "model")
    for key in _WITHOUT:
        if model.get(key):
            raise JsonError(f"must be null, not {shown(model[key])}", f"model.{key}")
    for name, (inner, known) in _PARTS.items():
        _check_steps(content.get(name), name, inner, known)
    _check_added(content.get("added_tokens"))


def _without_vocabulary(data: bytes) -> Any:
    """The content up to the vocabulary, which comes last in files as the library writes them.

    Other files are parsed as a whole, which takes a second for a large vocabulary.
    """
    end = data.find(b'"vocab"')
    if end > 0:
        try:
            content = parse(data[:end] + b'"vocab":{}}}')
        except JsonError:
            return parse(data)
        if isinstance(content, dict) and content.keys() >= _SECTIONS:
            return content
    return parse(data)


def _check_steps(section: object, path: str, inner: str, known: frozenset[str]) -> None:
    growth = 1.0
    for number, (at, step) in enumerate(_steps(section, path, inner)):
        kind = step.get("type")
        if not isinstance(kind, str) or kind not in known or number >= _MOST_STEPS:
            raise JsonError(f"{shown(kind)} is not a step of Gemma's tokenizers", at)
        if kind in ("Replace", "Split"):
            text = _plain_pattern(step.get("pattern"), f"{at}.pattern")
            added = step.get("content")
            if kind == "Replace" and isinstance(added, str):
                growth *= max(1, len(added) / len(text))
        if growth > _MOST_GROWTH or len(str(step.get("prepend", ""))) > _MOST_GROWTH:
            raise JsonError("makes texts too long", at)


def _plain_pattern(pattern: object, path: str) -> str:
    text = pattern.get("String") if isinstance(pattern, dict) and len(pattern) == 1 else None
    if not isinstance(text, str) or not text:
        raise JsonError("must be a plain text, {'String': TEXT}, as in Gemma's tokenizers", path)
    return text


def _steps(section: object, path: str, inner: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The steps of a section, with those of its sequences."""
    if section is None:
        return
    if not isinstance(section, dict):
        raise JsonError(f"must be an object or null, not {shown(section)}", path)
    if section.get("type") != "Sequence":
        yield path, section
        return
    steps = section.get(inner)
    if not isinstance(steps, list):
        raise JsonError(f"must be a list, not {shown(steps)}", f"{path}.{inner}")
    for index, step in enumerate(steps):
        yield from _steps(step, f"{path}.{inner}[{index}]", inner)


def _check_added(tokens: object) -> None:
    path = "added_tokens"
    if tokens is None:
        return
    if not isinstance(tokens, list) or len(tokens) > _MOST_ADDED:
        raise JsonError(f"must be a list of at most {_MOST_ADDED} tokens", path)
    for index, token in enumerate(tokens):
        at = f"{path}[{index}]"
        if not isinstance(token, dict):
            raise JsonError(f"must be an object, not {shown(token)}", at)
        whole(token.get("id"), f"{at}.id", least=0)
        text = token.get("content")
        if not isinstance(text, str) or not 1 <= len(text) <= _LONGEST_ADDED:
            raise JsonError(f"must be a text of 1 to {_LONGEST_ADDED} characters", f"{at}.content")
