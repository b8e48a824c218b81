"""A form with a recording: its fields, and the file, which is on disk where it is large."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Receive, Scope

from ..checked_json import shown
from .errors import RequestError

_MOST_FIELDS = 64
_LONGEST_FIELD = 64 << 10
_FORM = b"multipart/form-data"
_TRUTH = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The fields of a form; an empty one is as if it were left out. Errors name the field."""

    data: FormData

    def file(self, name: str) -> UploadFile:
        found = self.data.get(name)
        if not isinstance(found, UploadFile):
            problem = "is missing" if found is None else "must be a file, with a filename"
            raise RequestError(problem, param=name)
        if not found.size:
            raise RequestError("is empty", param=name)
        return found

    def text(self, name: str) -> str | None:
        found = self.texts(name)
        return found[-1] if found else None

    def texts(self, name: str) -> list[str]:
        """The values of a list, whose name may end in ``[]``."""
        found = [*self.data.getlist(name), *self.data.getlist(f"{name}[]")]
        if not all(isinstance(each, str) for each in found):
            raise RequestError("must be text, not a file", param=name)
        return [each.strip() for each in found if isinstance(each, str) and each.strip()]

    def choice(self, name: str, *known: str) -> str | None:
        value = self.text(name)
        if value is not None and value not in known:
            problem = f"must be one of {', '.join(known)}, not {shown(value)}"
            raise RequestError(problem, param=name)
        return value

    def flag(self, name: str) -> bool:
        value = self.text(name) or ""
        if value.lower() not in _TRUTH:
            raise RequestError(f"must be true or false, not {shown(value)}", param=name)
        return _TRUTH[value.lower()]

    def number(self, name: str, *, least: float, most: float) -> float | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            found = float(value)
        except ValueError:
            raise RequestError(f"must be a number, not {shown(value)}", param=name) from None
        if not least <= found <= most:
            problem = f"must be from {least:g} to {most:g}, not {shown(value)}"
            raise RequestError(problem, param=name)
        return found


@asynccontextmanager
async def uploaded(scope: Scope, receive: Receive) -> AsyncIterator[Form]:
    """The form in a request's body; its files are removed when this ends. Raises RequestError."""
    request = Request(scope, receive)
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind != _FORM:
        raise RequestError("the body must be a form: multipart/form-data with a file")
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=1,
        max_fields=_MOST_FIELDS,
        max_part_size=_LONGEST_FIELD,
    )
    try:
        data = await parser.parse()
    except MultiPartException as exc:
        raise RequestError(f"the form cannot be read: {exc.message}") from exc
    try:
        yield Form(data=data)
    finally:
        await data.close()
