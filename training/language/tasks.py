"""The tasks of the language model: conversations made from clips, pictures and small talk."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gemma4cli import prompts
from gemma4cli.processing.prompt import AudioSlot, ImageSlot, VideoSlot

from .. import videos
from ..choosing import choice, one
from ..pictures.captions import caption, phrase, sentence
from ..pictures.compare import comparison
from ..pictures.description import Picture, Thing
from ..pictures.features import Shown
from ..pictures.questions import DESCRIBE_AND_TRANSCRIBE, Question, questions
from ..speech.audio_features import Heard
from ..speech.clips import LONGEST_CLIP, MOST_TOKENS
from . import small_talk
from .dialogues import Turn
from .joining import JOINED
from .sources import Clips, Pictures

LANGUAGE_NAMES = {"en": "English", "de": "German"}
_SPEECH = {
    "sentence": 0.12,
    "sentences": 0.11,
    "cut": 0.20,
    JOINED: 0.26,
    "random words": 0.10,
    "question": 0.02,
    "numbers": 0.11,
    "german": 0.05,
    "german sentences": 0.03,
    "no words": 0.04,
}
_SYSTEM = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a friendly assistant. Answer in one sentence.",
    "Be precise.",
)
_DESCRIBE = (
    "What is in this image?", "What do you see?", "What does the image show?", "What is this?",
    "Describe the picture.", "Describe the image.", "What is in the picture?",
    "Describe this picture.", "Caption this image.", "describe",
)  # fmt: skip
_TRANSCRIBE = (
    "Transcribe the speech.", "Transcribe this audio.", "Transcribe this.", "What is said?",
    "What do you hear?", "Write down what is said.", "Transcribe the audio.", "What did I say?",
)  # fmt: skip
_DESCRIBE_VIDEO = (
    "What happens in this video?", "What does the video show?", "Describe the video.",
    "What do you see?", "Summarize this video.", "What is shown in this video?",
)  # fmt: skip
_ORDINALS = ("first", "second", "third", "fourth")
_FRAMES = {videos.FRAMES: 0.7, 3: 0.05, 4: 0.1, 8: 0.15}


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Turns, and their media in order: pictures and sounds."""

    turns: tuple[Turn, ...]
    pictures: tuple[Shown, ...] = ()
    sounds: tuple[Heard, ...] = ()
    system: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    clips: Clips
    pictures: Pictures


Task = Callable[[np.random.Generator, Library], Conversation]
Shares = dict[Task, float]


def conversation(rng: np.random.Generator, library: Library, shares: Shares) -> Conversation:
    """A random conversation, of each task as often as its share says."""
    return choice(rng, shares)(rng, library)


def transcribe(rng: np.random.Generator, library: Library) -> Conversation:
    clip = library.clips.any(rng, _SPEECH)
    turn = Turn(parts=(_transcription_prompt(rng, clip), _audio(clip)), answer=clip.written)
    return Conversation(turns=(turn,), sounds=(clip,))


def translate(rng: np.random.Generator, library: Library) -> Conversation:
    """German to English in the card's two lines."""
    clip = library.clips.any(rng, {"german": 0.75, "german sentences": 0.25})
    spoken = None if rng.random() < 0.4 else "German"
    turn = Turn(
        parts=(prompts.translation(spoken, "English"), _audio(clip)),
        answer=f"{clip.written}\nEnglish: {clip.english}" if clip.written else "",
    )
    return Conversation(turns=(turn,), sounds=(clip,))


def describe(rng: np.random.Generator, library: Library) -> Conversation:
    """A picture, described and then asked about, or asked about at once."""
    shown = library.pictures.any(rng)
    asked = [
        _asked(question) for question in questions(shown.picture, rng, int(rng.integers(1, 6)))
    ]
    first = Turn(parts=(_describe_prompt(rng),), answer=caption(shown.picture))
    turns = [first, *asked] if rng.random() < 0.65 else [*asked, first]
    turns[0] = replace(turns[0], parts=(_image(shown), *turns[0].parts))
    return Conversation(turns=tuple(turns), pictures=(shown,), system=_system(rng))


