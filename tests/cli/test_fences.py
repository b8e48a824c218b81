"""What g4 does not expect in one turn, command, input or entry is one line; the rest continues."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cli_runs import SCRIPTED, Terminal, assert_fails, g4, records, tiny_g4
from huggingface_hub import constants
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from support.hub_cache import cached
from support.samples import GREETING, TEXT_OF, sample
from talks import Talk

from gemma4cli.cli.chat import attach_commands, loop, slash_commands
from gemma4cli.cli.chat.slash_commands import COMMANDS
from gemma4cli.conversations import saved_list
from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.file import read_conversation
from gemma4cli.conversations.saved_list import list_saved
from gemma4cli.conversations.store import SavedConversation
from gemma4cli.doctor import facts, trial
from gemma4cli.engine import generate as generate_module
from gemma4cli.engine import local
from gemma4cli.events import Event, TextDelta
from gemma4cli.hub import snapshots
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.leftovers import temporary_folder
from gemma4cli.media.pictures import image_readers
from gemma4cli.models.language import TextModel

IMAGE = sample("image00.png")
ODD = "odd\x1b]0;title\x07\u202e\nthing"
"""What an exception quotes of a stranger's file."""
EMPTY_FOLDER = "g4: in: contains no images"
LINE = "g4: unexpected error (ValueError: odd\\x1B]0;title\\x07\\u202E thing); --debug shows more\n"


def fail(*arguments: Any, **more: Any) -> Any:
    raise ValueError(ODD)


def failing_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of which one call fails."""
    calls = iter(range(1, 1000))

    def called(*arguments: Any, **more: Any) -> Any:
        return (fail if next(calls) == call else function)(*arguments, **more)

    return called


def is_traceback(shown: str) -> bool:
    """Whether a traceback comes before the line, and neither does anything to a terminal."""
    return (
        shown.startswith("Traceback")
        and shown.endswith(LINE)
        and not set(shown) & {"\x1b", "\x07", "\u202e"}
    )


def saved_roles(talk: Talk) -> list[str]:
    """Who speaks in the conversation on disk."""
    (kept,) = list_saved(talk.sessions)
    conversation = read_conversation(talk.sessions / kept.name / "conversation.json")
    return [message.role for message in conversation.messages]


# Turns of a conversation


def test_an_odd_turn_ends_no_conversation(talk: Talk) -> None:
    talk.say("Hello")
    talk.chat.failure = lambda chat: ValueError(ODD) if len(chat.history) == 2 else None
    assert talk.say("How are you?") == LINE
    assert talk.script.drafts[-1] == "How are you?"
    assert is_traceback(talk.say("Again", debug=True))
    assert talk.roles == saved_roles(talk) == ["user", "assistant"]
    talk.chat.failure = lambda chat: None
    assert talk.say("Hello") == ""
    assert talk.roles == saved_roles(talk) == ["user", "assistant"] * 2


def test_what_an_odd_question_had_attached_is_said(talk: Talk) -> None:
    talk.chat.failure = lambda chat: ValueError(ODD)
    said = talk.say(f"/image {IMAGE}", "What is this?")
    assert said == f"{IMAGE} is attached to the next question\n{LINE}no longer attached: {IMAGE}\n"
    talk.chat.failure = lambda chat: None
    talk.say("Hello")
    assert talk.out == f"{GREETING}\n"


def test_an_answer_that_breaks_off_is_asked_again_from_the_start(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of the model fails in the middle of a prompt, and in the middle of an answer."""
    plain = TextModel.__call__
    for fails_at in (1, 4):
        step = failing_at(fails_at, plain)
        talk.say("/clear", "Hello")
        monkeypatch.setattr(TextModel, "__call__", step)
        assert LINE in talk.say(f"{IMAGE} Describe this image.")
        monkeypatch.setattr(TextModel, "__call__", plain)
        assert talk.roles == ["user", "assistant"]
        talk.say(f"{IMAGE} Describe this image.", "/stats")
        assert talk.out == f"{TEXT_OF['image00.png']}\n"


def test_what_fails_after_an_answer_loses_nothing(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SavedConversation, "write", failing_at(1, SavedConversation.write))
    assert talk.say(f"/image {IMAGE}", "Describe this image.").endswith(LINE)
    assert talk.out == f"{TEXT_OF['image00.png']}\n"
    assert talk.repl.attached_media == []
    talk.chat.use = fail
    assert talk.say("Hello") == LINE
    assert talk.roles == saved_roles(talk) == ["user", "assistant"] * 2


