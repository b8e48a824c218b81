"""/v1/models: the one model that is here."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from .served import Served


def model_data(served: Served) -> dict[str, Any]:
    return {
        "id": served.names[0],
        "object": "model",
        "created": served.started,
        "owned_by": "g4",
        "max_model_len": served.model.context_length,
    }


async def list_models(served: Served, request: Request) -> JSONResponse:
    return JSONResponse({"object": "list", "data": [model_data(served)]})


async def show_model(served: Served, request: Request) -> JSONResponse:
    """Raises RequestError for another model."""
    served.check_name(request.path_params["name"])
    return JSONResponse(model_data(served))
