"""``--functions``: Python functions for the model, and the question whether a call may run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...conversations.functions import Function, functions_in
from ...conversations.tool_loop import MOST_ROUNDS, Tools, run_tools
from ...errors import OptionError
from ...events import Event
from ...messages import ToolCall
from ...options import GenerateOptions
from ..environment import Environment

if TYPE_CHECKING:
    from ...conversations.chat import Chat

_SHOWN = 200
"""Characters of a call that needs no confirmation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionOptions:
    """The functions of a run, and those of them that are run without asking."""

    functions: Sequence[Function]
    yes_to: frozenset[str] = frozenset()
    most_rounds: int = MOST_ROUNDS

    @property
    def declarations(self) -> tuple[Any, ...]:
        """What the model is told of them."""
        return tuple(each.declaration for each in self.functions)

    def answer(
        self,
        chat: Chat,
        events: Iterator[Event],
        options: GenerateOptions,
        confirm: Callable[[str], bool] | None,
        env: Environment,
        *,
        quiet: bool,
    ) -> Iterator[Event]:
        """An answer whose calls are run; ``confirm`` asks the user, and None means nobody can."""

        def allow(call: ToolCall) -> bool:
            if call.name in self.yes_to:
                if not quiet:
                    env.say(_shortened(f"running {call_text(call)}"))
                return True
            if confirm is None:
                env.say(f"not run: {call_text(call)}; --yes-to {call.name} allows it")
                return False
            return confirm(f"Run {call_text(call)}?")

        functions = [replace(each, run=_printing(env, each.run)) for each in self.functions]
        tools = Tools(functions=functions, allow=allow, most_rounds=self.most_rounds)
        return run_tools(chat, events, options, tools)


def function_options(
    files: Sequence[str], yes_to: Sequence[str], most_rounds: int | None
) -> FunctionOptions | None:
    """The options of a command line; None without functions.

    The files are executed. Raises FunctionsError, and OptionError for options that do not fit.
    """
    if not files:
        if yes_to or most_rounds is not None:
            raise OptionError("--yes-to and --max-rounds are for --functions")
        return None
    found: dict[str, Function] = {}
    for file in files:
        for each in functions_in(Path(file)):
            if each.name in found:
                raise OptionError(f"--functions: two files define {each.name}")
            found[each.name] = each
    for name in yes_to:
        if name not in found:
            raise OptionError(f"--yes-to {name}: the functions are {', '.join(found)}")
    return FunctionOptions(
        functions=tuple(found.values()),
        yes_to=frozenset(yes_to),
        most_rounds=MOST_ROUNDS if most_rounds is None else most_rounds,
    )


def call_text(call: ToolCall) -> str:
    """A call as a person reads it: ``get_weather(city="Paris", days=3)``."""
    arguments = [
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()
    ]
    return f"{call.name}({', '.join(arguments)})"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _printing(env: Environment, function: Callable[..., object]) -> Callable[..., object]:
    """A function whose prints go to stderr: stdout is only for the answer."""

    @wraps(function)
    def run(**arguments: object) -> object:
        with redirect_stdout(env.stderr):
            return function(**arguments)

    return run