def compare(rng: np.random.Generator, library: Library) -> Conversation:
    """Two or three pictures in one turn."""
    first, second = library.pictures.any(rng), library.pictures.any(rng)
    if rng.random() < 0.12:
        second = first
    shown = [first, second]
    if rng.random() < 0.5:
        question, answer = comparison(first.picture, second.picture, rng)
    else:
        if rng.random() < 0.3:
            shown.append(library.pictures.any(rng))
        question = prompts.DESCRIBE_IMAGES
        answer = " ".join(
            f"The {ordinal} image shows {phrase(each.picture)}."
            for ordinal, each in zip(_ORDINALS, shown, strict=False)
        )
    turn = Turn(parts=(*map(_image, shown), question), answer=answer)
    return Conversation(turns=(turn,), pictures=tuple(shown))


def several_turns(rng: np.random.Generator, library: Library) -> Conversation:
    """A picture or a clip with every turn, questions about the latest picture between them."""
    turns: list[Turn] = []
    pictures: list[Shown] = []
    sounds: list[Heard] = []
    seen: Picture | None = None
    for _ in range(int(rng.integers(2, 5))):
        kind = choice(rng, {"picture": 0.4, "clip": 0.2, "question": 0.3, "talk": 0.1})
        if kind == "question" and seen is not None:
            turns.append(_asked(questions(seen, rng, 1)[0]))
        elif kind == "clip":
            clip = library.clips.any(rng, {"sentence": 0.8, "german": 0.2})
            asked = _transcription_prompt(rng, clip)
            turns.append(Turn(parts=(asked, _audio(clip)), answer=clip.written))
            sounds.append(clip)
        elif kind == "talk":
            turns.append(_talk(rng))
        else:
            shown = library.pictures.any(rng)
            seen = shown.picture
            turns.append(Turn(parts=(_image(shown), _describe_prompt(rng)), answer=caption(seen)))
            pictures.append(shown)
    return Conversation(
        turns=tuple(turns), pictures=tuple(pictures), sounds=tuple(sounds), system=_system(rng)
    )


def watch(rng: np.random.Generator, library: Library) -> Conversation:
    """A video, described and asked about; its sound, if any, is heard but nobody speaks."""
    video, frames, slot, stills = _clip_of_stills(rng, library)
    asked = videos.video_questions(video, rng, frames)
    asked = [asked[int(i)] for i in rng.permutation(len(asked))]
    described = (_video_prompt(rng), videos.video_caption(video, frames))
    texts = [described, *asked] if rng.random() < 0.7 else [*asked[:1], described]
    sounds: tuple[Heard, ...] = ()
    if rng.random() < 0.15:
        sounds = tuple(_quiet(rng, library) for _ in _spans(video))
    parts = _with_sound(rng, slot, texts[0][0], sounds, video)
    turns = [Turn(parts=parts, answer=texts[0][1])]
    turns += [Turn(parts=(text,), answer=answer) for text, answer in texts[1:]]
    return Conversation(turns=tuple(turns), pictures=stills, sounds=sounds)


def watch_and_listen(rng: np.random.Generator, library: Library) -> Conversation:
    """A video in which somebody speaks, in one of the stretches that are heard at once."""
    video, frames, slot, stills = _clip_of_stills(rng, library)
    clip = library.clips.any(rng, {"sentence": 0.7, "sentences": 0.15, "german": 0.15})
    spans = _spans(video)
    # Mostly the sound begins with the picture.
    speaks = 0 if rng.random() < 0.6 else int(rng.integers(len(spans)))
    # A sound that is shorter than the picture has no silence at its end.
    last = speaks + 1 if rng.random() < 0.5 else len(spans)
    sounds = tuple(
        _with_rest(rng, library, clip) if number == speaks else _quiet(rng, library)
        for number in range(last)
    )
    seen = videos.video_caption(video, frames)
    asked = choice(rng, {"both": 0.7, "said": 0.3})
    if asked == "both":
        texts = [(_video_prompt(rng), f"{seen} A voice says: {clip.written}.")]
    else:
        texts = [("What is said in this video?", _quoted(clip))]
    if rng.random() < 0.3:
        texts.append(("What does the voice say?", _quoted(clip)))
    parts = _with_sound(rng, slot, texts[0][0], sounds, video)
    turns = [Turn(parts=parts, answer=texts[0][1])]
    turns += [Turn(parts=(text,), answer=answer) for text, answer in texts[1:]]
    return Conversation(turns=tuple(turns), pictures=stills, sounds=sounds)


