"""The Python API: load a model, generate from it, transcribe, list the models there are.

    model = load("tiny")
    print(generate(model, "Describe this image.", images=["scene.png"]))

mlx is imported by the calls, not by the import of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from .conversations.image_batches import ImageEvent, ImageFailed
from .events import Event, Finished, LoadProgress, SegmentFinished
from .leftovers import temporary_folder
from .messages import Media, Part, Source, content_of
from .options import (
    GenerateOptions,
    LoadOptions,
    MediaOptions,
    TranscribeOptions,
)
from .transcript import RecordingFailed, RecordingFinished, Segment, TranscriptEvent

if TYPE_CHECKING:
    from .engine.answering import AnsweringModel
    from .engine.local import LocalModel
    from .engine.model_info import ModelInfo
    from .errors import Gemma4Error
    from .hub.cache import ModelEntry
    from .hub.resolved import ResolvedModel
    from .transcription.transcriber import Recording


def load(
    model: str | ResolvedModel,
    *,
    adapter: str | None = None,
    options: LoadOptions | None = None,
    drafter: ResolvedModel | None = None,
    lazy: bool = False,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> LocalModel:
    """Load a model that is on this machine; nothing is downloaded.

    Args:
        model: An alias ("tiny", "e2b:8bit"), a folder, a hub id, or a resolved model.
        adapter: A LoRA or DoRA for it: a folder or a hub id, in the layout of PEFT, mlx-lm or
            mlx-vlm. "MODEL+ADAPTER" as ``model`` means the same.
        options: The dtype to compute in, and the drafter.
        drafter: One that is resolved already, instead of that of the options.
        lazy: Read weights when they are first used: on a GPU those of towers, on a CPU all. Towers
            that are never used take no memory then, but only the thread that loads such a model
            can use it.
        on_progress: Called at each stage of loading, and on a GPU for each GB of weights.

    Returns:
        The model, for ``generate`` and the other functions. While it lives, settings of the process
        are changed, and put back afterwards: the variable MLX_ENABLE_TF32 is 0 unless it is set; on
        a CPU MLX compiles no functions; on a GPU it keeps few freed buffers, and on Metal may wire
        as much memory as the system recommends. MLX reads the variable once, at its first product,
        so its effect stays. One thread at a time may compute in a process: where several ask, use
        ``serving.queued_model.QueuedModel``.

    Raises:
        ModelNotFoundError: No such model is on this machine.
        CheckpointError: A file of the checkpoint is missing or broken.
        UnsupportedModelError: The checkpoint is not a Gemma 4.
        AdapterError: The adapter cannot be read, or does not fit the model.
        BackendMissingError: No backend of MLX is installed.
    """
    from .hub.cache import resolve, with_adapter
    from .hub.drafters import find_drafter
    from .machine.backend import require_backend

    options = options or LoadOptions()
    found = resolve(model) if isinstance(model, str) else model
    if adapter is not None:
        found = with_adapter(found, adapter)
    drafter = drafter or find_drafter(found, options.draft)
    require_backend()
    from .engine.loading import load_drafter, load_resolved, read_all

    loaded = load_resolved(found, options, on_progress)
    if drafter is not None:
        loaded = load_drafter(drafter, loaded)
    if not lazy:
        read_all(loaded)
    return loaded


def change_adapter(model: AnsweringModel, adapter: str | None) -> AnsweringModel:
    """A loaded model with another adapter, or without one; nothing else is loaded again.

    ``model`` goes on answering as it does; both share the weights. ``adapter`` is as for ``load``,
    and of a model that a server has loaded the name of one of the adapters there.
    Raises AdapterError.
    """
    from .remote.remote_model import RemoteModel

    if isinstance(model, RemoteModel):
        return model.with_adapter(adapter)
    from .engine.adapter_loading import with_adapter
    from .engine.local import LocalModel
    from .hub.adapters import find_adapter

    assert isinstance(model, LocalModel), "those of a queue are not handed out"
    plain = model.without_adapter or model
    return plain if adapter is None else with_adapter(plain, find_adapter(adapter))


def merge_adapter(model: str | ResolvedModel, folder: Path) -> Iterator[tuple[int, int]]:
    """Write a checkpoint with an adapter merged into a model's weights, in the model's layout.

    ``model`` is as for ``load``, with an adapter ("MODEL+ADAPTER"), and ``folder`` is empty. Yields
    how many bytes are done, and of how many. Raises LoadError, and OSError.
    """
    from .hub.cache import resolve
    from .machine.backend import require_backend

    found = resolve(model) if isinstance(model, str) else model
    require_backend()
    from .engine.merging import merge

    yield from merge(found, folder)


def connect(server: str, *, model: str | None = None, token: str | None = None) -> AnsweringModel:
    """The model of a running ``g4 serve``; nothing is loaded here, and mlx is not imported.

    Args:
        server: Its address: "http://studio:11535", "studio", "https://host/g4".
        model: Which of its models, by a name of its /v1/models; by default its first.
        token: What it wants of its clients, if it wants something.

    Returns:
        The model, for ``generate`` and the other functions, from several threads too. Media are
        opened here; the server gets pixels and frames of sound. Every call may raise ServerError.

    Raises:
        OptionError: ``server`` is no address.
        ServerError: There is no such server, or it does not let this client in.
    """
    from .remote.address import address_of
    from .remote.connection import Connection
    from .remote.remote_model import RemoteModel

    return RemoteModel(Connection(address_of(server), token), model)


def stream_generate(
    model: AnsweringModel,
    prompt: str,
    *,
    images: Sequence[Media] = (),
    audio: Sequence[Media] = (),
    videos: Sequence[Media] = (),
    system: str | None = None,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
) -> Iterator[Event]:
    """Stream the answer to one prompt. Closing the stream cancels the run.

    Images and videos are put before the prompt and audio after it, as the model card recommends.

    Args:
        model: The model; see ``load``.
        prompt: The question or instruction.
        images: Image files, their bytes, or sources.
        audio: Audio files of any sample rate (they are converted to 16 kHz mono), their bytes, or
            sources. Of a clip longer than the model takes (30 seconds except for the 12B), only
            the start is used, and a Notice says so.
        videos: Video files, their bytes, or sources. Frames are sampled from each; the sound is
            interleaved with them if the model takes audio.
        system: The system prompt.
        options: How the answer is generated. None means ``GenerateOptions()``.
        media: How the media are sampled. None means ``MediaOptions()``.

    Yields:
        Events: progress, then ThoughtDelta and TextDelta, at last one Finished with the whole
        answer, token counts and timings in seconds.

    Raises:
        MediaError: A file is missing, or cannot be decoded.
        UnsupportedModalityError: The model does not take one of the media.
        ContextLengthError: The prompt does not fit the model's context.
        PromptTooLargeError: The prompt does not fit the memory.
        OptionError: ``options.schema`` is not a JSON Schema that decoding can enforce.
        AnswerCutError: The answer may not be as long as the schema's shortest document.
        NonFiniteError: The model produced NaN or infinity.
    """
    from .conversations.chat import Chat

    content = content_of(prompt, images=images, audio=audio, videos=videos)
    yield from Chat(model, system=system, media=media).send(content, options)


def generate(
    model: AnsweringModel,
    prompt: str,
    *,
    images: Sequence[Media] = (),
    audio: Sequence[Media] = (),
    videos: Sequence[Media] = (),
    system: str | None = None,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
) -> str:
    """Generate the answer to one prompt.

    Args:
        model: The model; see ``load``.
        prompt: The question or instruction.
        images: Image files, their bytes, or sources.
        audio: Audio files, their bytes, or sources.
        videos: Video files, their bytes, or sources.
        system: The system prompt.
        options: How the answer is generated. None means ``GenerateOptions()``.
        media: How the media are sampled. None means ``MediaOptions()``.

    Returns:
        The text of the answer, without thoughts.

    Raises:
        Gemma4Error: As ``stream_generate``.
    """
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
    model: AnsweringModel,
    prompt: str,
    images: Sequence[Media],
    *,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
    batch: int | None = None,
    opened: Callable[[Media], Source] = Source.of,
    skip: AbstractSet[int] = frozenset(),
    positions: Sequence[int] | None = None,
) -> Iterator[ImageEvent | ImageFailed]:
    """Ask one question about each image. Closing the stream cancels the run.

    Args:
        model: The model; see ``load``.
        prompt: The question or instruction, the same for all images.
        images: Image files, their bytes, or sources. One batch of them is in memory at a time, and
            up to eight that threads decoded ahead of their turn, as large as the model sees them.
        options: How the answers are generated. With a seed, the first image uses it and each of
            the others a seed derived from it. None means ``GenerateOptions()``.
        media: How the images are sampled. None means ``MediaOptions()``.
        batch: How many images to answer at once, 1 or more; None chooses by the free memory.
            Answers do not depend on it. With 1, a drafter is used.
        opened: Turns an image into a source just before it is decoded.
        skip: Indexes of images not to ask about; the seeds of the others stay the same.
        positions: Where each image is in a longer list of which this is a part, whose seeds it
            gets. None means that this is all.

    Yields:
        For each image its events, the last one with Finished, or ImageFailed with the error. Each
        carries the index of its image; events of the images of a batch are interleaved.

    Raises:
        OptionError: ``batch`` is less than 1.
        LoadError: The weights, read when first used, are missing or broken.
    """
    from .conversations.image_batches import answer_each

    def content(number: int) -> tuple[Part, ...]:
        return content_of(prompt, images=[opened(images[number])])

    options, media = options or GenerateOptions(), media or MediaOptions()
    numbers = [number for number in range(len(images)) if number not in skip]
    yield from answer_each(
        model, numbers, content, options=options, media=media, batch=batch, positions=positions
    )


def stream_segments(
    model: AnsweringModel,
    video: Media,
    seconds: float,
    *,
    question: str | None = None,
    options: GenerateOptions | None = None,
    media: MediaOptions | None = None,
    known: Sequence[SegmentFinished] = (),
) -> Iterator[Event]:
    """Answer a question about each segment of a long video, then about the whole video.

    The answer about the whole is generated from the answers about the segments. Closing the
    stream cancels the run.

    Args:
        model: The model; see ``load``.
        video: A video file, its bytes, or a source that can be opened repeatedly.
        seconds: Length of a segment, 1 or more. A remainder shorter than 1 second is added to
            the last segment.
        question: What to ask about each segment and the whole. None asks for a description.
        options: How the answers are generated. None means ``GenerateOptions()``.
        media: How each segment is sampled. None means ``MediaOptions()``.
        known: Segments with an answer, of an earlier call that did not end; they are not asked
            about again.

    Yields:
        Events: for each segment its progress and text, then SegmentFinished with the answer or
        the error; at last one Finished with the answer about the whole, and the token counts and
        timings of all answers together.

    Raises:
        OptionError: ``seconds`` is less than 1.
        MediaError: No segment can be decoded.
        Gemma4Error: Otherwise as ``stream_generate``.
    """
    from .conversations.video_segments import SegmentRun

    run = SegmentRun(
        source=Source.of(video),
        seconds=seconds,
        question=question,
        options=options or GenerateOptions(),
        media=media or MediaOptions(),
        known=known,
    )
    yield from run.events(model)


def stream_transcribe(
    model: AnsweringModel,
    recordings: Sequence[Media | Recording],
    *,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions | None = None,
    journal: Path | None = None,
    restart: bool = False,
    opened: Callable[[Source], Source] = Source.of,
) -> Generator[TranscriptEvent, None, None]:
    """Transcribe recordings of any length, one after the other, as a stream of events.

    Each recording is decoded as a stream, converted to 16 kHz mono, and cut at pauses into pieces
    of at most 30 seconds, so memory does not grow with its length. Closing the stream cancels.

    Args:
        model: A model that takes audio; see ``load``.
        recordings: Files with an audio track, their bytes, or recordings such as a
            ``transcription.live.LiveRecording`` of a microphone. The source named "-",
            without path and data, is standard input.
        options: Languages, names that may occur, the audio track, what becomes of channels, the
            batch size, the longest piece in seconds.
        generate: How each piece is decoded. None means greedily.
        journal: A folder, created if missing, in which the finished pieces of each file are kept,
            so that the same call resumes after an interruption. The same call means the same
            files (path, size, modification time), model and options; the batch size may differ.
            Journals are removed once the last event was consumed, or when they are a month old.
            Bytes, pipes, standard input and live recordings have none.
        restart: Start over even if an interrupted call could be resumed.
        opened: Turns a file's source into another just before it is decoded.

    Returns:
        Events, in order for each recording: RecordingOpened, then SegmentReady and PieceDone, then
        RecordingFinished with all segments, or RecordingFailed if it cannot be read (any further).
        Times are in seconds from the start of the recording as players show it. A Notice says
        which of several audio tracks is used, or that a journal cannot be written or is used by
        another process; the call continues without it.

    Raises:
        UnsupportedModalityError: The model does not take audio; raised before anything is opened.
        PromptError: A piece does not fit the model's context or the memory.
        NonFiniteError: The model produced NaN or infinity.

    Example:
        for event in stream_transcribe(model, ["talk.mp3"], journal=Path("journals")):
            if isinstance(event, SegmentReady):
                print(event.segment.start, event.segment.text)
    """
    from .transcription.journal_folder import JournalFolder, run_facts
    from .transcription.recordings import FileRecording
    from .transcription.transcriber import limits_of, piece_batch_size, transcribe

    options = options or TranscribeOptions()
    generate = generate or GenerateOptions(temperature=0.0)
    with ExitStack() as stack:
        spool = stack.enter_context(temporary_folder())
        found = [
            FileRecording(Source.of(each), spool_to=spool, options=options, opened=opened)
            if isinstance(each, Source | str | Path | bytes)
            else each
            for each in recordings
        ]
        # Live pieces are not batched: the next one may take long to arrive.
        live = any(each.live for each in found)
        journals = None
        if journal is not None:
            facts = run_facts(model, limits_of(model, options), options, generate)
            journals = stack.enter_context(JournalFolder(journal, facts, restart=restart))
        yield from transcribe(
            model,
            found,
            options,
            generate,
            batch=1 if live else options.batch or piece_batch_size(model),
            journals=journals,
        )
        # Not earlier: a call interrupted after some of its recordings repeats none of them.
        if journals is not None:
            journals.forget()


def transcribe(
    model: AnsweringModel,
    recording: Media,
    *,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions | None = None,
    journal: Path | None = None,
    restart: bool = False,
) -> tuple[Segment, ...]:
    """Transcribe one recording of any length.

    Args:
        model: A model that takes audio; see ``load``.
        recording: A file with an audio track of any format and sample rate (it is converted to
            16 kHz mono), its bytes, or a source.
        options: Languages, names that may occur, the audio track, what becomes of channels, the
            batch size, the longest piece in seconds.
        generate: How each piece is decoded. None means greedily.
        journal: A folder in which finished pieces are kept, so that the same call resumes after
            an interruption; see ``stream_transcribe``. The journal is removed on return.
        restart: Start over even if an interrupted call could be resumed.

    Returns:
        Stretches of speech in order, none without text. Their times are in seconds from the start
        of the recording. Empty if the recording contains no speech.

    Raises:
        MediaError: The recording is missing, has no sound, or cannot be decoded to its end.
        UnsupportedModalityError: The model does not take audio.
        PromptError: A piece does not fit the model's context or the memory.
        NonFiniteError: The model produced NaN or infinity.

    Example:
        segments = transcribe(model, "talk.mp3", journal=Path("journals"))
        Path("talk.srt").write_text(subtitles.write_srt(segments), encoding="utf-8")
    """
    segments: tuple[Segment, ...] = ()
    error: Gemma4Error | None = None
    for event in stream_transcribe(
        model,
        [recording],
        options=options,
        generate=generate,
        journal=journal,
        restart=restart,
    ):
        match event:
            case RecordingFailed():
                error = event.error
            case RecordingFinished():
                segments = event.segments
    if error is not None:
        raise error
    return segments


def list_models() -> list[ModelEntry]:
    """List every model that runs without a download: built in, or in the hub's cache.

    Returns:
        The models, built-in ones first, then by size.
    """
    from .hub.cache import available

    return available()


def model_path(name: str) -> Path:
    """Find the folder of a model.

    Args:
        name: An alias, a folder or a hub id.

    Returns:
        The folder with its files.

    Raises:
        ModelNotFoundError: No such model is on this machine.
    """
    from .hub.cache import folder_of

    return folder_of(name)


def model_info(name: str, *, adapter: str | None = None) -> ModelInfo:
    """Describe a model from its config and its tensors' headers; no weight is read.

    Args:
        name: An alias, a folder or a hub id.
        adapter: An adapter for it, as in ``load``.

    Returns:
        Architecture, sizes, and the memory that prompts of several lengths take, in bytes.

    Raises:
        LoadError: The model is missing, broken or not a Gemma 4.
    """
    from .hub.cache import resolve
    from .machine.backend import require_backend

    found = resolve(name, adapter)
    require_backend()
    from .engine.model_info import describe

    return describe(found)
