"""What a model answers before it is tuned, for prompts at which it is to stay as it is.

Each answer is on disk when it is given, so that an interrupted run goes on after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..checked_json import JsonError
from ..conversations.file import conversation_data
from ..engine.answering import Prompt
from ..engine.local import LocalModel
from ..events import Finished, Notice
from ..journal import JobJournal
from ..messages import Message, Source, ToolCall
from .events import PromptsAnswered
from .examples import TooLong, prompt_of
from .samples import Fault, Sample

_LONGEST_ANSWER = 512
"""Tokens, thoughts included; what is cut off there is kept as far as it goes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnAnswer:
    """The answer to the prompt with this ``key``."""

    key: str
    text: str
    thoughts: str
    calls: tuple[ToolCall, ...] = ()


class AnswerJournal(JobJournal[OwnAnswer]):
    """The answers that were given already."""

    def line(self, item: OwnAnswer) -> Mapping[str, object]:
        return asdict(item)

    def parse(self, line: Mapping[str, Any]) -> OwnAnswer:
        key, text, thoughts = (line.get(name) for name in ("key", "text", "thoughts"))
        calls = line.get("calls")
        if not (isinstance(key, str) and isinstance(text, str) and isinstance(thoughts, str)):
            raise JsonError("is no answer")
        if not isinstance(calls, list):
            raise JsonError("must be a list", "calls")
        return OwnAnswer(
            key=key, text=text, thoughts=thoughts, calls=tuple(ToolCall(**each) for each in calls)
        )


def key_of(sample: Sample) -> str:
    """What tells a prompt from others: its texts and the content of its media. Raises OSError."""
    data = conversation_data(sample.conversation, _content_of)
    return hashlib.blake2b(json.dumps(data).encode(), digest_size=16).hexdigest()


def _content_of(source: Source) -> str:
    state = hashlib.blake2b(source.data or b"", digest_size=16)
    if source.path is not None:
        with source.path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    return state.hexdigest()


def answered(
    model: LocalModel, prompts: Sequence[tuple[Sample, str]], folder: Path, longest: int
) -> Iterator[PromptsAnswered | Notice | Fault | TooLong | Sample]:
    """Each of ``prompts``, which come with their keys, with the model's answer at its end.

    Raises JournalError if the answers cannot be kept in ``folder``.
    """
    with AnswerJournal(folder, {"model": dict(model.identity)}) as journal:
        known = {each.key: each for each in journal.done}
        batch: dict[str, Prompt] = {}
        for number, (sample, key) in enumerate(prompts):
            if key in known or key in batch:
                continue
            yield PromptsAnswered(done=number, total=len(prompts))
            for step in prompt_of(model, sample, longest - 1):
                if isinstance(step, Prompt):
                    batch[key] = _bounded(step, longest)
                else:
                    yield step
            if batch and len(batch) >= _at_once(model, batch):
                known |= _answers(model, batch, journal)
                batch.clear()
        known |= _answers(model, batch, journal)
    yield PromptsAnswered(done=len(prompts), total=len(prompts))
    yield from (_with_answer(sample, known[key]) for sample, key in prompts if key in known)


def _bounded(prompt: Prompt, longest: int) -> Prompt:
    room = longest - len(prompt.inputs.ids)
    options = replace(prompt.options, max_tokens=min(_LONGEST_ANSWER, room))
    return replace(prompt, options=options)


def _at_once(model: LocalModel, batch: Mapping[str, Prompt]) -> int:
    return model.batch_size(max(len(each.inputs.ids) for each in batch.values()) + _LONGEST_ANSWER)


def _answers(
    model: LocalModel, batch: Mapping[str, Prompt], journal: AnswerJournal
) -> dict[str, OwnAnswer]:
    keys = list(batch)
    found: dict[str, OwnAnswer] = {}
    for row, event in model.stream_batch(list(batch.values())):
        if isinstance(event, Finished):
            own = OwnAnswer(
                key=keys[row], text=event.text, thoughts=event.thoughts, calls=event.tool_calls
            )
            found[own.key] = own
            journal.add(own)
    return found


def _with_answer(sample: Sample, own: OwnAnswer) -> Sample:
    answer = Message(
        role="assistant",
        content=own.text,
        thoughts=own.thoughts or None,
        tool_calls=own.calls,
    )
    messages = (*sample.conversation.messages, answer)
    return replace(sample, conversation=replace(sample.conversation, messages=messages))
