"""What an exported twin answers through g4: plain colours, places, questions, digits.

    python -m training.twin.battery WORK FOLDER

Every picture and clip is held out. Plain colours and objects are also shown to a copy whose image
tokens see backwards only, as a causal mask would have it: the copy differs in one word of its
config.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import gemma4cli
from gemma4cli import prompts
from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.engine.model import LoadedModel

from ..pictures.colors import Rgb
from ..pictures.drawing import drawn
from ..pictures.questions import questions
from ..seeds import generator
from . import digits
from .dialogues import described
from .scenes import COLORLESS, HUES, Sort, scene, tint

_SIDES = ((384, 384), (300, 400), (480, 336))
_TINTS = 8
_GRAYS: dict[str, tuple[int, ...]] = {
    "white": (255, 250, 240),
    "gray": (190, 128, 70),
    "black": (20, 5, 0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One question about one file, and its only right answer."""

    row: str
    prompt: str
    answer: str
    image: bytes | None = None
    clip: bytes | None = None


def plain_cases() -> Iterator[Case]:
    rng = generator("twin", "battery", "plain")
    for name in HUES:
        for _ in range(_TINTS):
            for height, width in _SIDES:
                yield _plain(name, tint(rng, name), height, width, f"A plain {name} picture.")
    for name, levels in _GRAYS.items():
        for level in levels:
            for height, width in _SIDES:
                answer = f"A plain picture {COLORLESS}."
                yield _plain(name, (level, level, level), height, width, answer)


def _plain(name: str, color: Rgb, height: int, width: int, answer: str) -> Case:
    pixels = np.full((height, width, 3), color, np.uint8)
    return Case(
        row=f"plain {name}", prompt=prompts.DESCRIBE_IMAGE, answer=answer, image=_png(pixels)
    )


def scene_cases(sort: Sort, count: int) -> Iterator[Case]:
    """Captions of pictures, by the number of things in them, and two questions about each."""
    rng = generator("twin", "battery", sort)
    for _ in range(count):
        picture = scene(rng, sort)
        image = _png(drawn(picture, rng))
        things = len(picture.things)
        yield Case(
            row=f"{sort}: caption of {things}",
            prompt=prompts.DESCRIBE_IMAGE,
            answer=described(picture),
            image=image,
        )
        for question in questions(picture, rng, 2):
            yield Case(
                row=f"{sort}: {question.kind}",
                prompt=question.text,
                answer=question.answer,
                image=image,
            )


def digit_cases(work: Path, count: int) -> Iterator[Case]:
    """Single digits and rows, put together and spoken in one go, of voices never heard."""
    stock = digits.load(work, held_out=True)
    rng = generator("twin", "battery", "digits")
    for row, most, fluent in (("one", 1, 0.0), ("apart", 6, 0.0), ("fluent", 6, 1.0)):
        for _ in range(count):
            clip = digits.clip(rng, stock, most=most, fluent=fluent)
            yield Case(
                row=f"digits: {row}",
                prompt=prompts.transcription(),
                answer=clip.written,
                clip=_wav(clip.samples),
            )


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _wav(samples: npt.NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def answered(model: LoadedModel, case: Case) -> str:
    return gemma4cli.generate(
        model,
        case.prompt,
        images=[case.image] if case.image else [],
        audio=[case.clip] if case.clip else [],
    ).strip()


def tally(
    answer: Callable[[Case], str], cases: Sequence[Case], *, wrong: int
) -> dict[str, tuple[int, int]]:
    """Right and asked for each row; the first ``wrong`` mistakes of a row are printed."""
    table: dict[str, tuple[int, int]] = {}
    for case in cases:
        given = answer(case)
        right, asked = table.get(case.row, (0, 0))
        if given != case.answer and asked - right < wrong:
            print(f"    {case.row}: {case.prompt[:40]!r} {case.answer!r} -> {given!r}", flush=True)
        table[case.row] = right + (given == case.answer), asked + 1
    return table


def causal_copy(folder: Path, to: Path) -> None:
    """A copy of a checkpoint whose image tokens do not see what comes behind them."""
    for file in folder.iterdir():
        if file.name != "config.json":
            (to / file.name).symlink_to(file.resolve())
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["use_bidirectional_attention"] = None
    (to / "config.json").write_text(json.dumps(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--wrong", type=int, default=2, help="mistakes to print for each row")
    arguments = parser.parse_args()
    pictures = [*plain_cases(), *scene_cases("objects", arguments.pictures)]
    others = [
        *scene_cases("count", arguments.pictures // 2),
        *digit_cases(arguments.work, arguments.clips),
    ]
    model = gemma4cli.load(str(arguments.folder))
    table = tally(lambda case: answered(model, case), [*pictures, *others], wrong=arguments.wrong)
    with tempfile.TemporaryDirectory() as name:
        causal_copy(arguments.folder, Path(name))
        blind = gemma4cli.load(name)
        causal = tally(lambda case: answered(blind, case), pictures, wrong=0)
    print(f"{'':28}{'vision':>12}{'causal':>12}")
    for row in sorted(table):
        right, asked = table[row]
        other = f"{causal[row][0]}/{causal[row][1]}" if row in causal else ""
        print(f"{row:28}{f'{right}/{asked}':>12}{other:>12}")


if __name__ == "__main__":
    main()
