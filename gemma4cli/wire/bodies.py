"""Arrays and JSON in one body: the format of safetensors, with the JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ..checked_json import JsonError, parse, shown

Array = npt.NDArray[Any]

_KEY = "g4"
_DTYPES: Mapping[object, str] = {"U8": "|u1", "I32": "<i4", "F32": "<f4"}
_LONGEST_HEADER = 16 << 20
_LONGEST_CAUSE = 200


def packed(facts: object, arrays: Mapping[str, Array]) -> bytes:
    """The body of JSON data and arrays of uint8, int32 or float32."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(whole, metadata={_KEY: json.dumps(facts)})


def unpacked(body: bytes) -> tuple[Any, dict[str, Array]]:
    """What ``packed`` was given. Raises JsonError for what it did not make."""
    length = int.from_bytes(body[:8], "little")
    if length > _LONGEST_HEADER:
        raise JsonError(f"has a header of more than {_LONGEST_HEADER >> 20} MB")
    try:
        found = deserialize(body)  # type: ignore[no-untyped-call]
    except SafetensorError as exc:
        # The cause quotes what was sent, which may have any characters.
        cause = "".join(each if each.isprintable() else " " for each in str(exc))
        raise JsonError(f"is not in the format of safetensors ({cause[:_LONGEST_CAUSE]})") from exc
    header = parse(body[8 : 8 + length])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise JsonError(f"must be a text, not {shown(text)}", f"__metadata__.{_KEY}")
    return parse(text), {name: _array(name, each) for name, each in found}


def _array(name: str, tensor: Mapping[str, Any]) -> Array:
    dtype = _DTYPES.get(tensor["dtype"])
    if dtype is None:
        raise JsonError(f"must be uint8, int32 or float32, not {shown(tensor['dtype'])}", name)
    return np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
