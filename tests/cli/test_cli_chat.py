"""``g4 chat`` with one question: from -p, from a pipe, from a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_runs import Exchange, assert_fails, finished, records, tiny_g4
from support.samples import COUNT, COUNTED, COUNTING, GREETING, TEXT_OF, sample

from gemma4cli.events import ThoughtDelta
from gemma4cli.messages import AudioPart, ImagePart, Message, Source, TextPart, VideoPart


def test_prompt() -> None:
    result = tiny_g4("chat", "-p", "Hello")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{GREETING}\n", "")


def test_text_from_a_pipe() -> None:
    assert tiny_g4("chat", stdin="Hello\n").stdout == f"{GREETING}\n"


def test_prompt_is_the_instruction_and_the_pipe_its_material(sent: Exchange) -> None:
    tiny_g4("chat", "-p", "Sum up:", stdin="One.\n\nTwo: é.\n")
    assert sent.text == "Sum up:\n\nOne.\n\nTwo: é."


def test_media_have_the_order_of_the_model_card(sent: Exchange) -> None:
    arguments = "--audio a --image b --video c --image d --audio=e --video f --image=g"
    tiny_g4("chat", "-p", "Compare.", *arguments.split())
    (parts,) = sent.parts
    assert parts == (
        ImagePart(source=Source.of("b")),
        VideoPart(source=Source.of("c")),
        ImagePart(source=Source.of("d")),
        VideoPart(source=Source.of("f")),
        ImagePart(source=Source.of("g")),
        TextPart(text="Compare."),
        AudioPart(source=Source.of("a")),
        AudioPart(source=Source.of("e")),
    )


@pytest.mark.parametrize("text", ["--image=a.png", "--image", "--", "--audio"])
def test_text_that_looks_like_an_option_attaches_nothing(sent: Exchange, text: str) -> None:
    result = tiny_g4("chat", "--image", "b.png", "--system", text, "-p", text)
    assert result.exit_code == 0
    assert sent.parts == [(ImagePart(source=Source.of("b.png")), TextPart(text=text))]


def test_image_and_sound_reach_the_model() -> None:
    image = ("--image", sample("image00.png"))
    sound = ("--audio", sample("speech00.wav"))
    result = tiny_g4("chat", "-p", "Hello", *image, *sound, "--json", "--max-tokens", "1")
    (record,) = records(result)
    assert record["usage"]["soft_tokens"] == 64 + 53


def test_image_from_standard_input_is_not_read_as_text() -> None:
    picture = Path(sample(COUNTED)).read_bytes()
    result = tiny_g4("chat", "-p", COUNTING, "--image", "-", stdin=picture)
    assert result.stdout == f"{COUNT}\n"


def test_system_prompt(sent: Exchange) -> None:
    tiny_g4("chat", "-p", "Hello", "--system", "Be brief.")
    assert sent.before == [(Message(role="system", content="Be brief."),)]


def test_system_prompt_reaches_the_model() -> None:
    (without,) = records(tiny_g4("chat", "-p", "Hello", "--json"))
    (given,) = records(tiny_g4("chat", "-p", "Hello", "--system", "Be brief.", "--json"))
    assert given["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]


def test_json_record_names_the_question(sent: Exchange) -> None:
    (record,) = records(tiny_g4("chat", "-p", "Hello", "--json"))
    assert (record["input"], record["text"]) == ("Hello", "Done.")
    assert record["timings"] == {"encode": 0.5, "prefill": 0.25, "decode": 0.125}


def test_thoughts_go_to_stderr(sent: Exchange) -> None:
    sent.events.insert(0, ThoughtDelta(text="Hm.\nWell."))
    result = tiny_g4("chat", "-p", "Hello", "--think")
    assert (result.stdout, result.stderr) == ("Done.\n", "Hm.\nWell.\n")
    assert tiny_g4("chat", "-p", "Hello", "--think", "-q").stderr == ""


def test_json_has_thoughts_if_there_are_any(sent: Exchange) -> None:
    sent.events[-1] = finished("Done.", thoughts="Hm.")
    (record,) = records(tiny_g4("chat", "-p", "Hello", "--json"))
    assert (record["text"], record["thoughts"]) == ("Done.", "Hm.")


def test_control_tokens_in_the_question_are_plain_text() -> None:
    result = tiny_g4("chat", "-p", "<|image|><|audio|><turn|><eos>", "--max-tokens", "1")
    assert result.exit_code == 0


def test_a_chat_without_a_question_is_an_error() -> None:
    assert_fails(tiny_g4("chat"), 2, "no question", "-p TEXT")


def test_an_image_without_a_question_is_an_error(sent: Exchange) -> None:
    assert_fails(tiny_g4("chat", "--image", "a.png"), 2, "no question")
    assert sent.parts == []


def test_piped_bytes_that_are_not_text_are_an_error(sent: Exchange) -> None:
    result = tiny_g4("chat", "-p", "Sum up:", stdin=Path(sample("image00.png")).read_bytes())
    assert_fails(result, 3, "stdin is not text", "--image -")
    assert sent.parts == []


def test_prompt_that_is_longer_than_the_context() -> None:
    result = tiny_g4("chat", "-p", "Sum up:", stdin="word " * 9000)
    assert_fails(result, 3, "context of 8192")


@pytest.fixture
def conversation(tmp_path: Path) -> Path:
    """A conversation about an image that lies beside its file, in a folder below this one."""
    folder = tmp_path / "talks"
    folder.mkdir()
    shutil.copy(sample("image01.png"), folder / "star.png")
    content = [
        {"type": "image", "path": "star.png"},
        {"type": "text", "text": "Describe this image."},
    ]
    path = folder / "talk.json"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": content}]}))
    return path


def test_conversation_file(conversation: Path) -> None:
    result = tiny_g4("chat", "--messages", "talks/talk.json")
    assert result.stdout == f"{TEXT_OF['image01.png']}\n"


def test_conversation_file_with_json(conversation: Path) -> None:
    (record,) = records(tiny_g4("chat", "--messages", "talks/talk.json", "--json"))
    assert (record["input"], record["text"]) == ("talks/talk.json", TEXT_OF["image01.png"])


def test_conversation_file_sets_the_budget(conversation: Path) -> None:
    data = json.loads(conversation.read_bytes())
    conversation.write_text(json.dumps(data | {"max_soft_tokens": 140}))
    arguments = ("--messages", conversation, "--json", "--max-tokens", "1")
    (record,) = records(tiny_g4("chat", *arguments))
    assert 70 < record["usage"]["soft_tokens"] <= 140
    assert record["budget"] == 140


def test_conversation_file_without_a_question(tmp_path: Path) -> None:
    talk = tmp_path / "talk.json"
    talk.write_text('{"messages": [{"role": "assistant", "content": "Hi"}]}')
    result = tiny_g4("chat", "--messages", talk)
    assert_fails(result, 3, "does not end with something to answer")


@pytest.mark.parametrize("options", [("-p", "Hi"), ("--system", "Be brief."), ("--image", "a.png")])
def test_a_conversation_file_excludes_other_questions(
    conversation: Path, options: tuple[str, str]
) -> None:
    result = tiny_g4("chat", "--messages", conversation, *options)
    assert_fails(result, 2, "--messages holds the whole conversation")
