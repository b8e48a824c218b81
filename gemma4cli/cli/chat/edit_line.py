"""The line being edited: what cannot be seen in it, and what goes wrong while it is typed."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments

from ..escapes import one_line

_JOINERS = "\u200c\u200d"
_UNSEEN = "class:control-character"
_MOST_FAULTS = 5
"""In one line; one that comes with each drawing of the line would never end."""


class ShowUnseen(Processor):
    """Shows what is not visible by itself as an escape; the text stays as it is.

    Names that Tab inserts, and pasted ones, may hold characters that hide or reorder others. In a
    question those that join letters and emoji stay; control characters are prompt_toolkit's affair.
    """

    def apply_transformation(self, ti: TransformationInput) -> Transformation:
        stays = "" if ti.document.text.startswith("/") else _JOINERS
        shown: list[Any] = []
        begins: list[int] = []
        for fragment in explode_text_fragments(ti.fragments):
            begins.append(len(shown))
            sign = fragment[1]
            escape = sign if sign in stays or _is_control(sign) else one_line(sign)
            if escape == sign:
                shown.append(fragment)
            else:
                shown += [(f"{fragment[0]} {_UNSEEN}", each) for each in escape]
        begins.append(len(shown))

        def to_display(position: int) -> int:
            after = position - (len(begins) - 1)
            return begins[-1] + after if after > 0 else begins[position]

        def to_source(position: int) -> int:
            after = position - begins[-1]
            return len(begins) - 1 + after if after > 0 else bisect_right(begins, position) - 1

        return Transformation(shown, source_to_display=to_display, display_to_source=to_source)


def _is_control(sign: str) -> bool:
    return ord(sign) < 0xA0 if len(sign) == 1 else False


class PromptFaults:
    """What goes wrong while a line is typed is one line above it, and the line stays."""

    def __init__(self, say: Callable[[Exception], None]) -> None:
        self._say = say
        self._count = 0

    def watch(self) -> None:
        """Take over from prompt_toolkit in the running event loop, for one line."""
        self._count = 0
        asyncio.get_running_loop().set_exception_handler(self._handle)

    def report(self, error: Exception) -> None:
        """Show an error above the line."""
        self._count += 1
        if self._count > _MOST_FAULTS:
            if not get_app().is_done:
                get_app().exit(exception=error)
            return
        run_in_terminal(lambda: self._say(error))

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self.report(error)
