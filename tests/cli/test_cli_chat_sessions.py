"""``g4 chat`` with one question in a conversation that is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_runs import ROOT, assert_fails, g4_with_a_person, records, tiny_g4
from support.samples import GREETING, TEXT_OF, sample

from gemma4cli.cli.environment import Environment
from gemma4cli.conversations.saved_list import list_saved
from gemma4cli.conversations.store import SavedConversation

STARS = TEXT_OF["image00.png"]


def kept(name: str) -> list[tuple[str, str]]:
    """Roles and texts of a kept conversation."""
    with SavedConversation(Environment.of_process().sessions_folder / name) as saved:
        conversation = saved.read()
    assert conversation is not None
    return [
        (message.role, "".join(getattr(part, "text", "[medium]") for part in message.parts))
        for message in conversation.messages
    ]


def test_one_question_is_not_kept_unless_asked_for() -> None:
    tiny_g4("chat", "-p", "Hello")
    assert list_saved(Environment.of_process().sessions_folder) == []
    assert not Environment.of_process().sessions_folder.exists()


def test_turns_are_appended() -> None:
    first = tiny_g4("chat", "--session", "talk", "-p", "Hello", "--system", "Be brief.")
    assert (first.exit_code, first.stdout, first.stderr) == (0, f"{GREETING}\n", "")
    tiny_g4("chat", "-c", "-p", "Hello", stdin="there")
    assert kept("talk")[:4] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", GREETING),
        ("user", "Hello\n\nthere"),
    ]


def test_image_from_a_pipe_is_kept() -> None:
    picture = Path(sample("image00.png")).read_bytes()
    question = ("-p", "Describe this image.", "--image", "-")
    result = tiny_g4("chat", "--session", "talk", *question, stdin=picture)
    assert result.stdout == f"{STARS}\n"
    (copy,) = (Environment.of_process().sessions_folder / "talk" / "media").iterdir()
    assert copy.read_bytes() == picture
    again = tiny_g4("chat", "-c", "-p", "Hello", "--json", "--max-tokens", "1")
    assert records(again)[0]["usage"]["soft_tokens"] == 64


def test_a_conversation_file_is_appended() -> None:
    tiny_g4("chat", "--session", "talk", "-p", "Hello")
    Path("more.json").write_text('{"messages": [{"role": "user", "content": "Hello"}]}')
    assert tiny_g4("chat", "-c", "--messages", "more.json").exit_code == 0
    assert [role for role, _ in kept("talk")] == ["user", "assistant"] * 2


def test_a_question_that_fails_leaves_no_turn() -> None:
    assert_fails(tiny_g4("chat", "--session", "t", "-p", "What?", "--image", "nowhere"), 3)
    assert list_saved(Environment.of_process().sessions_folder) == []


def test_saved_conversations_are_listed() -> None:
    result = tiny_g4("chat", "--list")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert "no saved conversations in" in result.stderr
    tiny_g4("chat", "--session", "talk", "-p", "Hello")
    (line,) = tiny_g4("chat", "--list").stdout.splitlines()
    assert line.startswith("talk  20") and line.endswith("1 turn   Hello")
    (record,) = records(tiny_g4("chat", "--list", "--json"))
    assert (record["name"], record["turns"], record["first_words"]) == ("talk", 1, "Hello")


def test_nothing_to_continue() -> None:
    assert_fails(tiny_g4("chat", "-c", "-p", "Hello"), 2, "no conversation to continue")


def test_names_and_options_that_do_not_go_together() -> None:
    assert_fails(tiny_g4("chat", "--session", "../x", "-p", "Hello"), 2, "a name has letters")
    assert_fails(tiny_g4("chat", "--no-log", "-c", "-p", "Hello"), 2, "--no-log")
    assert_fails(tiny_g4("chat", "--session", "x", "-c", "-p", "Hello"), 2, "either")
    assert_fails(tiny_g4("chat", "-p", "Hello", "--device", "x"), 2, "--device is for --mic")


def test_the_same_conversation_twice() -> None:
    with SavedConversation(Environment.of_process().sessions_folder / "talk"):
        result = tiny_g4("chat", "--session", "talk", "-p", "Hello")
    assert_fails(result, 1, "conversation talk: another g4 has it open")


@pytest.mark.parametrize("broken", ["{", '{"messages": 3}'])
def test_a_broken_conversation_is_named(broken: str) -> None:
    folder = Environment.of_process().sessions_folder / "talk"
    folder.mkdir(parents=True)
    (folder / "conversation.json").write_text(broken)
    assert_fails(tiny_g4("chat", "--session", "talk", "-p", "Hello"), 3, "conversation.json: ")


def test_the_settings_of_a_conversation_are_kept() -> None:
    tiny_g4("chat", "--session", "talk", "-p", "Hello", "--think", "--budget", "140")
    data = json.loads(
        (Environment.of_process().sessions_folder / "talk" / "conversation.json").read_text()
    )
    assert (data["enable_thinking"], data["max_soft_tokens"]) == (True, 140)
    tiny_g4("chat", "-c", "-p", "Hello")
    data = json.loads(
        (Environment.of_process().sessions_folder / "talk" / "conversation.json").read_text()
    )
    assert (data["enable_thinking"], data["max_soft_tokens"]) == (True, 140)


def test_a_conversation_is_deleted() -> None:
    for name in ("talk", "other"):
        tiny_g4("chat", "--session", name, "-p", "Hello", "--max-tokens", "1")
    result = tiny_g4("chat", "--delete", "talk", "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "deleted talk\n")
    assert [each.name for each in list_saved(Environment.of_process().sessions_folder)] == ["other"]
    assert not (Environment.of_process().sessions_folder / "talk").exists()
    assert tiny_g4("chat", "--delete", "other", "-y", "-q").stderr == ""


def test_delete_asks_somebody() -> None:
    tiny_g4("chat", "--session", "talk", "-p", "Hello", "--max-tokens", "1")
    assert_fails(tiny_g4("chat", "--delete", "talk"), 2, "not a terminal", "--yes")
    assert [each.name for each in list_saved(Environment.of_process().sessions_folder)] == ["talk"]


@pytest.mark.parametrize(("typed", "code", "left"), [("n\n", 1, ["talk"]), ("y\n", 0, [])])
def test_delete_takes_an_answer(typed: str, code: int, left: list[str]) -> None:
    tiny_g4("chat", "--session", "talk", "-p", "Hello", "--max-tokens", "1")
    result = g4_with_a_person("chat", "--delete", "talk", typed=typed)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("talk, 1 turn: Hello\nDelete it? [y/N] ")
    assert [each.name for each in list_saved(Environment.of_process().sessions_folder)] == left


def test_deleting_an_unknown_conversation_is_an_error() -> None:
    assert_fails(tiny_g4("chat", "--delete", "talk", "--yes"), 2, "--list shows all")
    assert_fails(tiny_g4("chat", "--delete", "..", "--yes"), 2, "no conversation is named ..")
    assert_fails(tiny_g4("chat", "--yes", "-p", "Hello"), 2, "--yes is for --delete")


def test_an_open_conversation_is_not_deleted() -> None:
    tiny_g4("chat", "--session", "talk", "-p", "Hello", "--max-tokens", "1")
    with SavedConversation(Environment.of_process().sessions_folder / "talk"):
        result = tiny_g4("chat", "--delete", "talk", "--yes")
    assert_fails(result, 1, "another g4 has it open")
    assert [each.name for each in list_saved(Environment.of_process().sessions_folder)] == ["talk"]


def test_a_broken_conversation_can_be_deleted() -> None:
    folder = Environment.of_process().sessions_folder / "talk"
    folder.mkdir(parents=True)
    (folder / "conversation.json").write_text("{")
    assert tiny_g4("chat", "--delete", "talk", "--yes").exit_code == 0
    assert not folder.exists()


def test_a_conversation_of_version_0_1_is_continued() -> None:
    sessions = Environment.of_process().sessions_folder
    shutil.copytree(ROOT / "fixtures" / "formats" / "conversation", sessions / "old")
    before = kept("old")
    result = tiny_g4("chat", "-c", "-p", "Hello", "--max-tokens", "1", "--json")
    assert result.exit_code == 0, result.output
    assert kept("old")[:-1] == [*before, ("user", "Hello")]


def test_a_conversation_that_was_emptied_is_gone() -> None:
    """Version 0.1 wrote a file without messages after /undo of the only turn."""
    folder = Environment.of_process().sessions_folder / "und"
    folder.mkdir(parents=True)
    (folder / "conversation.json").write_text('{"messages": [], "model": "tiny"}')
    (folder / "lock").touch()
    assert tiny_g4("chat", "--list").stdout == ""
    assert_fails(tiny_g4("chat", "-c", "-p", "Hello"), 2, "no conversation to continue")
    assert tiny_g4("chat", "--session", "und", "-p", "Hello").stdout == f"{GREETING}\n"
    assert "und" in tiny_g4("chat", "--list").stdout


def test_folders_that_closed_windows_left_are_removed() -> None:
    sessions = Environment.of_process().sessions_folder
    (sessions / "left").mkdir(parents=True)
    (sessions / "left" / "lock").touch()
    with SavedConversation(sessions / "open"):
        tiny_g4("chat", "-p", "Hello")
        assert [path.name for path in sessions.iterdir()] == ["open"]
