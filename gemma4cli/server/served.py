"""What all handlers of a server share: the models, the limits, and whether it is ending."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import time

from ..errors import ClosingError, QueueFullError
from ..options import GenerateOptions, MediaOptions
from ..serving.queued_model import QueuedModel
from ..wire.model_facts import ModelFacts
from .errors import RequestError, failure_of
from .in_turn import InTurn

DEFAULT = "default"
"""What stands for the first model in requests."""
_AT_ONCE = 4
"""Requests whose media are decoded at the same time; a picture may take hundreds of megabytes."""
_BODIES = 8
"""Bodies of the largest size that all requests together may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """What the server allows.

    Attributes:
        token: What clients must send; None lets everybody in who can connect.
        hosts: The names by which the server may be called; with a token, any.
        origins: Web pages of other servers that may call it; "*" means all.
        media_urls: Whether it fetches media that a request names by an address.
        most_body: The largest body of a request in bytes.
        most_requests: Requests that are answered or wait, at once.
        generate: How an answer is generated where a request does not say.
        media: How media are sampled.
    """

    token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost", "::1"})
    origins: frozenset[str] = frozenset()
    media_urls: bool = False
    most_body: int = 64 << 20
    most_requests: int = 64
    generate: GenerateOptions = field(default_factory=GenerateOptions)
    media: MediaOptions = field(default_factory=MediaOptions)


@dataclass(slots=True, eq=False)
class ServedModel:
    """One of the models of a server.

    Attributes:
        names: What clients may call it; the first is the one that they are told.
        queued: The model.
        facts: What other g4s are told of it; None before the first asks.
    """

    names: tuple[str, ...]
    queued: QueuedModel
    facts: ModelFacts | None = None

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def has_adapter(self) -> bool:
        return self.queued.model.adapter is not None


class Served:
    """Models that are being loaded, answer, or are being closed.

    Attributes:
        options: What the server allows.
        names: The names of each model. The first one answers those who name none.
    """

    def __init__(
        self,
        options: ServerOptions,
        *names: tuple[str, ...],
        on_error: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        """``on_error`` is told of the errors that are the server's fault, by any thread."""
        self.options = options
        self.names = names
        self._on_error = on_error
        self.started = int(time())
        self.opening = InTurn(_AT_ONCE)
        self._models: tuple[ServedModel, ...] = ()
        self._is_closing = False
        self._requests = 0
        self._ends_early: set[Callable[[], None]] = set()
        self._held = 0

    @property
    def state(self) -> str:
        """ "loading", "ready" or "closing"."""
        if self._is_closing:
            return "closing"
        return "ready" if self._models else "loading"

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """Raises ClosingError, and RequestError while they are being loaded."""
        if self._is_closing:
            raise ClosingError
        if not self._models:
            raise RequestError(
                "the model is being loaded: try again soon",
                status=503,
                type="server_error",
                code="loading",
            )
        return self._models

    def chosen(self, name: str | None) -> ServedModel:
        """The model of this name, or for None the first. Raises as ``models``, and RequestError."""
        if name is None or name == DEFAULT:
            return self.models[0]
        for place, names in enumerate(self.names):
            if name in names:
                return self.models[place]
        shown = name if len(name) <= 60 else f"{name[:59]}…"
        there = ", ".join(repr(names[0]) for names in self.names)
        raise RequestError(
            f"there is no model {shown!r} here; this server has {there}",
            status=404,
            code="model_not_found",
        )

    def report(self, error: Exception) -> None:
        """Tell the terminal of an error that a client got, if it is this side that failed."""
        is_ours = not isinstance(error, RequestError | ClosingError)
        if is_ours and failure_of(error).status >= 500:
            self._on_error(error)

    def ready(self, *models: QueuedModel) -> None:
        """The models are loaded, one for each of the names."""
        pairs = zip(self.names, models, strict=True)
        self._models = tuple(ServedModel(names, model) for names, model in pairs)

    def closing(self) -> None:
        """From now on, requests are refused."""
        self._is_closing = True
        for each in tuple(self._ends_early):
            each()

    @contextmanager
    def ending_early(self, end: Callable[[], None]) -> Iterator[None]:
        """Within this, ``end`` is called by another thread when the server closes."""
        self._ends_early.add(end)
        try:
            if self._is_closing:
                end()
            yield
        finally:
            self._ends_early.discard(end)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Within this, a request is one of those that are answered or wait.

        Used in the event loop only. Raises QueueFullError.
        """
        if self._requests >= self.options.most_requests:
            raise QueueFullError(self._requests)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    def hold(self, count: int) -> None:
        """Count bytes of a body that a request holds until ``release``. Raises QueueFullError."""
        self._held += count
        if self._held > _BODIES * self.options.most_body:
            raise QueueFullError(self._requests)

    def release(self, count: int) -> None:
        self._held -= count
