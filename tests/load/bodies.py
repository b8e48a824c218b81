"""What clients send: heads and bodies of good requests, and of bad ones."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "fixtures" / "samples"
TOKEN = "load-token"
CHAT = "/v1/chat/completions"
_PICTURES = 12
_FORM = "g4-load-form"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "scene",
        "schema": {
            "type": "object",
            "properties": {
                "kind": {"enum": ["drawing", "photo"]},
                "count": {"type": "integer", "minimum": 0, "maximum": 99},
            },
            "required": ["kind", "count"],
            "additionalProperties": False,
        },
    },
}


def long_schema(items: int) -> dict[str, Any]:
    """An answer by it takes two tokens for each item, or more."""
    numbers = {"type": "array", "items": {"type": "integer"}}
    bounds = {"minItems": items, "maxItems": items}
    return {"type": "json_schema", "json_schema": {"name": "long", "schema": numbers | bounds}}


def head(
    method: str, path: str, length: int | None = None, *, closes: bool = True, **more: str
) -> bytes:
    """The head of a request, by default the last of its connection.

    ``more`` are headers, and ``token`` is another one than the right.
    """
    token = more.pop("token", TOKEN)
    lines = [f"{method} {path} HTTP/1.1", "Host: load", f"Authorization: Bearer {token}"]
    if closes:
        lines.append("Connection: close")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def post(
    body: Mapping[str, Any] | bytes, path: str = CHAT, *, closes: bool = True, **more: str
) -> bytes:
    """A whole request; see ``head``."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head("POST", path, len(content), closes=closes, **more) + content


def question(content: object, rng: Random, **fields: Any) -> dict[str, Any]:
    """A request with one question, answered in a few tokens."""
    body: dict[str, Any] = {
        "model": "default",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": rng.randint(2, 24),
        "seed": rng.randint(0, 10**6),
    }
    return body | fields


def words(rng: Random, count: int) -> str:
    return " ".join(
        rng.choice(("red", "small", "circle", "left", "of", "two")) for _ in range(count)
    )


def picture(rng: Random) -> dict[str, Any]:
    """One of a few pictures, at one of a few sizes."""
    url = _picture(rng.randrange(_PICTURES), rng.choice((160, 224, 320)))
    return {"type": "image_url", "image_url": {"url": url}}


@cache
def _picture(number: int, side: int) -> str:
    image = Image.open(SAMPLES / f"image{number:02}.png").convert("RGB").resize((side, side))
    content = io.BytesIO()
    image.save(content, "png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def speech(rng: Random) -> dict[str, Any]:
    data = base64.b64encode(recording(rng)).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def recording(rng: Random) -> bytes:
    return (SAMPLES / f"speech{rng.randrange(12):02}.wav").read_bytes()


def form(file: bytes, **fields: str) -> tuple[bytes, str]:
    """A form with a recording, and its content type."""
    parts = [
        f'--{_FORM}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    name = 'form-data; name="file"; filename="talk.wav"'
    parts.append(f"--{_FORM}\r\nContent-Disposition: {name}\r\n\r\n".encode() + file + b"\r\n")
    return b"".join([*parts, f"--{_FORM}--\r\n".encode()]), f"multipart/form-data; boundary={_FORM}"
