"""The files of a checkpoint folder, read with errors that name them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from ..errors import CheckpointError, ModelNotFoundError
from ..hub.safetensors_headers import open_weights, weight_names


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One folder with config.json, tokenizer.json and safetensors files."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "config.json").is_file():
            raise ModelNotFoundError(
                str(self.folder), "the folder has no config.json; name a folder with a checkpoint"
            )

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object from the folder; CheckpointError where it is missing or broken."""
        try:
            value = json.loads((self.folder / name).read_bytes())
        except OSError as exc:
            raise CheckpointError(name, exc.strerror or str(exc)) from exc
        except ValueError as exc:
            raise CheckpointError(name, f"is no valid JSON ({exc})") from exc
        if not isinstance(value, dict):
            raise CheckpointError(name, "must hold a JSON object")
        return value

    def optional_json(self, *names: str) -> dict[str, Any] | None:
        """The first of ``names`` that is there, or None."""
        for name in names:
            if (self.folder / name).is_file():
                return self.json(name)
        return None

    def chat_template(self) -> str | None:
        """The checkpoint's own template, from its own file or from tokenizer_config.json."""
        path = self.folder / "chat_template.jinja"
        if path.is_file():
            return path.read_text("utf-8")
        section = self.optional_json("chat_template.json", "tokenizer_config.json") or {}
        template = section.get("chat_template")
        return template if isinstance(template, str) else None

    def weight_files(self) -> list[Path]:
        """Every safetensors file: those of the index, or all ``model*.safetensors``."""
        files = [self.folder / name for name in weight_names(self.folder)]
        if not files:
            raise CheckpointError("model.safetensors", f"no such file in {self.folder}")
        for path in files:
            if not path.is_file():
                raise CheckpointError(path.name, "no such file; fetch the checkpoint again")
        return files

    def weights(self) -> dict[str, mx.array]:
        """All tensors, lazy: none is read before it is computed with."""
        result: dict[str, mx.array] = {}
        for path in self.weight_files():
            with open_weights(path):
                pass  # being opened, it has been checked
            try:
                tensors = mx.load(str(path))
            except (RuntimeError, ValueError) as exc:
                raise CheckpointError(path.name, f"cannot be read ({exc})") from exc
            # What is loaded of a .safetensors file is a dict.
            result.update(cast("dict[str, mx.array]", tensors))
        return result
