"""``g4 chat`` with one question: from -p, from a pipe, from a file."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cli_runs import Exchange, assert_fails, command_line, finished, records, tiny_g4
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
    assert_fails(result, 3, "standard input: is not text but an image: attach it with --image -")
    result = tiny_g4("chat", stdin=Path(sample("speech00.wav")).read_bytes())
    assert_fails(result, 3, "is not text but a recording: attach it with --audio -")
    assert_fails(tiny_g4("chat", stdin=bytes(range(256))), 3, "is not text in UTF-8")
    assert sent.parts == []


PIPED = {
    "one stray byte": ("-café\n".encode("latin-1"), "-café", "1 byte is not UTF-8"),
    "a byte order mark": ("é".encode("utf-8-sig"), "é", ""),
    "UTF-16": ("Grüße".encode("utf-16"), "Grüße", ""),
    "UTF-16 without a mark": ("Grüße".encode("utf-16-le"), "Grüße", ""),
    "Windows line ends": (b"a\r\nb\r\n", "a\nb", ""),
    "null characters": (b"words and a\0b", "words and a\ufffdb", "1 null character replaced"),
}


@pytest.mark.parametrize("case", PIPED)
def test_piped_text_is_read_in_any_encoding(sent: Exchange, case: str) -> None:
    content, text, notice = PIPED[case]
    Path("notes.txt").write_bytes(content)
    for stdin, options in ((content, ()), (b"", ("--file", "notes.txt"))):
        result = tiny_g4("chat", "-p", "Sum up:", *options, stdin=stdin)
        material = f"notes.txt:\n{text}" if options else text
        assert sent.parts.pop()[-1] == TextPart(text=f"Sum up:\n\n{material}")
        name = "notes.txt" if options else "standard input"
        assert (f"{name}: {notice}" in result.stderr) if notice else result.stderr == ""
        assert tiny_g4("chat", "-p", "x", *options, "-q", stdin=stdin).stderr == ""
        sent.parts.clear()


def test_a_pipe_without_end_is_an_error() -> None:
    with Path("/dev/zero").open("rb") as endless:
        ends = subprocess.run(
            command_line("chat", "-m", "tiny", "-p", "Sum up:"),
            stdin=endless,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ends.returncode == 3
    assert ends.stderr == (
        "g4: standard input: is longer than 16 MB, more than any context; take a part\n"
    )


def test_a_text_far_beyond_the_context_is_not_read_to_its_end() -> None:
    result = tiny_g4("chat", "-p", "Sum up:", stdin="one two three four\n" * 500_000)
    assert_fails(result, 3, "the prompt has about", "more than the model's context of 8,192")


def test_the_question_may_be_an_argument(sent: Exchange) -> None:
    tiny_g4("chat", "Hello", stdin="One.")
    assert sent.text == "Hello\n\nOne."
    assert_fails(tiny_g4("chat", "Hello", "-p", "Hello"), 2, "pass the question once")


def test_attached_files_are_what_they_contain(sent: Exchange) -> None:
    picture, speech, clip = (
        sample(name) for name in ("image00.png", "speech00.wav", "video00.mp4")
    )
    for name, file in (("a", picture), ("b.txt", speech), ("c.png", clip)):
        shutil.copy(file, name)
    tiny_g4("chat", "Hello", "-a", "b.txt", "--image", "x.png", "-a", "c.png", "-a", "a")
    ((*parts,),) = sent.parts
    kinds = [(type(part), part.source.name) for part in parts if not isinstance(part, TextPart)]
    assert kinds == [
        (ImagePart, "x.png"),
        (VideoPart, "c.png"),
        (ImagePart, "a"),
        (AudioPart, "b.txt"),
    ]
    tiny_g4("chat", "Hello", "-a", "-", stdin=Path(speech).read_bytes())
    assert isinstance(sent.parts[-1][-1], AudioPart)


def test_a_file_that_a_question_only_names_is_not_attached(sent: Exchange) -> None:
    shutil.copy(sample("image00.png"), "a.png")
    result = tiny_g4("chat", "What is in a.png?")
    assert result.stderr == "a.png is named in the question but not attached; -a attaches it\n"
    assert sent.text == "What is in a.png?"
    assert tiny_g4("chat", "What is in a.png?", "-a", "a.png").stderr == ""
    assert tiny_g4("chat", "What is in a.png?", "-q").stderr == ""


def test_what_cannot_be_attached_is_an_error(sent: Exchange) -> None:
    Path("notes.txt").write_text("One.")
    for name, problem in (
        ("notes.txt", "--file attaches text"),
        ("nowhere.png", "no such file"),
        ("https://a.example/b.png", "is an address: --allow-urls lets g4 fetch it"),
    ):
        assert_fails(tiny_g4("chat", "Hello", "-a", name), 3, f"{name}: ", problem)
    assert_fails(tiny_g4("chat", "Hello", "--file", "nowhere.txt"), 3, "nowhere.txt: ")
    assert_fails(tiny_g4("chat", "Hello", "-a", "-", "--image", "-"), 2, "can be read once")
    assert sent.parts == []


def test_prompt_that_is_longer_than_the_context() -> None:
    result = tiny_g4("chat", "-p", "Sum up:", stdin="word " * 9000)
    assert_fails(result, 3, "context of 8,192")


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


@pytest.fixture
def exchanged(tmp_path: Path) -> Path:
    """A conversation as clients of OpenAI's API keep it: a picture, calls, and a recording."""

    def encoded(name: str) -> str:
        return base64.b64encode(Path(sample(name)).read_bytes()).decode()

    function = {"name": "now", "arguments": '{"zone": "CET"}'}
    talk = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {
                    "type": "image_url",
                    "image_url": f"data:;base64,{encoded('image01.png')}",
                },
                {"type": "text", "text": "What time is it there?"},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "9:00"}]},
        {"role": "assistant", "content": "Nine.", "reasoning_content": "Nine it is."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And here?"},
                {
                    "type": "input_audio",
                    "input_audio": {"data": encoded("speech04.wav"), "format": "wav"},
                },
            ],
        },
    ]
    path = tmp_path / "exchanged.json"
    path.write_text(json.dumps({"messages": talk, "model": "gpt-4o", "max_tokens": 100}))
    return path


