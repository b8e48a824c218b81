"""The good inputs that are damaged: media of many formats, and what g4 itself writes.

``make_seeds`` runs models, so it is called in a process of its own.
"""

from __future__ import annotations

import os
import sys
import wave
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from gemma4cli.api import load
from gemma4cli.cli.app import app
from gemma4cli.cli.environment import Environment
from gemma4cli.decoded import AudioClip
from gemma4cli.decoded import Image as Picture
from gemma4cli.engine.answering import Prompt
from gemma4cli.errors import ContextLengthError
from gemma4cli.events import Event, Finished, TextDelta, Timings, ToolCallFinished, Usage
from gemma4cli.journal_file import JournalFile
from gemma4cli.messages import AudioPart, ImagePart, Message, Source, TextPart, ToolCall
from gemma4cli.options import GenerateOptions
from gemma4cli.wire.answers import error_line, event_line
from gemma4cli.wire.model_facts import Offer, facts_body, facts_of
from gemma4cli.wire.requests import ids_body, options_body, prompts_body, texts_body
from tests.support.sound_files import Track, write_tracks

from . import probes

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "fixtures" / "samples"
TINY = ROOT / "gemma4cli" / "builtin" / "tiny"

PICTURES = "pictures"
SOUNDS = "sounds"
CLIPS = "clips"
STATE = "state"
WIRE = "wire"
"""Folders of the seeds."""


def make_seeds(folder: Path) -> None:
    """Write all seeds below ``folder``, which is empty or not there."""
    for name in (PICTURES, SOUNDS, CLIPS):
        (folder / name).mkdir(parents=True)
    _pictures(folder / PICTURES)
    _sounds(folder / SOUNDS)
    _clips(folder / CLIPS)
    _wire(folder / WIRE)
    _state(folder / STATE)


def _pictures(folder: Path) -> None:
    picture = Image.open(SAMPLES / "image03.png").convert("RGB").resize((60, 44))
    palette = picture.quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = picture.convert("RGBA")
    alpha.putalpha(picture.convert("L"))
    frames = [picture.rotate(90 * turn) for turn in range(3)]
    made: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("rgb.png", picture, {}),
        ("palette.png", palette, {"transparency": 3}),
        ("alpha.png", alpha, {"dpi": (72, 72)}),
        ("gray.png", picture.convert("L"), {}),
        ("one.png", picture.convert("1"), {}),
        ("deep.png", Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27), {}),
        ("animated.png", frames[0], {"save_all": True, "append_images": frames[1:]}),
        ("plain.jpg", picture, {"exif": exif.tobytes()}),
        ("progressive.jpg", picture, {"progressive": True}),
        ("inks.jpg", picture.convert("CMYK"), {}),
        ("plain.gif", palette, {}),
        ("animated.gif", frames[0], {"save_all": True, "append_images": frames[1:]}),
        ("plain.webp", picture, {}),
        ("lossless.webp", alpha, {"lossless": True}),
        ("animated.webp", frames[0], {"save_all": True, "append_images": frames[1:]}),
        ("plain.tif", picture, {}),
        ("lzw.tif", palette, {"compression": "tiff_lzw"}),
        ("jpeg.tif", picture, {"compression": "jpeg"}),
        ("deflate.tif", picture.convert("I;16"), {"compression": "tiff_deflate"}),
        ("float.tif", picture.convert("F"), {}),
        ("pages.tif", frames[0], {"save_all": True, "append_images": frames[1:]}),
        ("plain.bmp", picture, {}),
        ("palette.bmp", palette, {}),
        ("plain.jp2", picture, {}),
        ("plain.avif", picture, {}),
        ("plain.ico", picture, {"sizes": [(32, 32), (16, 16)]}),
        ("plain.ppm", picture, {}),
        ("gray.pgm", picture.convert("L"), {}),
        ("plain.tga", picture, {"compression": "tga_rle"}),
        ("plain.pcx", picture, {}),
        ("plain.heic", picture, {}),
    ]
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    for name, image, options in made:
        # Not every Pillow writes every format.
        with suppress(OSError, KeyError, ValueError):
            image.save(folder / name, **options)
    for path in list(folder.iterdir()):
        if not path.stat().st_size:
            path.unlink()


