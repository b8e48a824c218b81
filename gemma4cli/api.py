"""Python's door to g4: load a model, generate from it, ask what models there are.

    model = load("tiny")
    print(generate(model, "Describe this image.", images=["scene.png"]))

mlx is imported by the calls, not by the import of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .conversations.image_batches import ImageEvent, ImageFailed
from .events import Event, Finished, LoadProgress
from .messages import Media, Part, Source, content_of
from .options import (
    DType,
    GenerateOptions,
    LoadOptions,
    MediaOptions,
    TranscribeOptions,
)
from .transcript import RecordingFailed, RecordingFinished, Segment, TranscriptEvent

if TYPE_CHECKING:
    from .engine.model import LoadedModel
    from .engine.model_info import ModelInfo
    from .hub.cache import ModelEntry, PublishedModel, Removal
    from .hub.catalog import CatalogEntry
    from .hub.download import Download
    from .machine.device import Memory


def load(
    name: str,
    *,
    options: LoadOptions | None = None,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> LoadedModel:
    """Load a model by alias, folder or hub id (cached ones only; nothing is downloaded).

    Raises LoadError.
    """
    from .hub.cache import resolve
    from .machine.backend import require_backend

    folder = resolve(name)
    require_backend()
    from .engine.loading import load_folder

    return load_folder(name, folder, options or LoadOptions(), on_progress)


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
    from .conversations.chat import Chat

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


def stream_each(
    model: LoadedModel,
    prompt: str,
    images: Sequence[Media],
    *,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
    batch: int | None = None,
    opened: Callable[[Media], Source] = Source.of,
) -> Iterator[ImageEvent | ImageFailed]:
    """Put one question to each image; the last event of each is Finished, or ImageFailed.

    ``batch`` images are answered at once, whose events come in no order; None lets memory decide.
    An answer does not depend on it: with a seed, each image but the first draws by one of its own.
    No more than one batch is held. ``opened`` makes a source of an image when its turn comes.
    Closing the stream cancels.

    Raises OptionError for a batch of none, LoadError.
    """
    from .conversations.image_batches import answer_each

    def content(number: int) -> tuple[Part, ...]:
        return content_of(prompt, images=[opened(images[number])])

    options, media = options or GenerateOptions(), media or MediaOptions()
    yield from answer_each(model, len(images), content, options=options, media=media, batch=batch)


def stream_segments(
    model: LoadedModel,
    video: Media,
    seconds: float,
    *,
    question: str | None = None,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
) -> Iterator[Event]:
    """Answer a question about each segment of a long video, then about the whole.

    ``question`` None asks for a description. Each segment of ``seconds`` ends with the event
    SegmentFinished; the answer about the whole is made from theirs, and ends with Finished.

    Raises OptionError for segments under a second, MediaError where no segment can be read,
    otherwise as ``stream_generate``.
    """
    from .conversations.video_segments import SegmentRun

    run = SegmentRun(
        source=Source.of(video),
        seconds=seconds,
        question=question,
        options=options or GenerateOptions(),
        media=media or MediaOptions(),
    )
    yield from run.events(model)


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
    from .transcription.recordings import FileRecording
    from .transcription.transcriber import piece_batch_size, transcribe

    options = options or TranscribeOptions()
    yield from transcribe(
        model,
        [FileRecording(Source.of(each)) for each in recordings],
        options,
        generate or GenerateOptions(temperature=0.0),
        batch=options.batch or piece_batch_size(model),
    )


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
    from .hub.cache import available

    return available()


def default_model() -> str | None:
    """The largest cached model that fits this machine's memory; None where none does."""
    from .hub.cache import largest_that_fits

    entry = largest_that_fits()
    return None if entry is None else entry.name


def require_memory(name: str, dtype: DType = "auto") -> None:
    """Raise ModelTooLargeError for a model that has no room in memory, ModelNotFoundError."""
    from .engine.memory_limits import require_room_for_model
    from .hub.cache import resolve
    from .machine.backend import require_backend

    folder = resolve(name)
    require_backend()
    require_room_for_model(name, folder, dtype)


def machine_memory() -> Memory:
    """The memory that models have on this machine."""
    from .machine.device import model_memory

    return model_memory()


def published_models() -> dict[str, CatalogEntry]:
    """Alias to repository and size of every model that ``plan_download`` knows by a short name."""
    from .hub.catalog import CATALOG, alias_of

    entries = [entry for quants in CATALOG.values() for entry in quants.values()]
    return {alias_of(entry.repo) or entry.repo: entry for entry in entries}


def estimate_published() -> list[PublishedModel]:
    """The same with what each would take of this machine's memory, roughly."""
    from .hub.cache import published

    return published()


def recommended_model() -> str | None:
    """The alias that suits this machine's memory; None where all are too large."""
    from .hub.catalog import recommended
    from .machine.device import device, model_memory

    found = device()
    on_cpu = found is None or found.backend == "CPU"
    return recommended(model_memory().total, on_cpu=on_cpu)


def cache_folder() -> Path:
    """Where models are kept: the hub's cache, which other programs share."""
    from .hub.cache import cache_folder as folder

    return folder()


def builtin_models() -> list[str]:
    """Names of the models that ship inside the package."""
    from .hub.catalog import BUILTIN

    return list(BUILTIN)


def cached_repos() -> list[str]:
    """Hub ids of the Gemma 4 models in the cache; quick enough to be asked at a key press."""
    from .hub.cache import cached_repos as repos

    return repos()


def plan_download(name: str) -> Download:
    """Ask the hub what fetching a model takes. Raises ModelNotFoundError, DownloadError."""
    from .hub.cache import repo_of
    from .hub.download import plan

    return plan(repo_of(name))


def require_disk(planned: Download) -> None:
    """Raise DownloadError where the disk has no room for a download."""
    from .hub.download import require_disk as require

    require(planned)


def download(planned: Download, on_bytes: Callable[[int], None]) -> Path:
    """Fetch a model, or the rest of it; ``on_bytes`` is told how many bytes are there.

    Returns its folder. Raises DownloadError, and UnsupportedModelError for what is no Gemma 4.
    """
    from .hub.download import fetch

    return fetch(planned, on_bytes)


def plan_removal(name: str) -> Removal:
    """What deleting a model from the hub cache would free. Raises ModelNotFoundError."""
    from .hub.cache import plan_removal as plan

    return plan(name)


def remove(removal: Removal) -> None:
    """Delete a model from the hub cache. Raises DownloadError."""
    from .hub.cache import remove as delete

    delete(removal)


def model_path(name: str) -> Path:
    """The folder of a model. Raises ModelNotFoundError."""
    from .hub.cache import resolve

    return resolve(name)


def model_info(name: str) -> ModelInfo:
    """What a model is, from its config and its tensors' headers; no weight is read."""
    from .hub.cache import resolve
    from .machine.backend import require_backend

    folder = resolve(name)
    require_backend()
    from .engine.model_info import describe

    return describe(name, folder)
