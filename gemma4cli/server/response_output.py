"""An answer as the items of a response, and as the events by which these come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from secrets import token_hex
from typing import Any

from ..events import TextDelta, ThoughtDelta, TokenLogprob, ToolCallDelta, ToolCallFinished
from ..processing.tokenizer import Tokenizer
from .logprobs import logprobs_data

Data = dict[str, Any]


class Item(ABC):
    """A part of the output. Its events are dictionaries that lack where they belong."""

    prefix: str

    def __init__(self) -> None:
        self.id = f"{self.prefix}_{token_hex(12)}"
        self.status = "in_progress"

    @abstractmethod
    def data(self) -> Data:
        """The item so far."""

    @abstractmethod
    def opened(self) -> list[Data]:
        """The events after it was added."""

    @abstractmethod
    def ended(self) -> list[Data]:
        """The events before it is done."""


class _Content(Item):
    """An item with one text."""

    event: str

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    @abstractmethod
    def part(self) -> Data:
        """The text as the item has it."""

    def opened(self) -> list[Data]:
        return [{"type": "response.content_part.added", "content_index": 0, "part": self.part()}]

    def ended(self) -> list[Data]:
        return [
            {"type": f"{self.event}.done", "content_index": 0, "text": self.text, **self.extra()},
            {"type": "response.content_part.done", "content_index": 0, "part": self.part()},
        ]

    def add(self, text: str) -> Data:
        self.text += text
        return {"type": f"{self.event}.delta", "content_index": 0, "delta": text}

    def extra(self) -> Data:
        """What its events have besides the text."""
        return {}


class _Reasoning(_Content):
    prefix = "rs"
    event = "response.reasoning_text"

    def part(self) -> Data:
        return {"type": "reasoning_text", "text": self.text}

    def data(self) -> Data:
        content = [self.part()] if self.text else []
        return {
            "id": self.id,
            "type": "reasoning",
            "summary": [],
            "content": content,
            "status": self.status,
        }


class _Text(_Content):
    prefix = "msg"
    event = "response.output_text"

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self.logprobs: list[Data] = []

    def add_text(self, text: str, logprobs: Sequence[TokenLogprob]) -> Data:
        found = logprobs_data(self._tokenizer, logprobs)
        self.logprobs += found
        return {**self.add(text), "logprobs": found}

    def extra(self) -> Data:
        return {"logprobs": self.logprobs}

    def part(self) -> Data:
        return {
            "type": "output_text",
            "text": self.text,
            "annotations": [],
            "logprobs": list(self.logprobs),
        }

    def data(self) -> Data:
        content = [] if self.status == "in_progress" else [self.part()]
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": self.status,
            "content": content,
        }


class _Call(Item):
    prefix = "fc"

    def __init__(self, call_id: str, name: str) -> None:
        super().__init__()
        self._call_id = call_id
        self._name = name
        self._arguments = ""

    def data(self) -> Data:
        return {
            "id": self.id,
            "type": "function_call",
            "call_id": self._call_id,
            "name": self._name,
            "arguments": self._arguments,
            "status": self.status,
        }

    def opened(self) -> list[Data]:
        return []

    def ended(self) -> list[Data]:
        done = "response.function_call_arguments.done"
        return [{"type": done, "name": self._name, "arguments": self._arguments}]

    def add(self, arguments: str) -> Data:
        self._arguments += arguments
        return {"type": "response.function_call_arguments.delta", "delta": arguments}


class Output:
    """The items so far. Each method returns the events of what it adds."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._items: list[Item] = []

    def data(self) -> list[Data]:
        return [item.data() for item in self._items]

    def take(self, event: object) -> list[Data]:
        """Add what an event brings."""
        match event:
            case ThoughtDelta(text=text):
                item = self._open
                if isinstance(item, _Reasoning):
                    return [self._placed(item.add(text))]
                thought = _Reasoning()
                return [*self._begin(thought), self._placed(thought.add(text))]
            case TextDelta(text=text, logprobs=logprobs):
                item = self._open
                if isinstance(item, _Text):
                    return [self._placed(item.add_text(text, logprobs))]
                message = _Text(self._tokenizer)
                begun = self._begin(message)
                return [*begun, self._placed(message.add_text(text, logprobs))]
            case ToolCallDelta(arguments=""):
                return self._begin(_Call(event.id, event.name))
            case ToolCallDelta(arguments=arguments):
                item = self._open
                return [self._placed(item.add(arguments))] if isinstance(item, _Call) else []
            case ToolCallFinished():
                return self.end("completed")
        return []

    def end(self, status: str) -> list[Data]:
        """End the item that is not done, if there is one."""
        item = self._open
        if item is None:
            return []
        ended = [self._placed(each) for each in item.ended()]
        item.status = status
        return [*ended, self._about_item("response.output_item.done", item)]

    @property
    def _open(self) -> Item | None:
        item = self._items[-1] if self._items else None
        return item if item is not None and item.status == "in_progress" else None

    def _begin(self, item: Item) -> list[Data]:
        before = self.end("completed")
        self._items.append(item)
        added = self._about_item("response.output_item.added", item)
        return [*before, added, *(self._placed(each) for each in item.opened())]

    def _about_item(self, kind: str, item: Item) -> Data:
        return {"type": kind, "output_index": len(self._items) - 1, "item": item.data()}

    def _placed(self, event: Data) -> Data:
        return {**event, "item_id": self._items[-1].id, "output_index": len(self._items) - 1}