def test_media_in_a_conversation_file_are_those_of_files(exchanged: Path) -> None:
    options = ("--json", "--max-tokens", "8", "--temperature", "0")
    (embedded,) = records(tiny_g4("chat", "--messages", exchanged, *options))
    data = json.loads(exchanged.read_bytes())
    data["messages"][1]["content"][0] = {"type": "image", "path": sample("image01.png")}
    data["messages"][5]["content"][1] = {"type": "audio", "path": sample("speech04.wav")}
    exchanged.write_text(json.dumps(data))
    (by_path,) = records(tiny_g4("chat", "--messages", exchanged, *options))
    assert embedded["text"] == by_path["text"]
    assert embedded["usage"] == by_path["usage"] and by_path["usage"]["soft_tokens"] > 64


def test_media_in_a_conversation_file_are_saved_and_asked_about_later(exchanged: Path) -> None:
    options = ("--session", "s", "--max-tokens", "1")
    for asked in (("--messages", exchanged), ("-p", "Why?")):
        result = tiny_g4("chat", *options, *asked)
        assert result.exit_code == 0, result.stderr
        exchanged.unlink(missing_ok=True)


def test_media_in_a_conversation_file_that_cannot_be_decoded_are_named_by_place(
    exchanged: Path,
) -> None:
    text = exchanged.read_text().replace("data:;base64,", "data:;base64,AAAA")
    exchanged.write_text(text)
    result = tiny_g4("chat", "--messages", exchanged.name)
    assert_fails(result, 3, "exchanged.json: messages[1].content[0].image_url: ")


def test_conversation_file_sets_the_budget(conversation: Path) -> None:
    data = json.loads(conversation.read_bytes())
    conversation.write_text(json.dumps(data | {"max_soft_tokens": 140}))
    arguments = ("--messages", conversation, "--json", "--max-tokens", "1")
    (record,) = records(tiny_g4("chat", *arguments))
    assert 70 < record["usage"]["soft_tokens"] <= 140
    assert record["budget"] == 140


@pytest.fixture
def answered(tmp_path: Path) -> str:
    """A conversation that ends with an answer, as /save writes it."""
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    (tmp_path / "talk.json").write_text(json.dumps({"messages": messages}))
    return "talk.json"


def test_conversation_file_without_a_question(answered: str) -> None:
    result = tiny_g4("chat", "--messages", answered)
    assert_fails(result, 3, "talk.json: ends with an answer; ask what follows with -p")


def test_what_follows_a_conversation_file(sent: Exchange, answered: str) -> None:
    shutil.copy(sample("image00.png"), "a.png")
    tiny_g4("chat", "--messages", answered, "-p", "Sure?", "--image", "a.png")
    tiny_g4("chat", "--messages", answered, stdin="Sure?")
    tiny_g4("chat", "--messages", "-", "Sure?", stdin=Path(answered).read_bytes())
    assert [parts[-1] for parts in sent.parts] == [TextPart(text="Sure?")] * 3
    assert isinstance(sent.parts[0][0], ImagePart)
    assert [[message.role for message in before] for before in sent.before] == [
        ["user", "assistant"]
    ] * 3


def test_conversation_from_standard_input() -> None:
    data = json.dumps({"messages": [{"role": "user", "content": "Hello"}]})
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        result = tiny_g4("chat", "--messages", "-", stdin=data.encode(encoding))
        assert result.stdout == f"{GREETING}\n"


@pytest.mark.parametrize("options", [("-p", "Hi"), ("--system", "Be brief."), ("--image", "a.png")])
def test_a_conversation_file_excludes_other_questions(
    conversation: Path, options: tuple[str, str]
) -> None:
    result = tiny_g4("chat", "--messages", conversation, *options)
    assert_fails(result, 2, "leave out")
