"""``g4 trace``: what exactly reaches the model, for bug reports and comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import OptionError
from ..environment import Environment
from ..run.options import RunOptions, runs_a_model

_GREEDY_TOKENS = 24


@runs_a_model
def trace(
    conversation: Annotated[
        Path, typer.Argument(metavar="CONVERSATION.json", help="Conversation to trace.")
    ],
    run: RunOptions,
    env: Environment,
) -> None:
    """Write a conversation's ids, logits, soft tokens and greedy continuation to an .npz file.

    The answer is always greedy; sampling options do not apply.
    """
    from ...conversations.trace import trace as run_trace
    from ..run.runner import load_model

    if run.output is None or str(run.output) == "-":
        raise OptionError("trace writes a binary file: name it with -o OUT.npz")
    if not run.output.parent.is_dir():
        raise OptionError(f"{run.output.parent}: no such folder")
    if run.output.is_dir():
        raise OptionError(f"{run.output}: is a folder; name a file")
    result = run_trace(
        load_model(env, run), conversation, max_tokens=run.max_tokens or _GREEDY_TOKENS
    )
    try:
        result.save(run.output)
    except PermissionError as exc:
        raise OptionError(f"{run.output}: cannot be written ({exc.strerror})") from exc
    if not run.quiet:
        env.say(
            f"{run.output}: {len(result.input_ids)} prompt tokens, {len(result.soft_tokens)} soft "
            f"tokens, {len(result.greedy)} greedy tokens"
        )
