"""The samples of the built-in model, and what the reference implementation answers to them.

A test that needs an answer takes it from here: training the model again changes these files.
"""

from __future__ import annotations

import json
from pathlib import Path

SAMPLES = Path(__file__).parents[2] / "fixtures" / "samples"
_CASES = json.loads((SAMPLES / "tiny.json").read_bytes())


def sample(name: str) -> str:
    return str(SAMPLES / name)


def answer_to(prompt: str, *names: str) -> str:
    """The reference's answer to exactly this prompt about exactly these samples."""
    (answer,) = [
        case["reference_text"]
        for case in _CASES
        if case["prompt"] == prompt and (*case["images"], *case["audio"], *case["videos"]) == names
    ]
    return str(answer)


TEXT_OF: dict[str, str] = {
    name: case["reference_text"]
    for case in _CASES
    for name in (*case["images"], *case["audio"], *case["videos"])
    if case["prompt"].startswith(("Describe", "Transcribe"))
}
"""The answer to a sample that was to be described or transcribed."""

GREETING = answer_to("Hello")

COUNTING, COUNTED = "How many shapes are there?", "image09.png"
COUNT = answer_to(COUNTING, COUNTED)
"""A question that has another answer than a description."""