def _speech(seconds: float) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    with wave.open(str(SAMPLES / "speech04.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples[None, : round(seconds * 16_000)]


def _sounds(folder: Path) -> None:
    speech = _speech(1.0)
    both = np.concatenate([speech, -speech])
    plans: list[tuple[str, list[Track], dict[str, object]]] = [
        ("plain.wav", [Track(samples=speech)], {}),
        ("stereo.wav", [Track(samples=both, layout="stereo")], {}),
        ("float.wav", [Track(samples=speech, codec="pcm_f32le")], {}),
        ("alaw.wav", [Track(samples=speech, codec="pcm_alaw")], {}),
        ("plain.aiff", [Track(samples=speech, codec="pcm_s16be")], {}),
        ("plain.au", [Track(samples=speech, codec="pcm_s16be")], {}),
        ("plain.caf", [Track(samples=speech)], {}),
        ("plain.flac", [Track(samples=speech, codec="flac")], {}),
        ("plain.mp3", [Track(samples=speech, codec="libmp3lame")], {}),
        ("plain.ogg", [Track(samples=speech, codec="libopus")], {}),
        ("plain.m4a", [Track(samples=speech, codec="aac")], {}),
        ("plain.wma", [Track(samples=speech, codec="wmav2")], {}),
        ("plain.ac3", [Track(samples=speech, codec="ac3")], {}),
        ("plain.aac", [Track(samples=speech, codec="aac")], {"format": "adts"}),
        ("two.mka", [Track(samples=speech, codec="flac"), Track(samples=speech, at=0.5)], {}),
        ("gap.mkv", [Track(samples=speech, at=1, pause_after=0.5, pause=2)], {"picture": 0.0}),
    ]
    for name, tracks, options in plans:
        with suppress(av.error.FFmpegError, ValueError):
            write_tracks(folder / name, *tracks, **options)  # type: ignore[arg-type]
    _drop_unreadable(folder)


_PICTURE_CODECS = (
    ("h264.mp4", "libx264", "yuv420p"),
    ("mpeg4.mp4", "mpeg4", "yuv420p"),
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("h264.mkv", "libx264", "yuv420p"),
    ("vp8.webm", "libvpx", "yuv420p"),
    ("vp9.webm", "libvpx-vp9", "yuv420p"),
    ("mjpeg.mov", "mjpeg", "yuvj420p"),
    ("mjpeg.avi", "mjpeg", "yuvj420p"),
    ("mpeg2.ts", "mpeg2video", "yuv420p"),
    ("mpeg2.mpg", "mpeg2video", "yuv420p"),
    ("h264.flv", "libx264", "yuv420p"),
    ("h264.3gp", "libx264", "yuv420p"),
    ("plain.gif", "gif", "rgb8"),
)


def _clips(folder: Path) -> None:
    for name, codec, form in _PICTURE_CODECS:
        with suppress(av.error.FFmpegError, ValueError):
            write_clip(folder / name, codec, form)
    _drop_unreadable(folder)


def write_clip(path: Path, codec: str, form: str, *, shade: int = 0) -> None:
    """Six frames and a second of sound; each ``shade`` gives other frames."""
    sound = {".avi": "libmp3lame", ".webm": "libopus", ".ts": "aac", ".mpg": "mp2"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25 if path.suffix == ".mpg" else 5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        heard = None
        if path.suffix not in (".gif", ".3gp"):
            codec = sound.get(path.suffix, "aac")
            rate = 48_000 if codec == "libopus" else 44_100
            heard = container.add_stream(codec, rate=rate, layout="mono")
        container.start_encoding()
        for number in range(6):
            pixels = np.full((48, 64, 3), (40 * number + shade) % 256, np.uint8)
            pixels[number * 6 : number * 6 + 8] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=form)
            frame.pts, frame.time_base = number, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if heard is not None:
            _write_sound(container, heard)


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    codec = stream.codec_context
    rate = codec.sample_rate
    resampler = av.AudioResampler(codec.format, "mono", rate, codec.frame_size or 1024)
    tone = (np.sin(np.arange(rate) / 20) * 9000).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def _drop_unreadable(folder: Path) -> None:
    """Remove what this build of libav could not write."""
    for path in list(folder.iterdir()):
        try:
            with av.open(str(path)) as container:
                next(container.decode())
        except (av.error.FFmpegError, StopIteration):
            path.unlink()


def _wire(folder: Path) -> None:
    """What a client and a server send each other about a picture and a sound."""
    folder.mkdir(parents=True)
    model = load("tiny")
    random = np.random.default_rng(1)
    medium = Source(name="medium")
    parts = (ImagePart(source=medium), TextPart(text="Which?"), AudioPart(source=medium))
    picture = random.integers(0, 256, (48, 64, 3), np.uint8)
    sound = random.standard_normal(8000, np.float32) / 10
    inputs = model.processor.prepare(
        [Message(role="user", content=parts)],
        [Picture(pixels=picture, name="a"), AudioClip(samples=sound, name="b")],
    )
    options = GenerateOptions(max_tokens=7, temperature=0.1, stop=("x",))
    prompt = Prompt(inputs=inputs, options=options)
    facts = facts_of(
        model.processor,
        {"<turn|>": 5},
        {"model": "tiny"},
        names=("tiny",),
        offers=(
            Offer(names=("tiny",), has_adapter=False),
            Offer(names=("a", "tiny+a"), has_adapter=True),
        ),
        context_length=model.context_length,
        slots=4,
        most_body=1 << 20,
        vocabulary=model.tokenizer.rows,
    )
    call = ToolCall(name="now", arguments={"zone": ["CET", 1]}, id="c1")
    finished = Finished(
        reason="stop", text="A", thoughts="", token_ids=(5,), usage=Usage(), timings=Timings()
    )
    events: list[Event] = [TextDelta(text="A"), ToolCallFinished(index=0, call=call), finished]
    lines = [*(event_line(1, each) for each in events), error_line(ContextLengthError(9, 8))]
    for name, content in {
        probes.PROMPTS: prompts_body([prompt, prompt]),
        probes.IDS: ids_body([[1, 2], [3]]),
        probes.TEXTS: texts_body(["a", "b"]),
        probes.OPTIONS: options_body(options),
        probes.FACTS: facts_body(facts),
        probes.LINES: b"".join(lines),
    }.items():
        (folder / name).write_bytes(content)


def _state(folder: Path) -> None:
    """A conversation as g4 saves it, and the journals of runs that have ended.

    This changes the process: no journal is removed in it any more.
    """
    folder.mkdir(parents=True)
    os.environ.update(XDG_STATE_HOME=str(folder), XDG_CONFIG_HOME=str(folder / "none"))
    os.chdir(folder)
    for name in ("image03.png", "image07.png", "speech04.wav"):
        (folder / name).write_bytes((SAMPLES / name).read_bytes())
    asked = ["-m", "tiny", "--max-tokens", "2"]
    _run("chat", "--session", "seed", "--image", "image03.png", "-p", "What is this?", *asked)
    _run("chat", "--session", "seed", "-p", "And this?", *asked)
    JournalFile.forget = lambda journal: None  # type: ignore[method-assign]
    _run("transcribe", "speech04.wav", "-m", "tiny")
    _run("describe", "image03.png", "image07.png", *asked)
    for kind in ("transcripts", "answers"):
        if not list((folder / "g4" / kind).glob("*.jsonl")):
            sys.exit(f"fuzz: no journal of {kind} was kept")


def _run(*args: str) -> None:
    with open(os.devnull, "r+", encoding="utf-8") as null:
        folder = Path.cwd()
        env = Environment(stdin=null, stdout=null, stderr=null, variables=os.environ, folder=folder)
        with suppress(SystemExit):
            app(args=list(args), obj=env)
