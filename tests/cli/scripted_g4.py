"""g4 as a process with scripted answers: ``scripted_g4.py WAYS ARGUMENT...``.

The text of the file in ``G4_SCRIPT`` streams in small deltas; without one, the answer is how Python
writes the question. What follows "!fault " is the text of an exception. The ways are those of
driven_g4.py.
"""

from __future__ import annotations

import os
import runpy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemma4cli.engine import generate
from gemma4cli.events import Event, Finished, TextDelta, ThoughtDelta, Timings, Usage

_PAUSE = 0.01
"""Seconds between deltas, so that a terminal can be resized between them."""


def scripted(model: Any, inputs: Any, options: Any, *rest: Any) -> Iterator[Event]:
    script = os.environ.get("G4_SCRIPT")
    asked = inputs.text.rpartition("<|turn>user\n")[2].partition("<turn|>")[0]
    text = Path(script).read_text("utf-8") if script else repr(asked)
    text, fault, problem = text.partition("!fault ")
    if options.think:
        yield ThoughtDelta(text="Let me see.")
    for at in range(0, len(text), 7):
        time.sleep(_PAUSE)
        yield TextDelta(text=text[at : at + 7])
    if fault:
        raise ValueError(problem)
    yield Finished(
        reason="stop",
        text=text,
        thoughts="",
        token_ids=(),
        usage=Usage(prompt_tokens=1, soft_tokens=0, completion_tokens=1),
        timings=Timings(encode=0.0, prefill=0.0, decode=1.0),
    )


generate.generate = scripted
runpy.run_path(str(Path(__file__).with_name("driven_g4.py")), run_name="__main__")
