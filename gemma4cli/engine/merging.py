"""A checkpoint with an adapter merged into its weights, in the layout of the model's own.

Names, types, quantization and files stay those of the model, so that whatever loads it loads the
result. An output head that is not the embeddings any more becomes a tensor, and the config says so.
One tensor is in memory at a time, of plain ones with some thousand merged rows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from ..errors import AdapterError, UnsupportedModelError
from ..hub.adapter_files import AdapterFile
from ..hub.resolved import ResolvedModel
from ..hub.safetensors_headers import INDEX, TensorHeader, stored_tensors, weight_files
from ..models.low_rank import LOW_RANK, added_to_expert, merged_rows
from ..models.names import EMBEDDINGS, HEAD, canonical_names
from ..options import LoadOptions
from .adapter_loading import adapted_network
from .checkpoint import lazy_tensors
from .loading import load_resolved
from .weights_writing import DTYPES, Output, bytes_of, copied, write

_PACKED = ("weight", "scales", "biases")
_FUSED = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""transformers' matrices of all experts, and which of MLX's they are."""
_LARGEST_OTHER = 256_000_000
"""Bytes of a file that is copied along with the weights."""


def merge(model: ResolvedModel, folder: Path) -> Iterator[tuple[int, int]]:
    """Write ``model`` with its adapter into an empty folder; yields bytes done, and of all.

    Raises AdapterError for an adapter that does not fit or cannot be merged, the other LoadErrors
    of loading the model, and OSError.
    """
    if model.adapter is None:
        raise UnsupportedModelError(f"merging {model.name}", "it has no adapter: name one")
    merged = _Merged(model, model.adapter)
    total = sum(header.size() for header in model.headers.values())
    done = 0
    for file, outputs in merged.outputs():
        for written in write(folder / file, outputs):
            done += written
            yield done, max(done, total)
    _write_others(model, folder, merged)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a tensor of the model is."""

    file: Path
    name: str
    start: int
    end: int


class _Merged:
    """The tensors of the merged checkpoint, each made when it is written."""

    def __init__(self, model: ResolvedModel, adapter: AdapterFile) -> None:
        plain = load_resolved(replace(model, adapter=None), LoadOptions(), read_weights=False)
        network = adapted_network(plain, adapter)
        self._model, self._adapter = model, adapter
        self._plain: dict[str, nn.Module] = dict(plain.network.named_modules())
        self._changed = {
            path: layer for path, layer in network.named_modules() if isinstance(layer, LOW_RANK)
        }
        tied = plain.network.config.text.tied_embeddings
        self.has_new_head = tied and not network.config.text.tied_embeddings
        self._whole = {name: tensor for tensor, name in adapter.whole.items()}
        names = canonical_names(model.headers)
        self._canonical: dict[str, str] = names
        self._raw = {canonical: name for name, canonical in names.items()}
        self._places = {
            name: _Place(file=file, name=name, start=start, end=end)
            for file in weight_files(model.folder)
            for name, (start, end) in stored_tensors(file).items()
        }
        self._packed: dict[str, mx.array] = {}
        self._check()

    def _check(self) -> None:
        """Raise AdapterError for what has no tensor in the checkpoint."""
        for name, tensor in self._whole.items():
            if name not in self._raw and not (self.has_new_head and name.startswith(HEAD)):
                raise AdapterError(
                    self._adapter.name,
                    f"cannot be merged: {tensor} has no tensor in the files of {self._model.name}",
                    tensor,
                )
        for path, layer in self._changed.items():
            if "lora_bias" in layer:
                raise AdapterError(
                    self._adapter.name, f"cannot be merged: it has a bias for {path}"
                )

    def outputs(self) -> Iterator[tuple[str, list[Output]]]:
        """Each file's name and tensors."""
        files = weight_files(self._model.folder)
        for file in files:
            outputs = [
                self._output(name) for name, each in self._places.items() if each.file == file
            ]
            if self.has_new_head and file == files[-1]:
                outputs += self._head()
            yield file.name, outputs

    def _output(self, name: str) -> Output:
        canonical = self._canonical.get(name, name)
        header = self._model.headers[name]
        path, _, key = canonical.rpartition(".")
        fused = [f"{path}.switch_glu.{each}" for each in _FUSED.get(key, ())]
        if canonical in self._whole or (path in self._changed and key in _PACKED):
            return self._made(name, canonical, header)
        if any(each in self._changed for each in fused):
            return Output(
                name=name, header=header, parts=lambda: self._experts(canonical, fused, header)
            )
        place = self._places[name]
        parts = lambda: copied(place.file, place.start, place.end)  # noqa: E731
        return Output(name=name, header=header, parts=parts)

    def _head(self) -> list[Output]:
        """The tensors of an output head, which had been the embeddings."""
        raw = self._raw[f"{EMBEDDINGS}weight"]
        start = "language_model.lm_head." if raw.startswith("language_model.") else "lm_head."
        outputs = []
        for key in _PACKED:
            like = self._raw.get(f"{EMBEDDINGS}{key}")
            if like is not None:
                header = self._model.headers[like]
                outputs.append(self._made(f"{start}{key}", f"{HEAD}{key}", header))
        return outputs

    def _made(self, name: str, canonical: str, header: TensorHeader) -> Output:
        path, _, key = canonical.rpartition(".")
        source = path
        if canonical.startswith(HEAD) and self.has_new_head:
            source = EMBEDDINGS.removesuffix(".")
        if key in _PACKED and f"{source}.scales" in self._raw:
            parts = lambda: self._quantized(path, source, canonical, header)  # noqa: E731
        else:
            parts = lambda: self._rows(path, source, canonical, header)  # noqa: E731
        return Output(name=name, header=header, parts=parts)

    def _stored(self, canonical: str) -> mx.array:
        """A tensor of the model, not read yet."""
        place = self._places[self._raw[canonical]]
        return lazy_tensors(place.file)[place.name]

    def _value(self, path: str, source: str, key: str) -> mx.array:
        """What low-rank matrices are added to: the adapter's whole tensor, or the model's."""
        tensor = self._whole.get(f"{path}.{key}")
        if tensor is not None:
            return lazy_tensors(self._adapter.weights)[tensor]
        return self._stored(f"{source}.{key}")

    def _rows(
        self, path: str, source: str, canonical: str, header: TensorHeader
    ) -> Iterator[memoryview]:
        """A tensor that is not quantized, some rows at a time."""
        key = canonical.rpartition(".")[2]
        value = self._value(path, source, key)
        if value.shape != header.shape:  # a convolution's channels, second or last
            last = mx.moveaxis(value, 1, -1)
            value = last if last.shape == header.shape else mx.moveaxis(value, -1, 1)
        layer = self._changed.get(path) if key == "weight" else None
        for merged in merged_rows(layer, value) if layer else [value]:
            yield bytes_of(merged.astype(DTYPES[header.dtype]))

    def _quantized(
        self, path: str, source: str, canonical: str, header: TensorHeader
    ) -> Iterator[memoryview]:
        """One of the tensors of a quantized matrix; all are made when the first is written."""
        if canonical not in self._packed:
            self._quantize(path, source)
        yield bytes_of(self._packed.pop(canonical).astype(DTYPES[header.dtype]))

    def _quantize(self, path: str, source: str) -> None:
        base = self._plain[source]
        kind = {"group_size": base.group_size, "bits": base.bits, "mode": base.mode}
        stored = {
            key: self._stored(f"{source}.{key}")
            for key in _PACKED
            if f"{source}.{key}" in self._raw
        }
        if f"{path}.weight" in self._whole:
            value = self._value(path, source, "weight")
        else:
            affine = {k: v.astype(mx.float32) for k, v in stored.items() if k == "biases"}
            scales = stored["scales"].astype(mx.float32) if affine else stored["scales"]
            value = mx.dequantize(
                stored["weight"], scales, affine.get("biases"), **kind, dtype=mx.float32
            )
        layer = self._changed.get(path)
        parts: dict[str, list[mx.array]] = {key: [] for key in stored}
        for rows in merged_rows(layer, value) if layer else [value]:
            packed = mx.quantize(rows.astype(mx.float32), **kind)
            mx.eval(packed)
            for key, each in zip(stored, packed, strict=True):
                parts[key].append(each)
        for key, arrays in parts.items():
            self._packed[f"{path}.{key}"] = mx.concatenate(arrays)

    def _experts(
        self, canonical: str, paths: list[str], header: TensorHeader
    ) -> Iterator[memoryview]:
        """The matrices of all experts in one tensor, an expert at a time."""
        value = self._stored(canonical)
        for number in range(value.shape[0]):
            halves = mx.split(value[number].astype(mx.float32), len(paths), axis=0)
            for path, half in zip(paths, halves, strict=True):
                layer = self._changed.get(path)
                summed = half if layer is None else half + added_to_expert(layer, number)
                yield bytes_of(summed.astype(DTYPES[header.dtype]))


def _write_others(model: ResolvedModel, folder: Path, merged: _Merged) -> None:
    """The files of a checkpoint that are not weights."""
    for path in sorted(model.folder.iterdir()):
        is_other = path.suffix in (".json", ".jinja", ".txt", ".model") and path.name != INDEX
        if is_other and path.is_file() and path.stat().st_size <= _LARGEST_OTHER:
            shutil.copyfile(path, folder / path.name)
    if merged.has_new_head:
        config = {**model.config, "tie_word_embeddings": False}
        if isinstance(text := config.get("text_config"), dict):
            config["text_config"] = {**text, "tie_word_embeddings": False}
        _write_json(folder / "config.json", config)
    index = model.folder / INDEX
    if index.is_file():
        files = [folder / each.name for each in weight_files(model.folder)]
        stored = {each.name: stored_tensors(each) for each in files}
        names = {name: file for file, tensors in stored.items() for name in tensors}
        total = sum(end - start for each in stored.values() for start, end in each.values())
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": names})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
