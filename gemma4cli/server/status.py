"""/health and /metrics: for whoever keeps an eye on the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from ..serving.metrics import Metrics, ModelMetrics
from .served import Served

_PREFIX = "g4_"
_NOW = ("slots", "running", "waiting", "kept_bytes")
"""What goes up and down; the others are sums."""
_FORMAT = "text/plain; version=0.0.4"


async def health(served: Served, request: Request) -> JSONResponse:
    """200 when the model answers; 503 while it is being loaded or closed."""
    return JSONResponse({"status": served.state}, 200 if served.state == "ready" else 503)


async def metrics(served: Served, request: Request) -> PlainTextResponse:
    """The queue's counters in the text format of Prometheus."""
    models = served.models
    counts = models[0].queued.queue.metrics()
    text = prometheus(counts, [each.name for each in models])
    return PlainTextResponse(text, media_type=_FORMAT)


def prometheus(counts: Metrics, models: Sequence[str]) -> str:
    """Counters as lines of text, and then those of each of the ``models``."""
    lines = []
    for field in fields(counts):
        if field.name == "models":
            continue
        is_sum = field.name not in _NOW
        name = f"{_PREFIX}{field.name}{'_total' if is_sum else ''}"
        lines += [
            f"# TYPE {name} {'counter' if is_sum else 'gauge'}",
            f"{name} {getattr(counts, field.name)}",
        ]
    for field in fields(ModelMetrics):
        name = f"{_PREFIX}model_{field.name}_total"
        lines.append(f"# TYPE {name} counter")
        for model, each in zip(models, counts.models, strict=True):
            lines.append(f'{name}{{model="{_label(model)}"}} {getattr(each, field.name)}')
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
