"""Ask a model: one question, one about each of many images, or about a long video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from ..conversations.image_batches import ImageEvent, ImageFailed
from ..events import Event, Finished, SegmentFinished
from ..messages import Media, Part, Source, content_of
from ..options import GenerateOptions, MediaOptions

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel


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
    from ..conversations.chat import Chat

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
    from ..conversations.image_batches import answer_each

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
    from ..conversations.video_segments import SegmentRun

    run = SegmentRun(
        source=Source.of(video),
        seconds=seconds,
        question=question,
        options=options or GenerateOptions(),
        media=media or MediaOptions(),
        known=known,
    )
    yield from run.events(model)
