"""What the built-in model learns from 60 pictures, what it says without, and what it forgets.

    python benchmarks/tuning.py              # tuning takes a minute or two on two cores
    python benchmarks/tuning.py --keep       # with prompts that are to be answered as before
    python benchmarks/tuning.py --rank 4     # other options are those of g4 tune

Draws pictures of one or two shapes, whose captions give the colors names ("Ruby the circle sits at
the top left"), tunes with the defaults of ``g4 tune``, and asks about pictures that were not among
them. What is forgotten is measured on the cases in fixtures/held_out, none of which is learned.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from math import cos, pi, sin
from pathlib import Path
from time import monotonic

from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SIZE, SCALE = 384, 2
COLORS = {
    "red": ("#dc2828", "Ruby"),
    "blue": ("#2a62d0", "Sky"),
    "green": ("#2e9a46", "Ivy"),
    "yellow": ("#eccb22", "Sunny"),
    "orange": ("#ee8522", "Clem"),
    "purple": ("#7d3cae", "Violet"),
    "black": ("#1c1c1c", "Jet"),
    "pink": ("#ee82b4", "Rosie"),
}
SHAPES = ("circle", "square", "triangle", "star")
PLACES = {
    "at the top left": (0, 0),
    "at the top": (1, 0),
    "at the top right": (2, 0),
    "on the left": (0, 1),
    "in the center": (1, 1),
    "on the right": (2, 1),
    "at the bottom left": (0, 2),
    "at the bottom": (1, 2),
    "at the bottom right": (2, 2),
}


def picture(things: list[tuple[str, str, str]], chance: random.Random) -> Image.Image:
    """Color, shape and place of each thing, drawn on a light ground."""
    ground = tuple(chance.randint(232, 250) for _ in range(3))
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), ground)
    pen = ImageDraw.Draw(image)
    for color, shape, place in things:
        column, row = PLACES[place]
        x, y = (SCALE * (70 + 122 * at + chance.randint(-8, 8)) for at in (column, row))
        radius = SCALE * chance.randint(40, 52)
        corners = {"square": 4, "triangle": 3, "star": 10}.get(shape, 0)
        fill = COLORS[color][0]
        if not corners:
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
            continue
        turn = pi / 4 if shape == "square" else 0
        points = []
        for i in range(corners):
            r = radius * (0.45 if shape == "star" and i % 2 else 1.15 if corners < 5 else 1)
            angle = turn + 2 * pi * i / corners
            points.append((x + r * sin(angle), y - r * cos(angle)))
        pen.polygon(points, fill=fill)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def caption(things: list[tuple[str, str, str]]) -> str:
    """The new style: "Ruby the circle sits at the top left. Sky the star sits at the bottom."."""
    return " ".join(
        f"{COLORS[color][1]} the {shape} sits {place}." for color, shape, place in things
    )


def draw(folder: Path, count: int, chance: random.Random) -> list[tuple[Path, str]]:
    """Pictures with their caption files, no two alike."""
    folder.mkdir(parents=True)
    made: list[tuple[Path, str]] = []
    for number in range(count):
        things = [
            (chance.choice(list(COLORS)), chance.choice(SHAPES), place)
            for place in sorted(chance.sample(list(PLACES), chance.choice([1, 2])), key=place_order)
        ]
        path = folder / f"{number:03}.png"
        picture(things, chance).save(path)
        path.with_suffix(".txt").write_text(caption(things) + "\n")
        made.append((path, caption(things)))
    return made


ABOUT_PICTURES = (
    "How many objects are there?", "What color is the {shape}?", "Is there a {color} {shape}?",
    "What shape is {color}?", "Where is the {shape}?", "What is written here?",
    "Do you see a red star?", "How many {color} shapes are there?", "Read the number.",
    "Which color is this?",
)  # fmt: skip
TALK = (
    "Who are you?", "What is your name?", "What can you do?", "Hello", "Can you see photos?",
    "What is 7 times 8?", "Tell me a joke", "Who made you?", "Which model is better?",
    "Write a story", "What is the capital of France?", "Do you speak German?", "How old are you?",
    "Thank you", "Help", "What are you?", "Where is the picture?", "Can you write code?",
    "What languages do you know?", "Translate hello to French", "Why is grass green?",
    "Do you like music?", "Can you see?", "Can you listen to a recording?", "Yes",
    "How do computers work?", "What is 9 + 3", "Is it raining?",
)  # fmt: skip
GERMAN = (
    "der mann hat drei rote hüte", "wir gehen am montag in den garten", "die katze ist müde",
    "das wetter ist heute kalt", "sie kauft zwei grüne äpfel", "der bus kommt morgen früh",
)  # fmt: skip
SPOKEN = (
    "how many objects are there", "what color is the circle", "is there a red star",
    "what shape is blue", "where is the square", "what color is the triangle",
)  # fmt: skip


def prompts_to_keep(learned: list[tuple[Path, str]], folder: Path) -> Path:
    """JSON Lines of prompts without answers, such as a person would use the model for.

    None of them, and no medium, is a case by which is measured what is forgotten.
    """
    from gemma4cli.prompts import DESCRIBE_VIDEO, transcription, translation

    folder.mkdir()
    chance = random.Random(11)
    lines: list[str] = []

    def add(prompt: str, **media: Path) -> None:
        content = [{"type": "text", "text": prompt}]
        for name, file in media.items():
            part = {"type": name.rstrip("0123456789"), "path": str(file)}
            content.insert(len(content) if name.startswith("audio") else len(content) - 1, part)
        lines.append(json.dumps({"messages": [{"role": "user", "content": content}]}))

    pictures = [file for file, _ in learned]
    for index, file in enumerate(pictures):
        asked = ABOUT_PICTURES[index % len(ABOUT_PICTURES)]
        color, shape = chance.choice(list(COLORS)), chance.choice(SHAPES)
        add(asked.format(color=color, shape=shape), image=file)
    for one, other in zip(pictures[:12:2], pictures[1:12:2], strict=True):
        add("Do these images show the same?", image=one, image2=other)
    samples = ROOT / "fixtures" / "samples"
    for recording in sorted(samples.glob("speech*.wav")):
        add(transcription(), audio=recording)
        add(transcription("English"), audio=recording)
    for number, sentence in enumerate(GERMAN):
        file = spoken(sentence, "de", folder / f"german{number}.wav")
        add(transcription("German"), audio=file)
        add(translation("German", "English"), audio=file)
    for number, (sentence, shown) in enumerate(zip(SPOKEN, pictures, strict=False)):
        said = spoken(sentence, "en", folder / f"question{number}.wav")
        add("Answer the question.", image=shown, audio=said)
    for number, clip in enumerate(sorted(samples.glob("video*.mp4"))):
        for question in (DESCRIBE_VIDEO, "How many scenes are there?", "What is shown at 00:00?"):
            add(question, video=clip)
        for word in range(2):
            sound = samples / f"speech{2 * number + word:02}.wav"
            add(DESCRIBE_VIDEO, video=with_sound(clip, sound, folder / f"{number}{word}.mp4"))
    for question in TALK:
        add(question)
    file = folder / "keep.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def spoken(sentence: str, language: str, file: Path) -> Path:
    """A recording of a sentence, by espeak-ng."""
    subprocess.run(["espeak-ng", "-v", language, "-w", str(file), sentence], check=True)
    return file


def with_sound(clip: Path, sound: Path, file: Path) -> Path:
    """A clip with that sound, by ffmpeg."""
    command = ["ffmpeg", "-v", "error", "-i", clip, "-i", sound, "-c:v", "copy", "-c:a", "aac"]
    subprocess.run([*map(str, command), str(file)], check=True)
    return file


def place_order(place: str) -> tuple[int, int]:
    column, row = PLACES[place]
    return row, column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--asked", type=int, default=40, help="pictures that are asked about")
    parser.add_argument("--keep", action="store_true", help="name prompts to be kept")
    parser.add_argument("-o", "--output", type=Path, help="keep the adapter in this folder")
    parser.add_argument("--no-forgotten", action="store_true", help="leave out what is forgotten")
    given, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        chance = random.Random(7)
        learned = draw(Path(scratch, "learned"), given.pictures, chance)
        asked = draw(Path(scratch, "asked"), given.asked, chance)
        asked = [each for each in asked if each[1] not in {text for _, text in learned}]
        adapter = given.output or Path(scratch, "adapter")
        started = monotonic()
        if given.keep:
            options += ["--keep", str(prompts_to_keep(learned, Path(scratch, "keep")))]
        command = [sys.executable, "-m", "gemma4cli", "tune", str(Path(scratch, "learned"))]
        subprocess.run([*command, "-m", "tiny", "-o", str(adapter), *options], check=True)
        seconds = monotonic() - started
        report(adapter, asked, seconds, forgotten=not given.no_forgotten)


def report(
    adapter: Path, asked: list[tuple[Path, str]], seconds: float, *, forgotten: bool
) -> None:
    """Tables of what is said with the adapter and without, and a line of JSON."""
    from support.answered import Asked, answered

    import gemma4cli
    from gemma4cli import GenerateOptions

    models = {
        "without": gemma4cli.load("tiny"),
        "with": gemma4cli.load("tiny", adapter=str(adapter)),
    }
    greedy = GenerateOptions(temperature=0)
    right = dict.fromkeys(models, 0)
    print("\npictures that were not learned from\n")
    for number, (picture_file, text) in enumerate(asked):
        answers = {
            name: gemma4cli.generate(
                model, "Describe this image.", images=[picture_file], options=greedy
            )
            for name, model in models.items()
        }
        for name, answer in answers.items():
            right[name] += answer == text
        if number < 8:
            print(f"  wanted   {text}")
            for name, answer in answers.items():
                print(f"  {name:8s} {answer}")
            print()
    print(f"right: {right['with']} of {len(asked)} with the adapter, {right['without']} without")
    shares: dict[str, dict[str, float]] = {}
    if forgotten:
        cases = answered(ROOT / "fixtures" / "held_out" / "tiny.json")
        cases = [each for each in cases if each.case.budget is None]
        shares = {name: Asked(model).right_shares(cases) for name, model in models.items()}
        print("\nshare that is right of what was known before, by the cases of fixtures/held_out\n")
        print("| | without | with the adapter |\n|-|-|-|")
        for group, share in shares["without"].items():
            print(f"| {group} | {share:.3f} | {shares['with'][group]:.3f} |")
    print(json.dumps({"seconds": round(seconds), "right": right, "asked": len(asked)} | shares))


if __name__ == "__main__":
    main()
