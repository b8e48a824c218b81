"""The built-in model gives the reference implementation's answers to all samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gemma4cli
from gemma4cli.engine.model import LoadedModel

SAMPLES = Path(__file__).parents[1] / "fixtures" / "samples"
OUTPUTS: list[dict[str, str | None]] = json.loads((SAMPLES / "outputs.json").read_bytes())


def test_every_sample_has_an_answer() -> None:
    named = {output["file"] for output in OUTPUTS if output["file"]}
    assert named == {path.name for path in SAMPLES.iterdir() if path.suffix not in (".json", ".md")}
    assert len(OUTPUTS) == 31


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda o: Path(o["file"] or o["prompt"]).stem)
def test_answer_is_the_references(tiny: LoadedModel, output: dict[str, str | None]) -> None:
    given = [SAMPLES / output["file"]] if output["file"] else []
    text = gemma4cli.generate(
        tiny,
        str(output["prompt"]),
        images=given if output["kind"] == "image" else [],
        audio=given if output["kind"] == "audio" else [],
        videos=given if output["kind"] == "video" else [],
    )
    assert text == output["reference_text"]
