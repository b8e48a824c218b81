"""/v1/models: the models that are here."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from .served import Served, ServedModel


def model_data(served: Served, model: ServedModel) -> dict[str, Any]:
    """A model as OpenAI has it; one with an adapter has the model's name as its "parent"."""
    data = {
        "id": model.name,
        "object": "model",
        "created": served.started,
        "owned_by": "g4",
        "max_model_len": model.queued.context_length,
    }
    if model.has_adapter:
        data["parent"] = next((m.name for m in served.models if not m.has_adapter), None)
    return data


async def list_models(served: Served, request: Request) -> JSONResponse:
    listed = [model_data(served, each) for each in served.models]
    return JSONResponse({"object": "list", "data": listed})


async def show_model(served: Served, request: Request) -> JSONResponse:
    """Raises RequestError for another model."""
    return JSONResponse(model_data(served, served.chosen(request.path_params["name"])))