def see_and_listen(rng: np.random.Generator, library: Library) -> Conversation:
    """A picture and a clip in one turn: a spoken question about it, or both described."""
    shown = library.pictures.any(rng)
    for question in questions(shown.picture, rng, 6):
        if question.spoken is None or rng.random() < 0.25:
            continue
        clip = library.clips.saying(rng, question.spoken)
        if clip is not None:
            text = one(rng, ("Answer the question.", "Answer the spoken question.", ""))
            return _seen_and_heard(shown, clip, text, question.answer, about=question.things)
    clip = library.clips.any(rng, {"sentence": 0.8, "german": 0.2})
    answer = f"{caption(shown.picture)} A voice says: {clip.written}."
    return _seen_and_heard(shown, clip, DESCRIBE_AND_TRANSCRIBE, answer)


def chat(rng: np.random.Generator, library: Library) -> Conversation:
    """Small talk of one to three turns."""
    turns = tuple(_talk(rng) for _ in range(int(rng.integers(1, 4))))
    return Conversation(turns=turns, system=_system(rng))


def think(rng: np.random.Generator, library: Library) -> Conversation:
    """An answer with a thought before it: what is seen, or what is asked for."""
    if rng.random() < 0.3:
        turn = _talk(rng)
        known = turn.answer not in (small_talk.UNKNOWN, small_talk.UNABLE)
        thought = "This is about me." if known else "I have not learned this."
        return Conversation(turns=(Turn(parts=turn.parts, answer=turn.answer, thought=thought),))
    shown = library.pictures.any(rng)
    thought = sentence(f"the image shows {phrase(shown.picture)}")
    if rng.random() < 0.5:
        text, answer = _describe_prompt(rng), caption(shown.picture)
    else:
        question = questions(shown.picture, rng, 1)[0]
        text, answer = question.text, question.answer
    turn = Turn(parts=(_image(shown), text), answer=answer, thought=thought)
    return Conversation(turns=(turn,), pictures=(shown,))


SHARES: Shares = {
    transcribe: 0.32,
    translate: 0.03,
    describe: 0.25,
    compare: 0.06,
    several_turns: 0.04,
    watch: 0.13,
    watch_and_listen: 0.06,
    see_and_listen: 0.07,
    chat: 0.03,
    think: 0.01,
}
WITHOUT_PICTURES: Shares = {task: SHARES[task] for task in (transcribe, translate, chat)}


def with_transcripts(part: float) -> Shares:
    """The shares of all tasks if ``part`` of the conversations are transcripts."""
    others = sum(SHARES.values()) - SHARES[transcribe]
    rest = {task: share * (1 - part) / others for task, share in SHARES.items()}
    return rest | {transcribe: part}


def _image(shown: Shown) -> ImageSlot:
    return ImageSlot(soft_tokens=len(shown.tokens))


def _audio(clip: Heard) -> AudioSlot:
    return AudioSlot(soft_tokens=len(clip.tokens))


def _quoted(clip: Heard) -> str:
    return f"A voice says: {clip.written}."


def _asked(question: Question) -> Turn:
    return Turn(parts=(question.text,), answer=question.answer, about=question.things)


