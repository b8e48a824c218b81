"""The format of prompt caches on disk: which tensors such a file has, and its header.

    content              I32 [P], token ids; -1 - i where the i-th medium is
    LAYER.keys           [1, heads, P, D] of a full layer, and .values; .keys.1, .keys.2 are the
                         scales and biases of quantized ones
    POSITION.LAYER.keys  [1, heads, min(POSITION, window), D] of a sliding layer, oldest first

The header is that of safetensors, whose metadata are texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, BinaryIO, Self

import mlx.core as mx

from ..checked_json import JsonError, parse, whole
from ..models.gemma4 import Gemma4
from ..models.masks import NO_MASKS
from ..models.mlx_lm_parts import KVCache, RowCache

FORMAT = "g4 prompt cache"
"""Twice in the first bytes of every file: what does not have it was not written by g4."""

MOST_CHECKPOINTS = 6
_VERSION = "1"
_LONGEST_HEADER = 4 << 20
_LONGEST_DIGEST = 128
_NO_DIGEST = "0" * 64
_NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16", mx.int32: "I32"}
_NAMES |= {mx.uint32: "U32", mx.uint8: "U8"}


class PromptCacheError(Exception):
    """Why a file is not used; the message follows its name."""


DAMAGED = PromptCacheError("is damaged")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A tensor of a file."""

    name: str
    dtype: mx.Dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.size


def entries_for(network: Gemma4, positions: Sequence[int]) -> list[Entry]:
    """The tensors of a file with checkpoints at ``positions``, in their order."""
    length = positions[-1]
    found = [Entry(name="content", dtype=mx.int32, shape=(length,))]
    layers = one_token(network)
    for number, layer in enumerate(layers):
        if isinstance(layer, KVCache):
            found += _pair(f"{number}", layer, length)
    for position in positions:
        for number, layer in enumerate(layers):
            if not isinstance(layer, KVCache):
                found += _pair(f"{position}.{number}", layer, min(position, layer.max_size))
    return found


def one_token(network: Gemma4) -> list[RowCache]:
    """Caches as they are after a token. Nothing is computed; only shapes and types are of use."""
    cache = network.language_model.make_cache()
    network.language_model.model.fill(*network.embed([0]), cache, NO_MASKS)
    return cache


def _pair(name: str, layer: RowCache, length: int) -> Iterator[Entry]:
    for kind, stored in (("keys", layer.keys), ("values", layer.values)):
        for part, array in enumerate(parts(stored)):
            rows, heads, _, width = array.shape
            shape = (rows, heads, length, width)
            suffix = f".{part}" if part else ""
            yield Entry(name=f"{name}.{kind}{suffix}", dtype=array.dtype, shape=shape)


def parts(stored: Any) -> tuple[mx.array, ...]:
    """The arrays of keys or values: one, or those that quantized ones consist of."""
    return tuple(stored) if isinstance(stored, tuple | list) else (stored,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The header of a file: the model's ``key``, the ``positions`` of checkpoints, rising.

    ``content`` is the digest of that tensor, which is compared with a prompt before all is read;
    ``media`` are the digests of media in it. ``digest`` is that of all bytes.
    """

    key: str
    content: str
    positions: tuple[int, ...]
    media: tuple[str, ...]
    digest: str = _NO_DIGEST

    def blank(self, entries: Sequence[Entry]) -> bytes:
        """The bytes before the tensors, with zeros for the digest."""
        header: dict[str, Any] = {
            "__metadata__": {
                "format": FORMAT,
                "version": _VERSION,
                "key": self.key,
                "kind": FORMAT,
                "digest": _NO_DIGEST,
                "content": self.content,
                "positions": json.dumps(self.positions),
                "media": json.dumps(self.media),
            }
        }
        start = 0
        for entry in entries:
            header[entry.name] = {
                "dtype": _NAMES[entry.dtype],
                "shape": list(entry.shape),
                "data_offsets": [start, start + entry.nbytes],
            }
            start += entry.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @staticmethod
    def place_of_digest(blank: bytes) -> int:
        """Where in the file the digest is."""
        return blank.index(_NO_DIGEST.encode())

    @classmethod
    def read(cls, file: BinaryIO) -> tuple[Self, bytes]:
        """The header at the start of a file, and its bytes with zeros for the digest.

        Raises PromptCacheError for what is no header of this version; sizes are not checked.
        """
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 0 < length <= _LONGEST_HEADER:
            raise DAMAGED
        text = file.read(length)
        try:
            header = parse(text)
            metadata = header["__metadata__"]
            if metadata["format"] != FORMAT:
                raise DAMAGED
            if metadata["version"] != _VERSION:
                raise PromptCacheError("was written by another version of g4")
            found = cls(
                key=_text(metadata["key"]),
                content=_text(metadata["content"]),
                positions=_positions(parse(_text(metadata["positions"]))),
                media=_media(parse(_text(metadata["media"]))),
                digest=_text(metadata["digest"]),
            )
            blank = text.replace(found.digest.encode(), _NO_DIGEST.encode(), 1)
        except (JsonError, KeyError, TypeError, UnicodeEncodeError) as exc:
            raise DAMAGED from exc
        return found, start + blank


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _positions(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_CHECKPOINTS:
        raise TypeError
    found = tuple(whole(each, "positions") for each in value)
    if any(one >= other for one, other in pairwise(found)):
        raise TypeError
    return found


def _media(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    found = tuple(map(_text, value))
    if len(set(found)) < len(found) or any(len(each) > _LONGEST_DIGEST for each in found):
        raise TypeError
    return found


def new_digest() -> Any:
    """The state of a digest of all bytes of a file."""
    return hashlib.sha256()
