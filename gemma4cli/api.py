"""Python's door to g4: load a model, generate from it, ask what models there are.

    model = load("tiny")
    print(generate(model, "Describe this image.", images=["scene.png"]))

mlx is imported by the calls, not by the import of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .events import Event, Finished, LoadProgress
from .messages import AudioPart, ImagePart, Part, Source, TextPart, VideoPart
from .options import GenerateOptions, LoadOptions, MediaOptions, TranscribeOptions
from .transcript import RecordingFailed, RecordingFinished, Segment, TranscriptEvent

if TYPE_CHECKING:
    from .engine.hub import ModelEntry
    from .engine.info import ModelInfo
    from .engine.model import LoadedModel

Media = Source | str | Path | bytes
"""A file, its bytes, or a ready source."""


def load(
    name: str,
    *,
    options: LoadOptions | None = None,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> LoadedModel:
    """Load a model by alias, folder or hub id (cached ones only; nothing is downloaded).

    Raises LoadError.
    """
    from .engine.backend import require_backend
    from .engine.hub import resolve

    folder = resolve(name)
    require_backend()
    from .engine.loading import load_folder

    return load_folder(name, folder, options or LoadOptions(), on_progress)


def content_of(
    prompt: str,
    *,
    images: Sequence[Media] = (),
    audio: Sequence[Media] = (),
    videos: Sequence[Media] = (),
) -> tuple[Part, ...]:
    """A user message in the model card's order: images and videos, text, audio."""
    return (
        *(ImagePart(source=Source.of(item)) for item in images),
        *(VideoPart(source=Source.of(item)) for item in videos),
        TextPart(text=prompt),
        *(AudioPart(source=Source.of(item)) for item in audio),
    )


def stream_generate(
    model: LoadedModel,
    prompt: str,
    *,
    images: Sequence[Media] = (),
    audio: Sequence[Media] = (),
    videos: Sequence[Media] = (),
    system: str | None = None,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
) -> Iterator[Event]:
    """Stream the answer to one prompt; the last event is Finished. Closing the stream cancels.

    Raises MediaError, PromptError, NonFiniteError.
    """
    from .session import Chat

    content = content_of(prompt, images=images, audio=audio, videos=videos)
    yield from Chat(model, system=system, media=media).send(content, options)


def generate(
    model: LoadedModel,
    prompt: str,
    *,
    images: Sequence[Media] = (),
    audio: Sequence[Media] = (),
    videos: Sequence[Media] = (),
    system: str | None = None,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
) -> str:
    """The answer to one prompt, as text without thoughts."""
    text = ""
    for event in stream_generate(
        model,
        prompt,
        images=images,
        audio=audio,
        videos=videos,
        system=system,
        options=options,
        media=media,
    ):
        if isinstance(event, Finished):
            text = event.text
    return text


def stream_transcribe(
    model: LoadedModel,
    recordings: Sequence[Media],
    *,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions | None = None,
) -> Iterator[TranscriptEvent]:
    """Write down recordings of any length, one after the other, as a stream of events.

    Decoding is greedy unless ``generate`` has a temperature. Nothing is kept on disk. Raises
    UnsupportedModalityError; a recording that cannot be read is the event RecordingFailed.
    """
    from .transcription.batching import batch_size
    from .transcription.recordings import FileRecording
    from .transcription.transcriber import transcribe

    options = options or TranscribeOptions()
    sources = [Source.of(each) for each in recordings]
    yield from transcribe(
        model,
        [FileRecording(partial(_same, source)) for source in sources],
        options,
        generate or GenerateOptions(temperature=0.0),
        batch=options.batch or batch_size(model),
    )


def _same(source: Source) -> Source:
    return source


def transcribe(
    model: LoadedModel,
    recording: Media,
    *,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions | None = None,
) -> tuple[Segment, ...]:
    """What is said in one recording of any length. Raises MediaError, UnsupportedModalityError."""
    segments: tuple[Segment, ...] = ()
    for event in stream_transcribe(model, [recording], options=options, generate=generate):
        if isinstance(event, RecordingFailed):
            raise event.error
        if isinstance(event, RecordingFinished):
            segments = event.segments
    return segments


def list_models() -> list[ModelEntry]:
    """Every model that runs without a download."""
    from .engine.hub import available

    return available()


def default_model() -> str | None:
    """The largest cached model that fits this machine's memory; None where none does."""
    from .engine.hub import largest_that_fits

    entry = largest_that_fits()
    return None if entry is None else entry.name


def model_path(name: str) -> Path:
    """The folder of a model. Raises ModelNotFoundError."""
    from .engine.hub import resolve

    return resolve(name)


def model_info(name: str) -> ModelInfo:
    """What a model is, from its config and its tensors' headers; no weight is read."""
    from .engine.backend import require_backend
    from .engine.hub import resolve

    folder = resolve(name)
    require_backend()
    from .engine.info import describe

    return describe(name, folder)