def _seen_and_heard(
    shown: Shown, clip: Heard, text: str, answer: str, *, about: tuple[Thing, ...] = ()
) -> Conversation:
    parts = (_image(shown), text, _audio(clip)) if text else (_image(shown), _audio(clip))
    turn = Turn(parts=parts, answer=answer, about=about)
    return Conversation(turns=(turn,), pictures=(shown,), sounds=(clip,))


def _spans(video: videos.Video) -> list[float]:
    """Where the equal stretches of a video end whose sound is heard at once, in seconds."""
    count = math.ceil(video.duration / LONGEST_CLIP)
    return [video.duration * (number + 1) / count for number in range(count)]


def _quiet(rng: np.random.Generator, library: Library) -> Heard:
    return library.clips.any(rng, {"no words": 1.0})


def _with_rest(rng: np.random.Generator, library: Library, clip: Heard) -> Heard:
    """A clip, now and then with a while in which nobody speaks before or behind it."""
    if rng.random() < 0.5:
        return clip
    rest = _quiet(rng, library)
    before = 0
    both = [clip.tokens, rest.tokens]
    if rng.random() >= 0.8:
        before = len(rest.tokens)
        both.reverse()
    tokens = np.concatenate(both)[:MOST_TOKENS]
    spelled = tuple((before + at, word) for at, word in clip.spelled if before + at < len(tokens))
    return replace(clip, tokens=tokens, spelled=spelled)


def _with_sound(
    rng: np.random.Generator,
    slot: VideoSlot,
    text: str,
    sounds: tuple[Heard, ...],
    video: videos.Video,
) -> tuple[str | VideoSlot | AudioSlot, ...]:
    """Each stretch's frames and then its sound, or all sounds behind the text."""
    heard = [_audio(clip) for clip in sounds]
    if not heard:
        return slot, text
    if rng.random() < 0.15:
        return slot, text, *heard
    parts: list[VideoSlot | AudioSlot] = []
    begin = 0.0
    for number, end in enumerate(_spans(video)):
        shown = tuple(frame for frame in slot.frames if begin <= frame[0] < end)
        parts += [VideoSlot(frames=shown)] if shown else []
        parts += heard[number : number + 1]
        begin = end
    return *parts, text


def _clip_of_stills(
    rng: np.random.Generator, library: Library
) -> tuple[videos.Video, int, VideoSlot, tuple[Shown, ...]]:
    """A video, how many frames of it are shown, and those frames."""
    renderings: dict[int, tuple[Shown, Shown]] = {}

    def still(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
        pair = library.pictures.still(rng, size)
        renderings[id(pair[0].picture)] = pair
        return pair[0].picture

    frames = choice(rng, _FRAMES)
    video = videos.video(rng, still, frames)
    times = videos.sampled_times(video, frames)
    stills = tuple(one(rng, renderings[id(video.shown_at(seconds).picture)]) for seconds in times)
    lengths = (len(each.tokens) for each in stills)
    slot = VideoSlot(frames=tuple(zip(times, lengths, strict=True)))
    return video, frames, slot, stills


def _transcription_prompt(rng: np.random.Generator, clip: Heard) -> str:
    asked = rng.random()
    if asked < 0.45:
        return prompts.transcription()
    if asked < 0.8:
        return prompts.transcription(LANGUAGE_NAMES[clip.language])
    return one(rng, _TRANSCRIBE)


def _describe_prompt(rng: np.random.Generator) -> str:
    return prompts.DESCRIBE_IMAGE if rng.random() < 0.6 else one(rng, _DESCRIBE)


def _video_prompt(rng: np.random.Generator) -> str:
    return prompts.DESCRIBE_VIDEO if rng.random() < 0.7 else one(rng, _DESCRIBE_VIDEO)


def _talk(rng: np.random.Generator) -> Turn:
    maker = small_talk.talk if rng.random() < 0.65 else small_talk.anything_else
    text, answer = maker(rng)
    return Turn(parts=(text,), answer=answer)


def _system(rng: np.random.Generator) -> str | None:
    return one(rng, _SYSTEM) if rng.random() < 0.06 else None
