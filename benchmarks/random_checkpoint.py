"""Write a checkpoint of a published size with random weights, to measure speed and memory with.

    python benchmarks/random_checkpoint.py E2B.mlx-community-4bit /tmp/e2b-random
    python benchmarks/random_checkpoint.py E2B.google-hf-bf16 /tmp/e2b-ten --layers 10

Names, shapes and dtypes are those of the published file (fixtures/gemma4); what it answers is
noise. Needs numpy only, and as much disk as the real checkpoint. With ``--layers`` it has fewer
layers of the same widths: the first ones and the last ones.
"""

from __future__ import annotations

import argparse
import json
import lzma
import re
import shutil
from collections.abc import Iterator
from math import prod, sqrt
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONFIGS = {
    "E2B.mlx-community-4bit": ("mlx-community__gemma-4-e2b-it-4bit", "google__gemma-4-E2B-it"),
    "E4B.mlx-community-4bit": ("mlx-community__gemma-4-e4b-it-4bit", "google__gemma-4-E4B-it"),
    "12B.mlx-community-4bit": ("mlx-community__gemma-4-12B-it-4bit", "google__gemma-4-12B-it"),
    "31B.mlx-community-4bit": ("mlx-community__gemma-4-31b-it-4bit", "google__gemma-4-31B-it"),
    "E2B.google-hf-bf16": ("google__gemma-4-E2B-it", "google__gemma-4-E2B-it"),
}
BYTES = {"BF16": 2, "U32": 4}
LAYER = re.compile(r"(.*language_model\.(?:model\.)?layers\.)(\d+)(\..*)")
OF_ALL_LAYERS = {"embed_tokens_per_layer": 1, "per_layer_model_projection": 0}
"""Tensors of all layers together, and the axis on which these lie."""
BLOCK = 1 << 24


def with_layers(count: int, config: dict, tensors: dict) -> tuple[dict, dict]:
    """A config and its tensors with ``count`` layers: the first half and the last half."""
    text = config["text_config"]
    before = text["num_hidden_layers"]
    kept = [*range(count // 2), *range(before - (count - count // 2), before)]
    text = text | {
        "num_hidden_layers": count,
        "num_kv_shared_layers": text["num_kv_shared_layers"] and count - count // 2,
        "layer_types": [text["layer_types"][each] for each in kept],
    }
    chosen = {}
    for name, (dtype, shape) in tensors.items():
        of_layer = LAYER.fullmatch(name)
        if of_layer is not None:
            if int(of_layer[2]) in kept:
                number = kept.index(int(of_layer[2]))
                chosen[f"{of_layer[1]}{number}{of_layer[3]}"] = dtype, shape
            continue
        for part, axis in OF_ALL_LAYERS.items():
            if part in name:
                shape = [*shape[:axis], shape[axis] * count // before, *shape[axis + 1 :]]
        chosen[name] = dtype, shape
    return config | {"text_config": text}, chosen


def bf16(value: float) -> int:
    """The upper half of a float32."""
    return int(np.float32(value).view(np.uint32) >> 16)


def constant(name: str, columns: int) -> float | None:
    """What a tensor is filled with, or None for noise; ``columns`` is its last dimension."""
    if name.endswith(("input_min", "output_min")):
        return -np.inf
    if name.endswith(("input_max", "output_max")):
        return np.inf
    # 4-bit values 0..15 times the scale, less eight of it: about 1/sqrt(width) wide.
    scale = 1 / (4.6 * sqrt(columns * 64))
    if name.endswith(".scales"):
        return scale
    if name.endswith(".biases"):
        return -8 * scale
    if "norm" in name or name.endswith(("layer_scalar", "per_dim_scale")):
        return 1.0
    return None


def payload(
    name: str, dtype: str, shape: list[int], rng: np.random.Generator, *, repeat: bool
) -> Iterator[bytes]:
    """The bytes of one tensor, in blocks; with ``repeat`` they have the same noise."""
    block = b""
    count = prod(shape)
    columns = shape[-1] if shape else 1
    value = constant(name, columns) if dtype == "BF16" else None
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        if value is not None:
            yield np.full(size, bf16(value), np.uint16).tobytes()
        elif repeat and block:
            yield block[: size * BYTES[dtype]]
        else:
            block = noise(dtype, size, columns, rng)
            yield block


def noise(dtype: str, size: int, columns: int, rng: np.random.Generator) -> bytes:
    """Random packed weights, or normal numbers of the width of a matrix with ``columns``."""
    if dtype == "U32":
        return rng.bytes(4 * size)
    values = rng.standard_normal(size, np.float32) / np.float32(sqrt(columns))
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tensors", choices=CONFIGS)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--repeat-noise", action="store_true", help="faster: the blocks of a tensor are equal"
    )
    parser.add_argument("--layers", type=int, help="of the language model; an even number")
    arguments = parser.parse_args()
    lists = json.loads(lzma.decompress((FIXTURES / "gemma4" / "tensors.json.xz").read_bytes()))
    tensors = lists[arguments.tensors]

    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    config, rest = (FIXTURES / "gemma4" / "configs" / name for name in CONFIGS[arguments.tensors])
    described = json.loads((config / "config.json").read_text())
    if arguments.layers:
        described, tensors = with_layers(arguments.layers, described, tensors)
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n")
    for name in ("generation_config.json", "processor_config.json"):
        shutil.copy(rest / name, folder)
    packed = (FIXTURES / "tokenizer" / "gemma4.tokenizer.json.xz").read_bytes()
    (folder / "tokenizer.json").write_bytes(lzma.decompress(packed))

    header, offset = {}, 0
    for name, (dtype, shape) in tensors.items():
        end = offset + prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode()
    rng = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name, (dtype, shape) in tensors.items():
            for block in payload(name, dtype, shape, rng, repeat=arguments.repeat_noise):
                file.write(block)
    print(f"{folder}: {len(tensors)} tensors, {offset / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
