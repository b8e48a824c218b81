"""A model that another g4 serves, as one that answers here."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from urllib.parse import quote

from .._version import __version__
from ..checked_json import JsonError
from ..engine.answering import BatchEvent, NoTurns, Prompt, Turns
from ..engine.context_limits import check_context, check_plan_context
from ..errors import AdapterError, RemoteError, ServerError
from ..events import Event, Finished, Notice
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from ..processing.processor import Processor
from ..processing.prompt import Prompt as PlannedPrompt
from ..wire.model_facts import (
    NAME_PARAMETER,
    PROTOCOL,
    ModelFacts,
    read_facts,
    read_protocol,
)
from ..wire.requests import MOST_PROMPTS, options_body, prompts_body
from .connection import Connection, Numbered
from .remote_encoder import RemoteEncoder

_MODEL, _CHECK, _ANSWERS = "/g4/v1/model", "/g4/v1/check", "/g4/v1/generate"


class RemoteModel:
    """See ``AnsweringModel``. Every call may raise ServerError, and what the server reports.

    Whether a prompt fits the server's memory shows when it is asked. Media are opened and made into
    inputs here; the server gets pixels and frames of sound, no file and no name.
    """

    def __init__(self, connection: Connection, name: str | None = None) -> None:
        """Ask the server for its model of this name, or for the one that it has for everybody."""
        self._connection = connection
        self.facts = _facts(connection, name)
        connection.model = self.facts.identity
        controls = {each.name: each.id for each in self.facts.controls}
        self._processor = Processor(
            model=self.name,
            tokenizer=RemoteEncoder(connection, self.facts.source, controls),
            prompt_style=self.facts.style,
            config=self.facts.processor_config,
            unified=self.facts.unified,
            sees=self.facts.sees,
            hears=self.facts.hears,
        )

    @property
    def name(self) -> str:
        return self.facts.names[0]

    def beside(self, name: str) -> RemoteModel:
        """Another model of the same server."""
        return RemoteModel(self._connection.another(), name)

    def with_adapter(self, adapter: str | None) -> RemoteModel:
        """The server's model with another of the adapters there, or without one.

        Raises AdapterError if the server has none of this name.
        """
        offers = [each for each in self.facts.offers if each.has_adapter == (adapter is not None)]
        for each in offers:
            if adapter is None or adapter in each.names:
                return self.beside(each.names[0])
        there = f"it has {', '.join(each.names[0] for each in offers)}" if offers else "it has none"
        raise AdapterError(
            adapter or "none",
            f"the model is loaded by the server, which chooses its adapters: {there}",
        )

    @property
    def processor(self) -> Processor:
        return self._processor

    @property
    def context_length(self) -> int:
        return self.facts.context_length

    @property
    def identity(self) -> Mapping[str, object]:
        return {"served": self.facts.identity}

    @property
    def keeps_turns(self) -> bool:
        return False

    def new_turns(self) -> Turns:
        return NoTurns()

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: Turns | None = None
    ) -> Iterator[Event]:
        self.check_prompt(inputs, options)
        for notice in inputs.notices:
            yield Notice(text=notice)
        with closing(self._answers([Prompt(inputs=inputs, options=options)])) as answers:
            for _, event in answers:
                yield event

    def stream_batch(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
        for each in prompts:
            self.check_prompt(each.inputs, each.options)
        if not prompts:
            return
        with closing(self._answers(prompts)) as answers:
            for number, event in answers:
                if isinstance(event, BatchEvent):
                    yield number, event

    def _answers(self, prompts: Sequence[Prompt]) -> Generator[Numbered]:
        """The answers to prompts that go in one request, or if they are too large in several."""
        body = prompts_body(prompts)
        if len(body) > self.facts.most_body or len(prompts) > MOST_PROMPTS:
            if len(prompts) == 1:
                raise _too_large(len(body), self.facts.most_body)
            half = len(prompts) // 2
            yield from self._answers(prompts[:half])
            for number, event in self._answers(prompts[half:]):
                yield half + number, event
            return
        with closing(self._connection.answers(_ANSWERS, body, len(prompts))) as answers:
            for number, event in answers:
                if isinstance(event, Finished):
                    event = replace(event, budgets=prompts[number].inputs.budgets)
                yield number, event

    def batch_size(self, positions: int) -> int:
        """The prompts that the server answers at once: it knows its memory."""
        return self.facts.slots

    def check_prompt(self, inputs: ModelInputs, options: GenerateOptions) -> None:
        check_context(inputs, self.context_length)

    def check_plan(self, prompt: PlannedPrompt, options: GenerateOptions) -> None:
        check_plan_context(prompt, self.context_length)

    def check_schema(self, options: GenerateOptions) -> None:
        if options.is_constrained:
            self._connection.post(_CHECK, options_body(options))


def _too_large(size: int, most: int) -> RemoteError:
    return RemoteError(
        f"this prompt has {size / 1e6:.1f} MB with its media, but the server takes "
        f"{most / 1e6:.1f} MB: use a smaller --budget, fewer images or frames, or start g4 serve "
        "with a larger --max-body"
    )


def _facts(connection: Connection, name: str | None) -> ModelFacts:
    query = "" if name is None else f"?{NAME_PARAMETER}={quote(name, safe='')}"
    body = connection.get(f"{_MODEL}{query}")
    try:
        protocol = read_protocol(body)
        if protocol != PROTOCOL:
            raise _other_version(connection, f"it speaks version {protocol} of the protocol")
        return read_facts(body)
    except JsonError as exc:
        raise connection.error(f"is no g4 that serves a model ({exc})") from exc


def _other_version(connection: Connection, how: str) -> ServerError:
    return connection.error(
        f"{how}, this g4 ({__version__}) version {PROTOCOL}: update the older of both"
    )