def test_an_odd_earlier_turn_does_not_keep_a_conversation_from_continuing(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.say("Hello")
    monkeypatch.setattr(talk.repl, "show_last_turn", fail)
    assert talk.say("Hello", quiet=False).count(LINE) == 1
    assert talk.roles == ["user", "assistant"] * 2


# Slash commands and completion


def test_no_odd_command_ends_a_conversation(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    talk.say("Hello")
    for typed, owner, name in [
        (f"/image {IMAGE}", attach_commands, "kind_of"),
        (f"/file {IMAGE}", attach_commands, "read_text_file"),
        ("/mic", attach_commands, "record_part"),
        ("/save talk.json", slash_commands, "save_copy"),
        ("/load talk.json", slash_commands, "read_conversation"),
        ("/model tiny", slash_commands, "load_model"),
        ("/stats", slash_commands, "statistics"),
        ("/system Be brief.", Chat, "load"),
        ("/undo", Chat, "undo"),
        ("/retry", Chat, "retry"),
        ("/drop", Chat, "drop_oldest"),
        ("/clear", Chat, "clear"),
        ("/copy", slash_commands, "copy_to_clipboard"),
    ]:
        with subtests.test(typed=typed), monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            assert talk.say(typed) == LINE
            assert is_traceback(talk.say(typed, debug=True))
            assert talk.roles == saved_roles(talk) == ["user", "assistant"]
    assert talk.say("Hello") == ""
    assert talk.roles == ["user", "assistant"] * 2


def test_a_command_that_cannot_be_completed_reports_why(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.say()
    monkeypatch.setattr(slash_commands.api, "list_models", fail)
    found = talk.script.completer.get_completions(Document("/model t"), CompleteEvent())
    assert list(found) == []
    assert [str(error) for error in talk.script.faults] == [ODD]


def test_every_command_is_run_within_the_fence(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMMANDS:
        monkeypatch.setattr(loop, "find_command", lambda typed: fail)
        assert talk.say(f"/{name}") == LINE


@pytest.mark.slow
def test_at_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "answer.md"
    monkeypatch.setenv("G4_SCRIPT", str(script))
    prompt = "\x1b[?2004h"
    for options in ([], ["--debug"]):
        script.write_text("One.")
        with Terminal("chat", "-m", "tiny", *options, driver=SCRIPTED) as terminal:
            terminal.expect(prompt)
            terminal.type("First\r")
            terminal.expect(prompt)
            script.write_text(f"Some words. !fault {ODD}")
            terminal.type("Second\r")
            shown = terminal.expect(LINE.strip().replace("thing", "thing"))
            assert ("Traceback" in shown) == bool(options)
            script.write_text("Three.")
            terminal.expect(prompt)
            terminal.type("\x03Third\r")
            terminal.expect("Three.")
            terminal.expect(prompt)
            terminal.type("\x04")
            assert terminal.wait() == 0
        assert "\x1b]0;" not in terminal.output


# One answer


def test_a_piped_question_that_fails_leaves_its_conversation_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tiny_g4("chat", "--session", "talk", stdin="Hello").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Chat, "send", fail)
        assert_fails(tiny_g4("chat", "--session", "talk", stdin="Hello"), 1, LINE.strip())
        shown = tiny_g4("chat", "--session", "talk", "--debug", stdin="Hello").stderr
        assert "Traceback" in shown and shown.endswith(LINE)
        assert not set(shown) & {"\x1b", "\u202e"}
    (kept,) = records(g4("chat", "--list", "--json"))
    assert (kept["turns"], kept["model"]) == (1, "tiny")
    assert tiny_g4("chat", "--session", "talk", stdin="Hello").exit_code == 0


# Entries of lists


def test_an_odd_model_hides_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("a/odd", "b/good"):
        cached(tmp_path, name, BUILTIN["tiny"])
    look = snapshots._look
    monkeypatch.setattr(
        snapshots, "_look", lambda name, folder: fail() if "odd" in name else look(name, folder)
    )
    listed = g4("models", "list")
    assert listed.exit_code == 5
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [
        "tiny",
        "a/odd",
        "b/good",
    ]
    assert listed.stderr.startswith(LINE.replace("g4: ", "g4: a/odd: "))
    shown = g4("models", "list", "--debug")
    assert shown.stderr.startswith("Traceback") and "\x1b" not in shown.stderr
    rows = records(g4("models", "list", "--json"))
    assert [(row["name"], row["problem"] is None) for row in rows] == [
        ("tiny", True),
        ("a/odd", False),
        ("b/good", True),
    ]
    assert g4("doctor").exit_code == 0
    assert g4("describe", IMAGE).stdout == f"{TEXT_OF['image00.png']}\n"


def test_an_odd_conversation_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good", "odd"):
        assert tiny_g4("chat", "--session", name, "-p", "Hello").exit_code == 0
    read = saved_list.read_conversation
    monkeypatch.setattr(
        saved_list,
        "read_conversation",
        lambda path, **more: fail() if path.parent.name == "odd" else read(path, **more),
    )
    listed = g4("chat", "--list")
    assert listed.exit_code == 5
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["good", "odd"]
    assert listed.stderr == LINE.replace("g4: ", "g4: odd: ")
    assert g4("chat", "--list", "--debug").stderr.startswith("Traceback")
    assert [row["name"] for row in records(g4("chat", "--list", "--json"))] == ["good", "odd"]
    assert g4("chat", "-c", "-p", "Hello", "-m", "tiny").stdout == f"{GREETING}\n"
    assert g4("chat", "--delete", "good", "--yes").exit_code == 0


def test_an_odd_fact_hides_no_other_of_the_doctor(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    whole = [each.name for each in facts.facts()]
    for name in facts._CHECKS:
        if name not in whole:
            continue
        with subtests.test(name=name), monkeypatch.context() as patch:
            patch.setitem(facts._CHECKS, name, fail)  # type: ignore[arg-type]
            found = {each.name: each for each in facts.facts()}
            assert set(whole) - {"BLAS"} <= set(found)
            assert found[name].state == "note"
            assert found[name].value == f"ValueError: {' '.join(ODD.split())}"


def test_an_odd_answer_hides_no_other_of_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.api, "generate", failing_at(1, trial.api.generate))
    report = g4("doctor", "--debug")
    assert report.exit_code == 1
    assert "x text        ValueError: odd" in report.stdout
    assert "  video  " in report.stdout
    assert "Traceback" in report.stderr


# Inputs


def test_an_odd_clip_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(sample("video00.mp4"), name)
    plain = generate_module.generate
    count = iter(range(1, 10))

    def breaks_off(*arguments: Any) -> Iterator[Event]:
        if next(count) == 2:
            yield TextDelta(text="At ")
            fail()
        yield from plain(*arguments)

    monkeypatch.setattr(local, "generate", breaks_off)
    result = tiny_g4("video", "a.mp4", "b.mp4", "c.mp4", "-q")
    assert result.exit_code == 5
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["a.mp4", "c.mp4"]
    assert result.stderr == LINE.replace("g4: ", "g4: b.mp4: ")


# Places


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_not_an_empty_one() -> None:
    Path("closed").mkdir(mode=0)
    for command in ("describe", "transcribe", "video"):
        assert_fails(tiny_g4(command, "closed"), 3, "closed: cannot be read (Permission denied)")


def test_a_place_for_conversations_that_cannot_be_is_one_line(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    Path("loop").symlink_to("loop")
    for place, problem in [
        (f"/{'y' * 300}", "File name too long"),
        (f"{'/y' * 3000}", "File name too long"),
        (str(Path("loop").absolute()), "Too many levels of symbolic links"),
    ]:
        with subtests.test(place=place[-9:]):
            monkeypatch.setenv("XDG_STATE_HOME", place)
            assert_fails(g4("chat", "--list"), 3, f"cannot be read ({problem})")
            assert_fails(g4("chat", "-c", "-p", "hi"), 3, f"cannot be read ({problem})")
            assert_fails(tiny_g4("chat", "-p", "hi", "--session", "a"), 1, problem)
            assert tiny_g4("chat", "-p", "hi").stdout == f"{GREETING}\n"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert tiny_g4("chat", "-p", "hi").exit_code == 0
    assert not Path("relative").exists()


def test_a_closed_folder_below_a_named_one_is_reported(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    Path("in/closed\x1b").mkdir(parents=True)
    for name in ("image00.png", "video00.mp4", "speech01.wav"):
        shutil.copy(sample(name), "in")
    scan = os.scandir

    def refuse(path: Any = ".") -> Any:
        if "closed" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    line = "in/closed\\x1B: cannot be read (Permission denied); its files are left out\n"
    for command in ("describe", "transcribe", "video"):
        with subtests.test(command=command):
            result = tiny_g4(command, "in", "-q")
            assert result.stderr.startswith(line)
            assert result.stdout
    shutil.rmtree("in")
    Path("in/closed").mkdir(parents=True)
    result = tiny_g4("describe", "in")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [line.strip().replace("\\x1B", ""), EMPTY_FOLDER]


def test_too_many_open_files_are_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    """Also where they look like damage of a picture, a recording or a checkpoint."""
    problem = "too many open files: raise the limit"

    def refuse(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "engine/generate.py")

    for owner, name, command in [
        (Chat, "send", ("chat", "-p", "hi")),
        (image_readers, "import_module", ("describe", IMAGE)),
        (Path, "open", ("transcribe", sample("speech01.wav"))),
        (Path, "open", ("video", sample("video00.mp4"))),
    ]:
        with subtests.test(command=command), monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse, raising=False)
            assert_fails(tiny_g4(*command, "-q"), 1, problem)
    monkeypatch.setattr(image_readers, "import_module", refuse)
    result = tiny_g4("describe", IMAGE, sample("image01.png"), "-q")
    assert result.exit_code == 1
    assert result.stderr.count(problem) == 2


def test_a_temporary_folder_is_removed_where_no_file_can_be_opened() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as taken:
        with temporary_folder() as folder:
            (folder / "pipe").write_bytes(b"sound")
            highest = max(map(int, os.listdir("/dev/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
            taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    taken.enter_context(open(os.devnull, "rb"))
        assert not folder.exists()
