"""A copy of a checkpoint whose answers never end, so that all have the same length."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

TABLE = re.compile(
    r"(model\.language_model|language_model\.model)\.embed_tokens\.(weight|scales|biases)"
)


def copy_without_end(source: Path, folder: Path) -> None:
    """Copy a checkpoint of one file; the tokens that end an answer get embeddings of zeros.

    The head is the embedding, so their logits are 0, and the largest of the others is above that.
    """
    shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    ends: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text()).get("eos_token_id", [])
        ends |= {said} if isinstance(said, int) else set(said)
    config = json.loads((folder / "config.json").read_text())
    config["vocab_size"] = config["text_config"]["vocab_size"]  # mlx-lm reads it there
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "model.safetensors").open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        tensors: dict[str, Any] = json.loads(file.read(size))
        found = [each for name, each in tensors.items() if TABLE.fullmatch(name)]
        for tensor in found:
            begin, end = tensor["data_offsets"]
            row = (end - begin) // tensor["shape"][0]
            for token in ends:
                file.seek(8 + size + begin + token * row)
                file.write(bytes(row))
    if not found:
        raise SystemExit(f"{source} has no embeddings by the names that are known")
