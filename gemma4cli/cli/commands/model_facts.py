"""What ``g4 models info`` shows of a model, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..output.numbers import size_text

if TYPE_CHECKING:
    from ...engine.model_info import ModelInfo, ModelMemory
    from ...hub.adapter_files import AdapterFile
    from ...hub.published import PublishedInfo
    from ...machine.memory import Footprint


def info_lines(info: ModelInfo) -> Iterator[str]:
    rows = {
        "name": info.name,
        "path": str(info.folder),
        **({} if info.adapter is None else {"adapter": _adapter_text(info.adapter)}),
        "architecture": info.architecture,
        "inputs": ", ".join(info.inputs),
        "parameters": _count_text(info.parameters),
        "layers": f"{info.layers} of width {info.hidden_size}",
        "context": f"{info.context:,} tokens",
        "weights": f"{size_text(info.size)} in memory, {info.tensors} tensors, {info.dtype}",
        "quantized": "; ".join(info.quantization) or "no",
        "output head": "the embeddings (tied)" if info.tied else "its own (lm_head)",
        "cache": _cache_text(info),
    }
    for memory in info.memory:
        rows |= {f"{memory.tokens:,} tokens": _memory_text(memory)}
    rows["this machine"] = f"{size_text(info.memory_limit)} for models"
    yield from (f"{key:<13} {value}" for key, value in rows.items())


def _adapter_text(adapter: AdapterFile) -> str:
    trained = "" if adapter.base is None else f", trained on {adapter.base}"
    doubt = "" if adapter.doubt is None else f"\n{'':<13} {adapter.doubt}"
    return f"{adapter.summary}, {size_text(adapter.size())}{trained}; {adapter.folder}{doubt}"


def adapter_record(adapter: AdapterFile) -> dict[str, Any]:
    return {
        "path": str(adapter.folder),
        "layout": adapter.layout,
        "kind": adapter.kind,
        "rank": adapter.rank,
        "layers": len(adapter.parts),
        "whole_tensors": len(adapter.whole),
        "base": adapter.base,
        "bytes": adapter.size(),
    }


def info_record(info: ModelInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "path": str(info.folder),
        **({} if info.adapter is None else {"adapter": adapter_record(info.adapter)}),
        "architecture": info.architecture,
        "inputs": list(info.inputs),
        "parameters": info.parameters,
        "layers": info.layers,
        "hidden_size": info.hidden_size,
        "context": info.context,
        "dtype": info.dtype,
        "quantization": list(info.quantization),
        "tied_embeddings": info.tied,
        "tensors": info.tensors,
        "bytes": info.size,
        "memory": [
            {
                "tokens": memory.tokens,
                "weights": memory.run.text,
                "towers": memory.run.towers,
                "cache_sliding": memory.cache.sliding,
                "cache_full": memory.cache.full,
                "cache_full_8_bits": memory.quantized.full,
                "activations": memory.run.working,
                "kept": memory.run.kept,
                "total": memory.run.total,
            }
            for memory in info.memory
        ],
        "memory_limit": info.memory_limit,
    }


def published_lines(info: PublishedInfo) -> Iterator[str]:
    rows = {
        "name": info.name,
        "repo": f"{info.repo}, not downloaded: g4 models pull {info.name}",
        "architecture": info.architecture,
        "inputs": ", ".join(info.inputs),
        "parameters": _count_text(info.parameters),
        "layers": f"{info.layers} of width {info.hidden_size}",
        "context": f"{info.context:,} tokens",
        "weights": f"{size_text(info.size)} to download, {info.quantization}",
    }
    for tokens, run in info.memory.items():
        rows |= {
            f"{tokens:,} tokens": f"about {size_text(run.total)}: weights {size_text(run.text)}\n"
            f"{'':<13} {_held_text(run)}"
        }
    rows["this machine"] = f"{size_text(info.memory_limit)} for models"
    rows["others"] = ", ".join(info.others)
    yield from (f"{key:<13} {value}" for key, value in rows.items() if value)


def published_record(info: PublishedInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "repo": info.repo,
        "path": None,
        "architecture": info.architecture,
        "inputs": list(info.inputs),
        "parameters": info.parameters,
        "layers": info.layers,
        "hidden_size": info.hidden_size,
        "context": info.context,
        "quantization": [info.quantization],
        "bytes": info.size,
        "memory": [
            {
                "tokens": tokens,
                "weights": run.text,
                "activations": run.working,
                "cache": run.cache,
                "kept": run.kept,
                "total": run.total,
            }
            for tokens, run in info.memory.items()
        ],
        "memory_limit": info.memory_limit,
        "others": list(info.others),
    }


def _cache_text(info: ModelInfo) -> str:
    sliding, stored = info.sliding_layers, info.stored_layers
    shared = info.layers - stored
    return f"{sliding} layers store {info.window} tokens, {stored - sliding} store all" + (
        f", {shared} share" if shared else ""
    )


def _memory_text(memory: ModelMemory) -> str:
    run = memory.run
    towers = f" + towers {size_text(run.towers)}" if run.towers else ""
    return (
        f"about {size_text(run.total)}: weights {size_text(run.text)}{towers}\n"
        f"{'':<13} {_held_text(run)}\n"
        f"{'':<13} --kv-bits 8: {size_text(memory.saved)} less"
    )


def _held_text(run: Footprint) -> str:
    return (
        f"+ cache {size_text(run.cache)} + activations {size_text(run.working)}"
        f" + kept for later turns {size_text(run.kept)}"
    )


def _count_text(count: int) -> str:
    """ "4.65 billion"."""
    if count < 1e9:
        return f"{count / 1e6:.2f} million"
    return f"{count / 1e9:.2f} billion"
