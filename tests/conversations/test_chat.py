"""Conversations: what their history holds after turns that went well, failed or were cancelled."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.samples import GREETING, SAMPLES, TEXT_OF

from gemma4cli.api import generate, stream_generate
from gemma4cli.conversations.chat import Chat, ContextUse
from gemma4cli.engine import local
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import (
    ConversationError,
    MediaError,
    MediaNotFoundError,
    NonFiniteError,
)
from gemma4cli.events import (
    AudioDecoded,
    DecodeProgress,
    EncodeProgress,
    Event,
    Finished,
    PicturesDecoded,
    PrefillProgress,
    TextDelta,
    ThoughtDelta,
    Timings,
    Usage,
    VideoPlanned,
    VideoSampled,
)
from gemma4cli.messages import (
    AudioPart,
    ImagePart,
    Message,
    Part,
    Role,
    Source,
    TextPart,
    ToolCall,
    VideoPart,
    content_of,
)
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.options import GenerateOptions, MediaOptions
from gemma4cli.processing import processor
from gemma4cli.processing.tokenizer import Tokenizer

STARS, SQUARES = "image00.png", "image05.png"
STARS_TEXT = TEXT_OF[STARS]


def with_image(text: str, name: str = STARS) -> tuple[Part, ...]:
    return content_of(text, images=[SAMPLES / name])


def say(chat: Chat, content: str | tuple[Part, ...]) -> str:
    """One turn; the answer."""
    *_, last = chat.send(content)
    assert isinstance(last, Finished)
    return last.text


def roles(chat: Chat) -> list[str]:
    return [message.role for message in chat.history]


@dataclass
class Engine:
    """The prompts that reach the engine, as text; and made-up events, where there are any.

    An exception among the events is raised when its turn comes.
    """

    prompts: list[str] = field(default_factory=list)
    events: tuple[Event | BaseException, ...] = ()

    def answer_with(self, *events: Event | BaseException) -> None:
        self.events = events


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    real = local.generate

    def answer(model: LoadedModel, inputs: Any, *others: Any) -> Iterator[Event]:
        made.prompts.append(inputs.text)
        if not made.events:
            yield from real(model, inputs, *others)
        for event in made.events:
            if isinstance(event, BaseException):
                raise event
            yield event

    monkeypatch.setattr(local, "generate", answer)
    return made


def finished(text: str, thoughts: str = "") -> Finished:
    return Finished(
        reason="stop",
        text=text,
        thoughts=thoughts,
        token_ids=(),
        usage=Usage(prompt_tokens=1, soft_tokens=0, completion_tokens=0),
        timings=Timings(encode=0, prefill=0, decode=0),
    )


def test_history_holds_both_sides(tiny: LoadedModel) -> None:
    chat = Chat(tiny, system="Be brief.")
    assert say(chat, "Hello") == GREETING
    assert chat.history == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hello"),
        Message(role="assistant", content=GREETING),
    )


def test_image_stays_with_its_turn(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    assert say(chat, with_image("Describe this image.")) == STARS_TEXT
    say(chat, "How many shapes are there?")
    say(chat, with_image("Describe this image.", SQUARES))
    first, second, third = engine.prompts
    assert second.startswith(first)
    assert third.startswith(second)
    one_image = "<|image>" + "<|image|>" * 64 + "<image|>"
    assert [text.count("<|image>") for text in engine.prompts] == [1, 1, 2]
    assert second.removeprefix(first).count("<|image|>") == 0
    assert first.startswith(f"<bos><|turn>user\n{one_image}")
    media = [
        [part.source.name for part in message.parts if isinstance(part, ImagePart)]
        for message in chat.history
    ]
    assert media == [[str(SAMPLES / STARS)], [], [], [], [str(SAMPLES / SQUARES)], []]


def test_second_question_is_about_the_image_of_the_first(tiny: LoadedModel) -> None:
    """The model was not trained for this, but with and without the image it answers apart."""
    with_an_image, without = Chat(tiny), Chat(tiny)
    say(with_an_image, with_image("Describe this image."))
    say(without, "Hello")
    question = "Describe this image."
    assert say(with_an_image, question) != say(without, question)


def test_media_are_opened_once(tiny: LoadedModel, tmp_path: Path) -> None:
    path = shutil.copy(SAMPLES / STARS, tmp_path)
    chat = Chat(tiny)
    say(chat, content_of("Describe this image.", images=[path]))
    Path(path).unlink()
    events = list(chat.send("How many shapes are there?"))
    assert not any(isinstance(event, DecodeProgress) for event in events)
    assert isinstance(events[-1], Finished)
    assert events[-1].usage.soft_tokens == 64


def test_a_cancelled_turn_keeps_its_partial_answer(tiny: LoadedModel) -> None:
    chat = Chat(tiny)
    said = ""
    stream = chat.send(with_image("Describe this image."))
    for event in stream:
        if isinstance(event, TextDelta):
            said += event.text
            if len(said) > 10:
                stream.close()
    assert 10 < len(said) < len(STARS_TEXT)
    assert STARS_TEXT.startswith(said)
    assert roles(chat) == ["user", "assistant"]
    assert chat.history[1].content == said


def test_a_conversation_continues_after_a_cancelled_turn(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    stream = chat.send("Hello")
    next(event for event in stream if isinstance(event, TextDelta))
    stream.close()
    say(chat, "Hello")
    assert roles(chat) == ["user", "assistant", "user", "assistant"]
    assert engine.prompts[1].count("<|turn>user\n") == 2
    assert engine.prompts[1].count("<|turn>model\n") == 2


def test_an_interrupt_inside_the_engine_keeps_the_partial_answer(
    tiny: LoadedModel, engine: Engine
) -> None:
    chat = Chat(tiny)
    engine.answer_with(TextDelta(text="He"), TextDelta(text="llo"), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(chat.send("Hello"))
    assert chat.history[-1] == Message(role="assistant", content="Hello")


@pytest.mark.parametrize("kind", [DecodeProgress, EncodeProgress, PrefillProgress])
def test_turn_that_is_cancelled_before_a_word_leaves_nothing(
    tiny: LoadedModel, kind: type[Event]
) -> None:
    chat = Chat(tiny, system="Be brief.")
    say(chat, "Hello")
    before = chat.history
    stream = chat.send(with_image("Describe this image."))
    next(event for event in stream if isinstance(event, kind))
    stream.close()
    assert chat.history == before


def test_turn_that_is_cancelled_in_its_thoughts_leaves_nothing(
    tiny: LoadedModel, engine: Engine
) -> None:
    chat = Chat(tiny)
    engine.answer_with(ThoughtDelta(text="Hm."), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(chat.send("Hello"))
    assert chat.history == ()


def test_failed_turn_leaves_nothing(tiny: LoadedModel) -> None:
    chat = Chat(tiny)
    say(chat, "Hello")
    before = chat.history
    with pytest.raises(MediaNotFoundError):
        say(chat, content_of("What is this?", images=[SAMPLES / STARS, "nowhere.png"]))
    assert chat.history == before
    assert say(chat, "Hello")


def test_turn_that_fails_in_the_engine_leaves_nothing(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    engine.answer_with(MediaError("a", "broken"))
    with pytest.raises(MediaError):
        say(chat, "Hello")
    assert chat.history == ()


def test_turn_that_fails_after_some_words_leaves_nothing(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    engine.answer_with(TextDelta(text="Hel"), NonFiniteError("decoding"))
    with pytest.raises(NonFiniteError):
        say(chat, "Hello")
    assert chat.history == ()


def test_turns_alternate_even_after_an_empty_answer(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    engine.answer_with(ThoughtDelta(text="Hm."), finished("", thoughts="Hm."))
    say(chat, "Hello")
    assert chat.history[-1] == Message(role="assistant", content="", thoughts="Hm.")
    say(chat, "Hello?")
    assert roles(chat) == ["user", "assistant", "user", "assistant"]


def test_thoughts_are_kept_apart_and_not_shown_again(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    thoughts = [ThoughtDelta(text="A gree"), ThoughtDelta(text="ting.")]
    engine.answer_with(*thoughts, TextDelta(text="Hi."), finished("Hi.", "A greeting."))
    say(chat, "Hello")
    engine.answer_with()
    assert chat.history[-1] == Message(role="assistant", content="Hi.", thoughts="A greeting.")
    say(chat, "Hello")
    assert "Hi.<turn|>" in engine.prompts[-1]
    assert "greeting" not in engine.prompts[-1]


def test_clear_keeps_the_system_prompt(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny, system="Be brief.")
    say(chat, with_image("Describe this image."))
    chat.clear()
    assert chat.history == (Message(role="system", content="Be brief."),)
    say(chat, "Hello")
    assert "Be brief." in engine.prompts[-1]
    assert "<|image" not in engine.prompts[-1]


# Going back


def spoken(*texts: str, system: str | None = None) -> list[Message]:
    """Messages of a conversation; the user's end in a question mark."""
    messages = [] if system is None else [Message(role="system", content=system)]
    for text in texts:
        role: Role = "user" if text.endswith("?") else "assistant"
        messages.append(Message(role=role, content=text))
    return messages


