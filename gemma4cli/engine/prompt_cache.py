"""What a turn cache holds as a file, so that another process can continue without a prefill.

Nothing in a file is trusted. ``key_of`` covers everything that keys and values depend on besides
the content; the tensors must be exactly those that this model writes, finite, and under the digest.
Prompts are compared with the content as within a process. So a file makes an answer start sooner,
and changes nothing else. Knows no names of files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import BufferedReader
from itertools import chain
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from .._version import __version__
from ..bounded import read_bounded
from ..machine.backend import native_in_use
from ..models.caches import Checkpoint, in_order
from ..models.mlx_lm_parts import KVCache
from .cache_layout import (
    DAMAGED,
    Entry,
    Header,
    PromptCacheError,
    entries_for,
    new_digest,
    one_token,
    parts,
)
from .model import LoadedModel
from .turn_cache import Content, Held, TurnCache, agreement


def key_of(model: LoadedModel) -> str:
    """What keys and values depend on besides the content, as a digest.

    Take it right after the model is loaded: its files may change later. Raises OSError.
    """
    config = read_bounded(model.folder / "config.json", regular=True)
    weights = [(file.name, file.stat()) for file in model.folder.glob("*.safetensors")]
    options = asdict(model.options)
    del options["draft"]  # its tokens are the model's own
    everything = {
        **model.identity,
        **options,
        # Nobody can set the time of a change, so it shows new weights under an old date.
        "changed": sorted(f"{name} {status.st_ctime_ns}" for name, status in weights),
        "config": _digest(config),
        "device": str(mx.default_device()),
        "native": native_in_use(model.options.dtype),
        "versions": [__version__, getattr(mx, "__version__", None)],
    }
    return _digest(json.dumps(everything, sort_keys=True).encode())


def write(file: BinaryIO, key: str, held: Held, *, most: int, limit: int) -> None:
    """Write what a turn cache held, in at most ``limit`` bytes.

    The newest ``most`` checkpoints are written, or as many as fit. ``file`` is empty and can be
    sought. Raises PromptCacheError if not even one fits, and OSError.
    """
    media = {each: None for each in held.content if isinstance(each, str)}
    numbers = {each: -1 - number for number, each in enumerate(media)}
    content = np.array(
        [numbers[each] if isinstance(each, str) else each for each in held.content], np.int32
    )
    for count in range(min(len(held.checkpoints), most), 0, -1):
        checkpoints = held.checkpoints[-count:]
        positions = tuple(each.position for each in checkpoints)
        entries = entries_for(held.network, positions)
        blank = Header(
            key=key, content=_digest(content.data), positions=positions, media=tuple(media)
        ).blank(entries)
        if len(blank) + sum(entry.nbytes for entry in entries) <= limit:
            break
    else:
        raise PromptCacheError(f"would take more than {limit / (1 << 20):,g} MB")
    digest = new_digest()
    digest.update(blank)
    file.write(blank)
    for data in chain([content.data], map(_data, _arrays(held, checkpoints))):
        digest.update(data)
        file.write(data)
    file.seek(Header.place_of_digest(blank))
    file.write(digest.hexdigest().encode())


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def _data(array: mx.array) -> memoryview:
    """The bytes of an array."""
    return np.array(mx.contiguous(array).view(mx.uint8), copy=False).data


def _arrays(held: Held, checkpoints: Sequence[Checkpoint]) -> Iterator[mx.array]:
    """The tensors of a file after the content, as in ``entries_for``."""
    length = len(held.content)
    for layer in held.full_layers:
        if layer is not None:
            for array in (*parts(layer.keys), *parts(layer.values)):
                yield array[..., :length, :]
    for checkpoint in checkpoints:
        for state in checkpoint.states:
            if state is not None:
                yield from in_order(state)


def read(
    file: BufferedReader, size: int, key: str, model: LoadedModel, turns: TurnCache, prompt: Content
) -> None:
    """Let ``turns`` hold what a file of ``size`` bytes holds, if ``prompt`` can continue from it.

    Raises PromptCacheError for a file that cannot be used, and OSError.
    """
    header, blank = Header.read(file)
    if header.key != key:
        raise PromptCacheError("was computed by another model or with other settings")
    length = header.positions[-1]
    if length > model.context_length:
        raise DAMAGED
    entries = entries_for(model.network, header.positions)
    expected = header.blank(entries)
    if size < len(expected) + sum(entry.nbytes for entry in entries):
        raise PromptCacheError("is cut short")
    if blank != expected or size > len(expected) + sum(entry.nbytes for entry in entries):
        raise DAMAGED
    tensors = _Tensors(file, blank)
    stored = tensors.next(entries[0])
    if _digest(stored.data) != header.content:
        raise DAMAGED
    content = _content(stored, header.media, model)
    agreed = agreement(content, prompt)
    if agreed < header.positions[0]:
        return
    held = _held(model, content, header.positions, entries[1:], tensors)
    if tensors.digest.hexdigest() != header.digest:
        raise DAMAGED
    full = [layer for layer in held.full_layers if layer is not None]
    arrays = [each for layer in full for each in (*parts(layer.keys), *parts(layer.values))]
    arrays += [each for checkpoint in held.checkpoints for each in checkpoint.arrays]
    if not all(mx.isfinite(each).all().item() for each in arrays):
        raise DAMAGED
    turns.restore(held)


class _Tensors:
    """The tensors of a file, in order, and the digest of what was read."""

    def __init__(self, file: BufferedReader, blank: bytes) -> None:
        self._file = file
        self.digest = new_digest()
        self.digest.update(blank)

    def next(self, entry: Entry) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes of the next tensor. Raises PromptCacheError if the file has become shorter."""
        content = np.empty((*entry.shape[:-1], entry.shape[-1] * entry.dtype.size), np.uint8)
        if self._file.readinto(content.data) < content.nbytes:
            raise PromptCacheError("is cut short")
        self.digest.update(content.data)
        return content


