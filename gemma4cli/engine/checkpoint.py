"""Read the files of a checkpoint folder, with errors that name the file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from ..bounded import read_bounded
from ..errors import CheckpointError
from ..hub.resolved import read_json
from ..hub.safetensors_headers import weight_files


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A folder with config.json, tokenizer.json and safetensors files."""

    folder: Path

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object from the folder. Raises CheckpointError if missing or broken."""
        return read_json(self.folder, name)

    def optional_json(self, *names: str) -> dict[str, Any] | None:
        """The first of ``names`` that exists, or None."""
        for name in names:
            # A link that leads nowhere is damage: the file was meant to be there.
            if os.path.lexists(self.folder / name):
                return self.json(name)
        return None

    def chat_template(self) -> str | None:
        """The checkpoint's chat template, from chat_template.* or tokenizer_config.json.

        Raises CheckpointError for a file that cannot be read or is not UTF-8.
        """
        name = "chat_template.jinja"
        try:
            return read_bounded(self.folder / name, regular=True).decode("utf-8")
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise CheckpointError(name, f"cannot be read ({exc.strerror or exc})") from exc
        except UnicodeDecodeError as exc:
            raise CheckpointError(name, "is not UTF-8 text") from exc
        section = self.optional_json("chat_template.json", "tokenizer_config.json") or {}
        template = section.get("chat_template")
        return template if isinstance(template, str) else None

    def weights(self, *, mapped: bool) -> dict[str, mx.array]:
        """All tensors, lazy: a tensor is read when it is first used.

        With ``mapped``, which needs the native part, they stay in the file and are never copied.
        """
        read = lazy_tensors
        if mapped:
            from ..native.mapped import mapped_tensors as read
        result: dict[str, mx.array] = {}
        for path in weight_files(self.folder):
            try:
                tensors = read(path)
            except (OSError, RuntimeError, ValueError) as exc:
                raise CheckpointError(path.name, f"cannot be read ({exc})") from exc
            result.update(tensors)
        return result


def lazy_tensors(path: Path) -> dict[str, mx.array]:
    """The tensors of a file, read when they are used. MLX takes a path only if it is UTF-8."""
    descriptor = None
    name = str(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        # MLX opens the file again by this name and keeps it open.
        descriptor = os.open(path, os.O_RDONLY)
        name = f"/dev/fd/{descriptor}"
    try:
        # mx.load returns a dict for the format safetensors.
        return cast("dict[str, mx.array]", mx.load(name, format="safetensors"))
    finally:
        if descriptor is not None:
            os.close(descriptor)