def chat_of(model: LoadedModel, *texts: str, system: str | None = None) -> Chat:
    chat = Chat(model)
    list(chat.load(spoken(*texts, system=system)))
    return chat


def test_undo_forgets_the_last_turn(tiny: LoadedModel) -> None:
    chat = chat_of(tiny, "A?", "a", "B?", "b", system="Be brief.")
    assert chat.undo()
    assert list(chat.history) == spoken("A?", "a", system="Be brief.")
    assert chat.undo()
    assert not chat.undo()
    assert list(chat.history) == spoken(system="Be brief.")


def test_undo_of_a_question_without_an_answer(tiny: LoadedModel) -> None:
    chat = chat_of(tiny, "A?", "a", "B?")
    assert chat.undo()
    assert list(chat.history) == spoken("A?", "a")


def test_undo_takes_calls_and_their_results_along(tiny: LoadedModel) -> None:
    chat = chat_of(tiny, "A?", "a", "B?")
    call = ToolCall(name="look", arguments={})
    result = Message(role="tool", content="x", name="look")
    list(chat.load([Message(role="assistant", content="", tool_calls=(call,)), result]))
    list(chat.load(spoken("b")))
    assert chat.undo()
    assert list(chat.history) == spoken("A?", "a")


def test_image_is_gone_with_its_turn(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    say(chat, "Hello")
    say(chat, with_image("Describe this image."))
    assert chat.undo()
    say(chat, "Hello")
    assert ["<|image>" in text for text in engine.prompts] == [False, True, False]


def test_retry_answers_again(tiny: LoadedModel, engine: Engine) -> None:
    chat = Chat(tiny)
    say(chat, with_image("Describe this image."))
    before = chat.history
    *_, last = chat.retry()
    assert isinstance(last, Finished)
    assert last.text == STARS_TEXT
    assert engine.prompts[0] == engine.prompts[1]
    assert chat.history == before
    engine.answer_with(TextDelta(text="Two."), finished("Two."))
    list(chat.retry())
    assert chat.history == (*before[:1], Message(role="assistant", content="Two."))


def test_a_question_without_an_answer_can_be_retried(tiny: LoadedModel) -> None:
    chat = chat_of(tiny, "Hello?")
    list(chat.retry())
    assert roles(chat) == ["user", "assistant"]


@pytest.mark.parametrize("texts", [(), ("a",)])
def test_a_retry_without_a_question_is_an_error(texts: tuple[str, ...], tiny: LoadedModel) -> None:
    chat = chat_of(tiny, *texts, system="Be brief.")
    before = chat.history
    with pytest.raises(ConversationError):
        list(chat.retry())
    assert chat.history == before


@pytest.mark.parametrize(
    "events",
    [
        [KeyboardInterrupt()],
        [ThoughtDelta(text="Hm."), KeyboardInterrupt()],
        [TextDelta(text="Bro"), NonFiniteError("decoding")],
    ],
)
def test_a_failed_retry_keeps_the_old_answer(
    events: list[Event | BaseException], tiny: LoadedModel, engine: Engine
) -> None:
    chat = chat_of(tiny, "A?", "a")
    engine.answer_with(*events)
    with pytest.raises((KeyboardInterrupt, NonFiniteError)):
        list(chat.retry())
    assert list(chat.history) == spoken("A?", "a")


def test_a_cancelled_retry_keeps_its_partial_answer(tiny: LoadedModel, engine: Engine) -> None:
    chat = chat_of(tiny, "A?", "a")
    engine.answer_with(TextDelta(text="ano"), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(chat.retry())
    assert list(chat.history) == spoken("A?", "ano")


def test_the_oldest_turn_is_dropped(subtests: pytest.Subtests, tiny: LoadedModel) -> None:
    for texts, dropped, left in [
        (("A?", "a", "B?", "b", "C?"), 1, ("B?", "b", "C?")),
        (("A?", "B?", "b", "C?", "c"), 2, ("C?", "c")),
        (("Hi.", "A?", "a", "B?", "b"), 1, ("B?", "b")),
        (("A?", "a"), 1, ()),
        (("A?",), 1, ()),
        ((), 0, ()),
    ]:
        for system in [None, "Be brief."]:
            with subtests.test(texts=texts, dropped=dropped, left=left, system=system):
                chat = chat_of(tiny, *texts, system=system)
                assert chat.drop_oldest() == dropped
                assert list(chat.history) == spoken(*left, system=system)


# What a conversation takes


def test_context_counts_what_the_next_prompt_will_repeat(tiny: LoadedModel) -> None:
    chat = Chat(tiny)
    assert chat.context() == ContextUse(tokens=0, limit=tiny.context_length)
    *_, last = chat.send(with_image("Describe this image."))
    assert isinstance(last, Finished)
    answered = chat.context().tokens
    assert answered >= last.usage.prompt_tokens + last.usage.completion_tokens
    assert chat.undo()
    list(chat.load([Message(role="user", content=with_image("Describe this image."))]))
    assert chat.context().tokens == last.usage.prompt_tokens


def test_context_follows_the_conversation(tiny: LoadedModel) -> None:
    chat = chat_of(tiny, "A?", "a", "B?", "b", system="Be brief.")
    sizes = [chat.context().tokens]
    for change in (chat.drop_oldest, chat.undo, chat.clear):
        change()
        sizes.append(chat.context().tokens)
    assert sizes[0] > sizes[1] > sizes[2] == sizes[3] > 0


def test_context_of_a_conversation_that_thinks(
    parity_model: Callable[[str], LoadedModel],
) -> None:
    chat = chat_of(parity_model("e2b"), "Hello?")
    before = chat.context().tokens
    *_, last = chat.reply(GenerateOptions(max_tokens=1, think=True))
    assert isinstance(last, Finished)
    assert chat.undo()
    list(chat.load(spoken("Hello?")))
    assert chat.context().tokens == last.usage.prompt_tokens > before


def test_context_is_measured_once(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a tower, and without another look while nothing changes."""
    chat = chat_of(tiny, "A?", "a")
    list(chat.load([Message(role="user", content=with_image("B?"))]))
    monkeypatch.setattr(Gemma4, "encode_images", None)
    first = chat.context()
    monkeypatch.setattr(Tokenizer, "encode", None)
    assert chat.context() == first


def test_media_are_prepared_once(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one budget; another budget asks for other patches."""
    prepared: list[str] = []
    for name in ("image_features", "audio_features"):
        real = getattr(processor, name)

        def noting(*given: Any, name: str = name, real: Any = real, **settings: Any) -> Any:
            prepared.append(name)
            return real(*given, **settings)

        monkeypatch.setattr(processor, name, noting)
    chat = Chat(tiny)
    options = GenerateOptions(max_tokens=1)
    media = content_of("?", images=[SAMPLES / STARS], audio=[SAMPLES / "speech00.wav"])
    list(chat.send(media, options))
    list(chat.send("How many shapes are there?", options))
    chat.context()
    assert prepared == ["image_features", "audio_features"]
    list(chat.send(with_image("And here?", SQUARES), options))
    assert prepared == ["image_features", "audio_features", "image_features"]
    chat.media = MediaOptions(budget=140)
    assert chat.context().tokens > 64
    assert prepared.count("image_features") == 4


@pytest.mark.parametrize(
    "messages",
    [[], [Message(role="system", content="x")], [Message(role="assistant", content="x")]],
)
def test_a_reply_without_a_question_is_an_error(tiny: LoadedModel, messages: list[Message]) -> None:
    chat = Chat(tiny)
    list(chat.load(messages))
    with pytest.raises(ConversationError, match="does not end with something to answer"):
        list(chat.reply())


def test_conversation_from_elsewhere(tiny: LoadedModel) -> None:
    chat = Chat(tiny)
    messages = [
        Message(role="user", content=with_image("What is this?")),
        Message(role="assistant", content="Two stars."),
        Message(role="user", content="Hello"),
    ]
    opening = list(chat.load(messages))
    reading, looked_at = opening
    assert reading == DecodeProgress(source=str(SAMPLES / STARS))
    assert isinstance(looked_at, PicturesDecoded)
    assert [picture.pixels.ndim for picture in looked_at.pictures] == [3]
    assert chat.history == tuple(messages)
    *_, last = chat.reply()
    assert isinstance(last, Finished)
    assert last.usage.soft_tokens == 64
    assert chat.history[-1] == Message(role="assistant", content=last.text)


def test_sampled_frames(tiny: LoadedModel, engine: Engine) -> None:
    frames = tuple(Source.of(SAMPLES / name) for name in (STARS, SQUARES))
    video = VideoPart(frames=frames, timestamps=(0.0, 61.5))
    chat = Chat(tiny, media=MediaOptions(video_budget=70))
    say(chat, (video, TextPart(text="Describe this video.")))
    assert "00:00 <|image>" in engine.prompts[0]
    assert "01:01 <|image>" in engine.prompts[0]


def test_events_of_media_come_before_those_of_the_answer(tiny: LoadedModel) -> None:
    sound, clip = str(SAMPLES / "speech00.wav"), str(SAMPLES / "video00.mp4")
    content = content_of("Describe this video.", videos=[clip], audio=[sound])
    events = list(Chat(tiny).send(content, GenerateOptions(max_tokens=1)))
    events = [event for event in events if not isinstance(event, PicturesDecoded)]
    plan = VideoPlanned(
        source=clip, frames=6, spacing=0.5, soft_tokens=384, sound_seconds=0, audio_pieces=0
    )
    assert events[:6] == [
        DecodeProgress(source=clip),
        plan,
        DecodeProgress(source=clip),
        VideoSampled(source=clip, timestamps=(0.0, 0.5, 1.0, 1.5, 2.0, 2.5)),
        DecodeProgress(source=sound),
        AudioDecoded(source=sound, seconds=pytest.approx(2.107, abs=1e-3)),
    ]
    kinds = [type(event) for event in events[6:]]
    assert kinds == sorted(kinds, key=[EncodeProgress, PrefillProgress, TextDelta, Finished].index)


def test_prompt_parts_have_the_order_of_the_model_card() -> None:
    content = content_of("Compare.", images=["a.png"], audio=["b.wav"], videos=["c.mp4", b"bytes"])
    assert content == (
        ImagePart(source=Source.of("a.png")),
        VideoPart(source=Source.of("c.mp4")),
        VideoPart(source=Source(name="<bytes>", data=b"bytes")),
        TextPart(text="Compare."),
        AudioPart(source=Source.of("b.wav")),
    )


def test_bytes_are_as_good_as_a_file(tiny: LoadedModel) -> None:
    data = (SAMPLES / STARS).read_bytes()
    assert generate(tiny, "Describe this image.", images=[data]) == STARS_TEXT


def test_stream_and_text_agree(tiny: LoadedModel) -> None:
    events = list(stream_generate(tiny, "Hello", system="Be brief."))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert isinstance(events[-1], Finished)
    assert events[-1].text == text == generate(tiny, "Hello", system="Be brief.")