def _content(
    stored: np.ndarray[Any, np.dtype[np.uint8]], media: Sequence[str], model: LoadedModel
) -> tuple[int | str, ...]:
    """The content of the positions. Raises PromptCacheError for ids that the model has not."""
    numbers: list[int] = stored.view(np.int32).tolist()
    if min(numbers) < -len(media) or max(numbers) >= model.network.config.text.vocab_size:
        raise DAMAGED
    return tuple(media[-1 - each] if each < 0 else each for each in numbers)


def _held(
    model: LoadedModel,
    content: tuple[int | str, ...],
    positions: Sequence[int],
    entries: Sequence[Entry],
    tensors: _Tensors,
) -> Held:
    """What the file held, from the tensors after the content."""
    arrays = iter([mx.array(tensors.next(entry)).view(entry.dtype) for entry in entries])
    layers = one_token(model.network)
    full: list[KVCache | None] = []
    for layer in layers:
        if isinstance(layer, KVCache):
            stored = (_next_like(layer.keys, arrays), _next_like(layer.values, arrays))
            layer.state = (*stored, len(content))
        full.append(layer if isinstance(layer, KVCache) else None)
    checkpoints = []
    for position in positions:
        states: list[tuple[Any, ...] | None] = []
        for layer in layers:
            if isinstance(layer, KVCache):
                states.append(None)
            else:
                keys, values = next(arrays), next(arrays)
                used = keys.shape[2]
                states.append((keys, values, position, layer.keep, layer.max_size, used))
        checkpoints.append(Checkpoint(position, tuple(states)))
    return Held(
        network=model.network,
        blocks_on_full_layers=model.blocks_on_full_layers,
        content=content,
        full_layers=tuple(full),
        checkpoints=tuple(checkpoints),
    )


def _next_like(stored: Any, arrays: Iterator[mx.array]) -> Any:
    """The next keys or values, in the form of ``stored``."""
    if isinstance(stored, tuple | list):
        return type(stored)(next(arrays) for _ in stored)
    return next(arrays)
