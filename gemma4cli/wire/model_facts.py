"""What a client must know of a served model to make its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from .._version import __version__
from ..checked_json import JsonError, as_dataclass, number, parse, shown, whole
from ..processing.config import MelConfig, ProcessorConfig, RawAudioConfig, VisionProcessorConfig
from ..processing.prompt import PromptStyle

if TYPE_CHECKING:
    from ..processing.processor import Processor

PROTOCOL = 1
MODEL_HEADER = "X-G4-Model"
"""The identity of the model that a request is for."""
NAME_PARAMETER = "name"
"""In the query for a model's facts: which of a server's models."""
_MOST_SIZE = 2**24
_LONGEST_NAME = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlToken:
    """A control token that prompts use."""

    name: str
    id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One of a server's models: its names, as in ``ModelFacts``, and whether it has an adapter."""

    names: tuple[str, ...]
    has_adapter: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A served model.

    Attributes:
        protocol: The version of what is sent.
        g4: The server's version.
        names: The names of the model; the first is what it is called.
        offers: All models of the server, this one among them; the first is for those who name none.
        identity: Another one for another model, and for the same with other weights.
        context_length: The most tokens that prompt and answer can have together.
        slots: The most prompts that are answered at once.
        most_body: The largest request in bytes.
        vocabulary: Token ids are below it.
        source: The name of the tokenizer in errors.
        controls: The control tokens.
        style: How prompts are written.
        unified: See ``Processor``, as the following.
        sees: Whether it takes pictures.
        hears: Whether it takes sound.
        vision: How pictures become inputs.
        mel: How sound becomes inputs; None if it is taken raw.
        raw: Likewise for sound that is taken raw.
    """

    protocol: int
    g4: str
    names: tuple[str, ...]
    offers: tuple[Offer, ...]
    identity: str
    context_length: int
    slots: int
    most_body: int
    vocabulary: int
    source: str
    controls: tuple[ControlToken, ...]
    style: PromptStyle
    unified: bool
    sees: bool
    hears: bool
    vision: VisionProcessorConfig
    mel: MelConfig | None
    raw: RawAudioConfig | None

    @property
    def processor_config(self) -> ProcessorConfig:
        audio = self.mel or self.raw
        assert audio is not None, "it was read so"
        return ProcessorConfig(vision=self.vision, audio=audio, assumed=())


def facts_of(
    processor: Processor,
    controls: Mapping[str, int],
    identity: Mapping[str, object],
    *,
    names: tuple[str, ...],
    offers: tuple[Offer, ...],
    context_length: int,
    slots: int,
    most_body: int,
    vocabulary: int,
) -> ModelFacts:
    """The facts of a model.

    Its ``identity``, in which there are paths, is sent as a digest, that of this version of g4.
    """
    audio = processor.config.audio
    return ModelFacts(
        protocol=PROTOCOL,
        g4=__version__,
        names=names,
        offers=offers,
        identity=_digest({**identity, "g4": __version__}),
        context_length=context_length,
        slots=slots,
        most_body=most_body,
        vocabulary=vocabulary,
        source=names[0],
        controls=tuple(ControlToken(name=name, id=each) for name, each in controls.items()),
        style=processor.prompt_style,
        unified=processor.unified,
        sees=processor.sees,
        hears=processor.hears,
        vision=processor.config.vision,
        mel=audio if isinstance(audio, MelConfig) else None,
        raw=audio if isinstance(audio, RawAudioConfig) else None,
    )


def _digest(facts: Mapping[str, object]) -> str:
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def facts_body(facts: ModelFacts) -> bytes:
    """The facts as JSON."""
    return json.dumps(asdict(facts)).encode()


def read_protocol(body: bytes) -> int:
    """The version of the protocol that facts are written in. Raises JsonError."""
    value = parse(body)
    if not isinstance(value, dict):
        raise JsonError(f"must be an object, not {shown(value)}")
    return whole(value.get("protocol"), "protocol")


def read_facts(body: bytes) -> ModelFacts:
    """The facts of this version of the protocol. Raises JsonError."""
    facts = as_dataclass(ModelFacts, parse(body))
    offered = [name for offer in facts.offers for name in offer.names]
    for text in (*facts.names, *offered, facts.source, facts.identity):
        if not 1 <= len(text) <= _LONGEST_NAME or not text.isprintable():
            raise JsonError(f"must be a name, not {shown(text)}", "names")
    if not facts.names or not all(offer.names for offer in facts.offers):
        raise JsonError("must be a list of names", "names")
    for name in ("context_length", "slots", "vocabulary", "most_body"):
        whole(getattr(facts, name), name)
    for each in facts.controls:
        whole(each.id, "controls", least=0, most=facts.vocabulary - 1)
    if (facts.mel is None) == (facts.raw is None):
        raise JsonError("must be one of mel and raw", "mel")
    for part in (facts.vision, facts.mel, facts.raw):
        _check_sizes(part)
    return facts


def _check_sizes(part: VisionProcessorConfig | MelConfig | RawAudioConfig | None) -> None:
    """Raise JsonError for a size of a processor with which it would need all memory, or divide."""
    for field in () if part is None else fields(part):
        value = getattr(part, field.name)
        if isinstance(value, int):
            whole(value, field.name, most=_MOST_SIZE)
        else:
            number(value, field.name, most=_MOST_SIZE)
