"""Make what the comparison needs, once: environments, llama.cpp, checkpoints, a picture, a clip."""

from __future__ import annotations

import shutil
import sys
import wave
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import llama_build
import numpy as np
from PIL import Image
from process import call, run

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / "fixtures" / "parity" / "checkpoints"
PICTURE = (1920, 1344)
"""Width and height: twice the size that is exactly 280 soft tokens of 48 x 48 pixels."""
CLIP_SECONDS, RATE = 30, 16000
VERSIONS = "import sys, importlib.metadata as m; print(*(m.version(n) for n in sys.argv[1:]))"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Where everything is.

    Attributes:
        shape: "E2B" or "12B".
        checkpoint: The folder that g4 and MLX's programs load.
        text: The language model's same weights as GGUF.
        towers: The towers as GGUF; not there for a model without.
        picture: A JPEG file.
        clip: A WAV file of 30 seconds.
        mlx: The Python of the environment with mlx-lm and mlx-vlm.
        llama: The folder of llama.cpp's programs.
        versions: Versions of the peers by name.
    """

    shape: str
    checkpoint: Path
    text: Path
    towers: Path
    picture: Path
    clip: Path
    mlx: Path
    llama: Path
    versions: dict[str, str] = field(default_factory=dict)


def prepare(folder: Path, shape: str, engines: Collection[str], *, amx: bool) -> Prepared:
    """Make whatever is missing in ``folder``; what is there stays.

    ``amx`` is whether llama.cpp may use it; a build with AMX that dies is replaced by one without.
    """
    if folder.is_relative_to(ROOT):
        raise SystemExit(f"{folder} is inside the repository; choose another with --folder")
    folder.mkdir(parents=True, exist_ok=True)
    prepared = Prepared(
        shape=shape,
        checkpoint=folder / shape / "mlx",
        text=folder / shape / "gguf" / "text.gguf",
        towers=folder / shape / "gguf" / "towers.gguf",
        picture=folder / "picture.jpg",
        clip=folder / "clip.wav",
        mlx=folder / "mlx" / "bin" / "python",
        llama=folder / ("llama-native" if amx else "llama-without-amx"),
    )
    once(prepared.checkpoint, lambda: make_checkpoint(prepared.checkpoint, shape))
    once(prepared.picture, lambda: draw(prepared.picture))
    once(prepared.clip, lambda: record(prepared.clip))
    if not {"mlx-lm", "mlx-vlm"}.isdisjoint(engines):
        make_mlx(folder, prepared)
    if "llama.cpp" in engines and not make_llama(folder, prepared, native=amx):
        return prepare(folder, shape, engines, amx=False)
    return prepared


def once(made: Path, make: Callable[[], None]) -> None:
    """Call ``make`` unless it has succeeded before."""
    done = made.with_name(f".{made.name}.done")
    if not done.exists():
        print(f"making {made}", file=sys.stderr)
        make()
        done.touch()


def make_checkpoint(folder: Path, shape: str) -> None:
    script = ROOT / "benchmarks" / "random_checkpoint.py"
    call(sys.executable, script, f"{shape}.mlx-community-4bit", folder)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        shutil.copy(CHECKPOINTS / shape.lower() / name, folder)


def draw(path: Path) -> None:
    """Gradients and grain: a JPEG of a photograph's size."""
    width, height = PICTURE
    row, column = np.mgrid[0:height, 0:width]
    planes = (column * 255 / width, row * 255 / height, (column + row) % 256)
    pixels = np.stack(planes, axis=-1)
    pixels += np.random.default_rng(0).normal(0, 8, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def record(path: Path) -> None:
    """A tone in noise."""
    count = CLIP_SECONDS * RATE
    samples = 0.2 * np.sin(2 * np.pi * 220 * np.arange(count) / RATE)
    samples += np.random.default_rng(0).normal(0, 0.05, count)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def make_environment(folder: Path, *packages: str | Path) -> None:
    call(sys.executable, "-m", "venv", "--clear", folder)
    call(folder / "bin" / "python", "-m", "pip", "install", "-q", *packages)


def make_mlx(folder: Path, prepared: Prepared) -> None:
    mlx = "mlx[cpu]" if sys.platform == "linux" else "mlx"
    once(folder / "mlx", lambda: make_environment(folder / "mlx", mlx, "mlx-lm", "mlx-vlm"))
    names = ("mlx", "mlx-lm", "mlx-vlm", "transformers")
    found = run([prepared.mlx, "-c", VERSIONS, *names], 60).out.split()
    prepared.versions.update(zip(names, found, strict=True))


def make_llama(folder: Path, prepared: Prepared, *, native: bool) -> bool:
    """Build llama.cpp and write the GGUF files; False if the programs die."""
    tools = folder / "tools"
    sources = llama_build.source(folder)
    once(tools, lambda: make_environment(tools, "cmake", "ninja", sources / "gguf-py"))
    once(
        prepared.llama,
        lambda: llama_build.build(folder, sources, tools, prepared.llama, native=native),
    )
    script = Path(__file__).with_name("gguf_file.py")
    python, files = tools / "bin" / "python", prepared.text.parent
    once(files, lambda: call(python, script, prepared.checkpoint, files))
    trial = (prepared.llama / "llama-bench", "-m", prepared.text, "-p", "32", "-n", "2", "-r", "1")
    if native and (died := run([*trial, "-o", "jsonl"], 300).status) < 0:
        print(f"llama.cpp's native build died of signal {-died}", file=sys.stderr)
        return False
    version = sources.parents[1].name.rpartition("-")[2]
    kind = "native build" if native else "build without AMX"
    prepared.versions["llama.cpp"] = f"of llama-cpp-python {version}, {kind}"
    return True
