"""What an exported twin answers through g4: plain colours, places, questions, digits.

    python -m training.twin.battery WORK FOLDER

Every picture and clip is held out. Plain colours and objects are also shown to a copy whose image
tokens see backwards only, as a causal mask would have it: the copy differs in one word of its
config.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import gemma4cli
from gemma4cli import prompts
from gemma4cli.engine.model import LoadedModel

from ..evaluation.cases import Case, Row, table
from ..evaluation.files import png, wav
from ..pictures.colors import Rgb
from ..pictures.drawing import drawn
from ..pictures.questions import questions
from ..seeds import generator
from . import digits
from .dialogues import described
from .scenes import COLORLESS, HUES, Sort, scene, tint

_TINTS = 24
_SIDES = ((384, 384), (300, 400), (480, 336))
"""Heights and widths in turn."""
_GRAYS: dict[str, tuple[int, ...]] = {
    "white": (255, 250, 240),
    "gray": (190, 128, 70),
    "black": (20, 5, 0),
}


def plain_cases(tints: int) -> Iterator[Case]:
    """``tints`` of each colour, and three levels each of white, gray and black."""
    rng = generator("twin", "battery", "plain")
    for name in HUES:
        for number in range(tints):
            yield _plain(name, tint(rng, name), number, f"A plain {name} picture.")
    for name, levels in _GRAYS.items():
        for number, level in enumerate(levels):
            yield _plain(name, (level, level, level), number, f"A plain picture {COLORLESS}.")


def _plain(name: str, color: Rgb, number: int, answer: str) -> Case:
    height, width = _SIDES[number % len(_SIDES)]
    pixels = np.full((height, width, 3), color, np.uint8)
    return Case(
        row=f"plain: {name}", prompt=prompts.DESCRIBE_IMAGE, answer=answer, images=(png(pixels),)
    )


def scene_cases(sort: Sort, count: int) -> Iterator[Case]:
    """Captions of pictures, by the number of things in them, and two questions about each."""
    rng = generator("twin", "battery", sort)
    for _ in range(count):
        picture = scene(rng, sort)
        image = png(drawn(picture, rng))
        things = len(picture.things)
        yield Case(
            row=f"{sort}: caption of {things}",
            prompt=prompts.DESCRIBE_IMAGE,
            answer=described(picture),
            images=(image,),
        )
        for question in questions(picture, rng, 2):
            yield Case(
                row=f"{sort}: {question.kind}",
                prompt=question.text,
                answer=question.answer,
                images=(image,),
            )


def digit_cases(stock: digits.Stock, count: int) -> Iterator[Case]:
    """Single digits and rows, put together and spoken in one go, of the voices in ``stock``."""
    rng = generator("twin", "battery", "digits")
    for row, most, fluent in (("one", 1, 0.0), ("apart", 6, 0.0), ("fluent", 6, 1.0)):
        for _ in range(count):
            clip = digits.clip(rng, stock, most=most, fluent=fluent)
            yield Case(
                row=f"digits: {row}",
                prompt=prompts.transcription(),
                answer=clip.written,
                score="words",
                clips=(wav(clip.samples),),
            )


def causal_copy(folder: Path, to: Path) -> None:
    """A copy of a checkpoint whose image tokens do not see what comes behind them."""
    for file in folder.iterdir():
        if file.name != "config.json":
            (to / file.name).symlink_to(file.resolve())
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["use_bidirectional_attention"] = None
    (to / "config.json").write_text(json.dumps(config))


def compared(vision: dict[str, Row], causal: dict[str, Row]) -> str:
    """A table of right answers; the wrong digits of all stand behind those of clips."""
    lines = ["| task | vision mask | causal mask |", "|-|-|-|"]
    for name in sorted(vision):
        row = vision[name]
        right = f"{row.whole} of {row.cases}"
        if row.total != row.cases:
            right += f" ({row.wrong} of {row.total} wrong)"
        other = f"{causal[name].whole} of {causal[name].cases}" if name in causal else ""
        lines.append(f"| {name} | {right} | {other} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--shown", type=int, default=2, help="mistakes to print for each row")
    arguments = parser.parse_args()
    pictures = [*plain_cases(_TINTS), *scene_cases("objects", arguments.pictures)]
    others = [
        *scene_cases("count", arguments.pictures // 2),
        *digit_cases(digits.load(arguments.work, held_out=True), arguments.clips),
    ]
    model: LoadedModel = gemma4cli.load(str(arguments.folder))
    vision = table(model, [*pictures, *others], shown=arguments.shown)
    with tempfile.TemporaryDirectory() as name:
        causal_copy(arguments.folder, Path(name))
        causal = table(gemma4cli.load(name), pictures, shown=0)
    print(compared(vision, causal))


if __name__ == "__main__":
    main()
