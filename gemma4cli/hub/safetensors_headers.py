"""The tensors of safetensors files, from their headers; no weight is read and no mlx is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from ..checked_json import LARGEST, JsonError, read_object, shown
from ..errors import CheckpointError
from ..machine.memory import Weights
from ..models.names import canonical_names

INDEX = "model.safetensors.index.json"
_ITEM_SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4}
_ITEM_SIZES |= {"F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LONGEST_NAME = 255
"""Bytes of a file's name that file systems take."""
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorHeader:
    """A tensor as listed in its file; ``dtype`` is the format's name, such as "BF16"."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return prod(self.shape)

    def size(self, float_size: int | None = None) -> int:
        """Bytes; a floating-point number takes ``float_size``, by default its size in the file."""
        item = _ITEM_SIZES.get(self.dtype, 1)
        if float_size is not None and self.dtype in _FLOATS:
            item = float_size
        return self.count * item


TensorHeaders = Mapping[str, TensorHeader]


def weight_names(folder: Path) -> list[str]:
    """The weight files: those in the index, or all ``model*.safetensors``.

    Files in the index are listed even if they are missing. Raises CheckpointError for an index
    that cannot be read, or names what is no file in the folder.
    """
    try:
        names = read_object(folder / INDEX).get("weight_map")
    except FileNotFoundError:
        return sorted(path.name for path in folder.glob("model*.safetensors"))
    except OSError as exc:
        raise CheckpointError(INDEX, f"cannot be read ({exc.strerror or exc})") from exc
    except JsonError as exc:
        raise CheckpointError(INDEX, str(exc)) from exc
    if not isinstance(names, dict):
        raise CheckpointError(INDEX, "has no 'weight_map'")
    for tensor, name in names.items():
        if not _is_inside(name):
            raise CheckpointError(
                INDEX, f"weight_map.{tensor}: must be the name of a file, not {shown(name)}"
            )
    return sorted(set(names.values()))


def _is_inside(name: object) -> bool:
    """Whether it names a file below the folder, by a name that file systems take."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    try:
        is_long = any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return not is_long and not path.is_absolute() and ".." not in path.parts


def missing_files(folder: Path) -> list[str]:
    """The names of required files that a checkpoint folder lacks: config, tokenizer, weights."""
    try:
        weights = weight_names(folder) or ["model.safetensors"]
    except CheckpointError:  # an index that cannot be read; reading the headers says why
        weights = []
    required = ["config.json", "tokenizer.json", *weights]
    return [name for name in required if not os.path.isfile(folder / name)]


def weight_files(folder: Path) -> list[Path]:
    """The files of ``weight_names``. Raises CheckpointError if one is missing."""
    files = [folder / name for name in weight_names(folder)]
    if not files:
        raise CheckpointError("model.safetensors", f"no such file in {folder}")
    missing = [path for path in files if not os.path.isfile(path)]
    if missing:
        link = ", its link leads nowhere" if missing[0].is_symlink() else ""
        raise CheckpointError(
            missing[0].name,
            f"no such file{link} ({len(missing)} of {len(files)} files of weights are missing): "
            "copy them into the folder, or download the checkpoint again",
        )
    return files


def read_headers(folder: Path) -> dict[str, TensorHeader]:
    """Every tensor of a checkpoint folder by its name. Raises CheckpointError."""
    result: dict[str, TensorHeader] = {}
    for path in weight_files(folder):
        result |= file_headers(path)
    return result


def file_headers(path: Path) -> dict[str, TensorHeader]:
    """Every tensor of one file by its name. Raises CheckpointError."""
    result: dict[str, TensorHeader] = {}
    with open_weights(path) as file:
        for tensor in file.keys():  # noqa: SIM118  the file is not iterable
            entry = file.get_slice(tensor)
            shape = tuple(entry.get_shape())
            if max(shape, default=0) > LARGEST:
                raise CheckpointError(path.name, f"{tensor}: has the shape {list(shape)}")
            result[tensor] = TensorHeader(dtype=entry.get_dtype(), shape=shape)
    return result


def stored_tensors(path: Path) -> dict[str, tuple[int, int]]:
    """Where the bytes of a file's tensors begin and end, in the order of the file.

    Raises CheckpointError, and OSError.
    """
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    found = {}
    with open_weights(path) as tensors:
        for name in tensors.offset_keys():
            entry = tensors.get_slice(name)
            header = TensorHeader(dtype=entry.get_dtype(), shape=tuple(entry.get_shape()))
            found[name] = (start, start + header.size())
            start += header.size()
    return found


def open_weights(path: Path) -> safe_open:
    """Open a safetensors file; no tensor is read yet.

    Opening compares its length with its header. This matters because tensors are read late, and
    an incomplete download must be found before that. Raises CheckpointError.
    """
    try:
        return safe_open(str(path), framework="numpy")
    except SafetensorError as exc:
        raise CheckpointError(
            path.name,
            f"is incomplete, or not a safetensors file ({exc}); download it again",
        ) from exc
    except OSError as exc:
        raise CheckpointError(path.name, f"cannot be read ({exc})") from exc


def weights_of(tensors: TensorHeaders, float_size: int | None, *, mapped: bool) -> Weights:
    """Bytes of a checkpoint's tensors in memory.

    ``float_size`` as in ``TensorHeader.size``, ``mapped`` as in ``Weights.of``.
    """
    sizes = (
        (canonical, tensors[name].size(float_size))
        for name, canonical in canonical_names(tensors).items()
    )
    return Weights.of(sizes, mapped=mapped)
