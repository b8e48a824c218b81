"""Answers that call functions: each round runs them, and tells the model what they gave.

Knows no terminal: whether a call may run is asked of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from ..events import Event, Finished, TextDelta, Timings, ToolResult, Usage
from ..messages import ToolCall
from ..options import GenerateOptions
from .chat import Chat
from .functions import Function, Result, run_call

MOST_ROUNDS = 8
_NOT_ALLOWED = "error: the user did not allow this call"
_STOPPED = "error: the user stopped this call"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """The functions that a conversation may call.

    Attributes:
        functions: The functions.
        allow: Whether a call may run.
        most_rounds: How often functions may be called before the model must answer in words.
    """

    functions: Sequence[Function]
    allow: Callable[[ToolCall], bool]
    most_rounds: int = MOST_ROUNDS

    def result(self, call: ToolCall) -> Result:
        """What a call gives."""
        found = next((each for each in self.functions if each.name == call.name), None)
        if found is None:
            names = ", ".join(each.name for each in self.functions)
            return Result(text=f"error: there is no {call.name}, only {names}", failed=True)
        if not self.allow(call):
            return Result(text=_NOT_ALLOWED, failed=True)
        return run_call(found, call)


def run_tools(
    chat: Chat, events: Iterator[Event], options: GenerateOptions, tools: Tools
) -> Iterator[Event]:
    """Run the functions that an answer calls, until it is one in words.

    Closing the stream cancels; what the functions have given stays in the conversation.

    Args:
        chat: The conversation; its tools are the declarations of the functions.
        events: The stream of the answer, ``chat.send("...", options)`` for example.
        options: How it, and those after the calls, are generated.
        tools: The functions, and which calls may run.

    Yields:
        The events of the answer, and a ToolResult for each call; at last one Finished of all
        rounds together.

    Raises:
        Gemma4Error: As ``Chat.send``. What a function raises is a result.
    """
    rounds: list[Finished] = []
    while True:
        finished = yield from _answer(events, separate=any(each.text.strip() for each in rounds))
        rounds.append(finished)
        if finished.reason != "tool_calls":
            break
        yield from _run(chat, finished.tool_calls, tools)
        if len(rounds) >= tools.most_rounds:
            options = replace(_with_tools(chat, options), tool_choice="none")
        elif options.tool_choice == "required":
            # One round of calls was required, not that every answer is one.
            options = replace(options, tool_choice="auto")
        events = chat.reply(options)
    yield _together(rounds)


def _answer(events: Iterator[Event], *, separate: bool) -> Generator[Event, None, Finished]:
    """The events of one round but its Finished, which is returned."""
    finished: Finished | None = None
    try:
        for event in events:
            if isinstance(event, Finished):
                finished = event
                continue
            if separate and isinstance(event, TextDelta):
                separate = False
                yield TextDelta(text="\n\n")
            yield event
    finally:
        # A conversation keeps what was said when its stream is closed.
        if isinstance(events, Generator):
            events.close()
    assert finished is not None, "an answer ends with Finished"
    return finished


def _run(chat: Chat, calls: Sequence[ToolCall], tools: Tools) -> Iterator[Event]:
    """Run calls in order; if that is cancelled, each still has a result in the conversation."""
    waiting = list(calls)
    try:
        while waiting:
            result = tools.result(waiting[0])
            call = waiting.pop(0)
            chat.add_result(call, result.text)
            yield ToolResult(call=call, text=result.text, failed=result.failed)
    finally:
        for call in waiting:
            chat.add_result(call, _STOPPED)


def _with_tools(chat: Chat, options: GenerateOptions) -> GenerateOptions:
    return options if options.tools is not None else chat.with_tools(options)


def _together(rounds: Sequence[Finished]) -> Finished:
    """The rounds of an answer as one."""
    usage, timings = Usage(), Timings()
    for each in rounds:
        usage, timings = usage + each.usage, timings + each.timings
    return replace(
        rounds[-1],
        text="\n\n".join(each.text for each in rounds if each.text.strip()),
        thoughts="\n\n".join(each.thoughts.strip("\n") for each in rounds if each.thoughts.strip()),
        token_ids=tuple(token for each in rounds for token in each.token_ids),
        usage=usage,
        timings=timings,
        tool_calls=tuple(call for each in rounds for call in each.tool_calls),
        logprobs=tuple(token for each in rounds for token in each.logprobs),
    )
