"""A copy of a checkpoint whose matrices and embeddings have 4 or 8 bits, as MLX stores them.

python -m training.quantised FOLDER TO --bits 4
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import mlx.core as mx

_WEIGHTS = "model.safetensors"
_GROUP = 32
"""The largest size of a group that divides every matrix of the built-in models."""


def quantise(folder: Path, to: Path, bits: int) -> None:
    """Write the copy; norms, convolutions, bounds and what no group divides stay as they are."""
    to.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, mx.array] = {}
    for name, value in mx.load(str(folder / _WEIGHTS)).items():
        path = name.removesuffix(".weight")
        if path == name or value.ndim != 2 or value.shape[-1] % _GROUP:
            tensors[name] = value
            continue
        packed = mx.quantize(value.astype(mx.float32), group_size=_GROUP, bits=bits)
        tensors |= dict(zip((name, f"{path}.scales", f"{path}.biases"), packed, strict=True))
    mx.save_safetensors(str(to / _WEIGHTS), tensors, {"format": "mlx"})
    for file in folder.iterdir():
        if file.is_file() and file.name not in (_WEIGHTS, "config.json"):
            shutil.copy(file, to)
    config = json.loads((folder / "config.json").read_bytes())
    config["quantization"] = {"group_size": _GROUP, "bits": bits}
    (to / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("--bits", type=int, choices=(4, 8), default=4)
    arguments = parser.parse_args()
    quantise(arguments.folder, arguments.to, arguments.bits)


if __name__ == "__main__":
    main()
