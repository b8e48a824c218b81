"""``g4 chat`` continues from what an earlier process computed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_runs import ROOT, Terminal, assert_fails, records, tiny_g4
from support.samples import GREETING, sample
from talks import Talk

from gemma4cli.cli.environment import Environment

CACHE = "prompt-cache.safetensors"


def session(name: str) -> Path:
    return Environment.of_process().sessions_folder / name


def asked(*args: str, stdin: str | None = None) -> dict[str, Any]:
    """The record of an answer; nothing is said besides."""
    result = tiny_g4("chat", *args, "--json", stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    (record,) = records(result)
    return record


def cached(record: dict[str, Any]) -> int:
    found: int = record["usage"]["cached_tokens"]
    return found


def new(record: dict[str, Any]) -> int:
    found: int = record["usage"]["prompt_tokens"]
    return found - cached(record)


@pytest.fixture
def long_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    lines = (f"Line {number} is about towers and cats.\n" for number in range(40))
    Path("long.txt").write_text("".join(lines))
    return "long.txt"


# Kept conversations


def test_a_kept_conversation_goes_on_without_what_it_had() -> None:
    first = asked("--session", "talk", "-p", "Hello")
    second = asked("-c", "-p", "Hello")
    third = asked("--session", "talk", "-p", "Hello")
    assert [cached(each) for each in (first, second)] == [0, first["usage"]["prompt_tokens"] + 12]
    assert new(third) == new(second) < 20
    assert third["text"] == GREETING
    assert (session("talk") / CACHE).stat().st_mode & 0o777 == 0o600


def test_a_kept_image_is_not_encoded_again() -> None:
    picture = sample("image00.png")
    asked("--session", "talk", "-p", "Describe this image.", "-a", str(picture))
    record = asked("-c", "-p", "Hello")
    assert record["usage"]["soft_tokens"] == 64 < cached(record)
    (session("talk") / CACHE).unlink()
    assert cached(asked("-c", "-p", "Hello")) == 0


def test_the_cache_is_removed_with_its_conversation() -> None:
    asked("--session", "talk", "-p", "Hello")
    assert (session("talk") / CACHE).exists()
    assert len(tiny_g4("chat", "--list").stdout.splitlines()) == 1
    assert tiny_g4("chat", "--delete", "talk", "--yes").stderr == "deleted talk\n"
    assert not session("talk").exists()


def test_renamed_and_copied_conversations_go_on() -> None:
    asked("--session", "talk", "-p", "Hello")
    session("talk").rename(session("trip"))
    assert cached(asked("--session", "trip", "-p", "Hello")) > 0


def test_other_limits_of_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked("--session", "a", "-p", "Hello")
    asked("--session", "b", "-p", "Hello")
    size = (session("a") / CACHE).stat().st_size
    monkeypatch.setenv("G4_PROMPT_CACHE_MB", str(2.5 * size / 2**20))
    asked("--session", "c", "-p", "Hello")
    assert [(session(name) / CACHE).exists() for name in "abc"] == [False, True, True]
    monkeypatch.setenv("G4_PROMPT_CACHE_MB", "0")
    assert cached(asked("--session", "c", "-p", "Hello")) == 0
    asked("--session", "d", "-p", "Hello")
    assert not (session("d") / CACHE).exists()
    monkeypatch.setenv("G4_PROMPT_CACHE_MB", "few")
    result = tiny_g4("chat", "--session", "c", "-p", "Hello")
    assert_fails(result, 2, "G4_PROMPT_CACHE_MB must be a number of MB, not 'few'")


def test_damage_is_one_line_and_costs_time_only() -> None:
    asked("--session", "talk", "-p", "Hello")
    path = session("talk") / CACHE
    path.write_bytes(path.read_bytes()[:-100])
    result = tiny_g4("chat", "-c", "-p", "Hello", "--json")
    assert result.stderr == f"{path}: is cut short; the prompt is computed anew\n"
    assert cached(records(result)[0]) == 0
    assert cached(asked("-c", "-p", "Hello")) > 0
    path.write_bytes(b"something else")
    assert tiny_g4("chat", "-c", "-p", "Hello", "-q").stderr == ""
    assert cached(asked("-c", "-p", "Hello")) > 0


def test_nothing_is_kept_with_no_log() -> None:
    tiny_g4("chat", "--no-log", "-p", "Hello")
    assert not Environment.of_process().sessions_folder.exists()
    result = tiny_g4("chat", "--no-log", "-p", "Hello", "--prompt-cache", "x")
    assert_fails(result, 2, "--no-log saves nothing: leave out --prompt-cache")


@pytest.mark.slow
def test_a_conversation_at_a_terminal_goes_on_after_it_was_left() -> None:
    prompt = "\x1b[?2004h"
    with Terminal("chat", "-m", "tiny") as terminal:
        for typed in ("Hello\r", "/clear\r", "Hello\r", "\x04"):
            terminal.expect(prompt)
            terminal.type(typed)
        assert terminal.wait() == 0
    folders = sorted(Environment.of_process().sessions_folder.iterdir())
    assert [(folder / CACHE).exists() for folder in folders] == [True, True]

    with Terminal("chat", "-m", "tiny", "-c") as terminal:
        for typed in ("Hello\r", "/stats\r", "/undo\r", "/undo\r", "\x04"):
            terminal.expect(prompt)
            terminal.type(typed)
        assert terminal.wait() == 0
    assert re.search(r"33 prompt tokens \(22 cached\)", terminal.output)
    assert list(Environment.of_process().sessions_folder.iterdir()) == folders[:1]


def caches(talk: Talk) -> list[bool]:
    """Which of the conversations have a prompt cache, the first one first."""
    folders = sorted(folder for folder in talk.sessions.iterdir())
    return [(folder / CACHE).exists() for folder in folders]


def test_leaving_a_conversation_keeps_what_it_took(talk: Talk) -> None:
    repl = talk.repl
    repl.autosave.continue_computed(repl.chat)
    talk.say("Hello", "/save talk.json", "/clear")
    assert caches(talk) == [True, False]
    talk.say("Hello", "/load talk.json")
    assert caches(talk) == [True, True, False]
    talk.say("Hello", "/undo", "/undo")
    assert caches(talk) == [True, True, False]


def test_another_model_in_a_conversation_reads_nothing_of_the_one_before(talk: Talk) -> None:
    repl = talk.repl
    repl.autosave.continue_computed(repl.chat)
    talk.say("Hello")
    path = Path(str(repl.autosave.name))
    assert (talk.sessions / path / CACHE).exists()
    small = ROOT / "fixtures" / "parity" / "checkpoints" / "12b"
    notices = talk.say(f"/model {small}", "Hello", quiet=False)
    assert notices.count("was computed by another model or with other settings") == 1
    assert "cached" not in talk.say("/stats")


# A file for many questions


def test_questions_about_one_text_share_what_it_took(long_text: str) -> None:
    args = ("--file", long_text, "--prompt-cache", "kept/cache")
    first = asked("-p", "Hello", *args)
    second = asked("-p", "What is it about?", *args)
    assert cached(first) == 0
    assert cached(second) > 500 and new(second) < 100
    Path("kept/cache").unlink()
    alone = asked("-p", "What is it about?", *args)
    assert (cached(alone), alone["text"]) == (0, second["text"])


def test_text_from_a_pipe_comes_before_the_question(long_text: str) -> None:
    text = Path(long_text).read_text()
    args = ("--prompt-cache", "cache")
    asked("-p", "Hello", *args, stdin=text)
    second = asked("-p", "Why?", *args, stdin=text)
    assert second["input"].endswith("cats.\n\nWhy?")
    assert cached(second) > 500
    # A whole prompt, whose end differs.
    third = asked(*args, stdin=f"{text}\n\nWho?")
    assert cached(third) > 500


def test_without_the_option_the_text_follows_the_question(long_text: str) -> None:
    assert asked("-p", "Why?", "--file", long_text)["input"].startswith("Why?\n\nlong.txt:")


def test_questions_about_one_image_share_it(tmp_path: Path) -> None:
    args = ("-a", str(sample("image00.png")), "--prompt-cache", str(tmp_path / "cache"))
    asked("-p", "Hello", *args)
    assert cached(asked("-p", "Describe this image.", *args)) >= 64


def test_a_conversation_file_uses_the_cache(long_text: str) -> None:
    question = {"role": "user", "content": Path(long_text).read_text()}
    Path("talk.json").write_text(json.dumps({"messages": [question]}))
    args = ("--messages", "talk.json", "--prompt-cache", "cache")
    assert cached(asked(*args)) == 0
    assert new(asked(*args)) < 5


def test_a_session_with_a_file_of_its_own(long_text: str) -> None:
    asked("--session", "talk", "-p", "Hello", "--prompt-cache", "cache")
    assert Path("cache").exists() and not (session("talk") / CACHE).exists()
    assert cached(asked("-c", "-p", "Hello", "--prompt-cache", "cache")) > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("long.txt", "is an input and would be replaced"),
        (".", "is a folder; name a file in it"),
        ("long.txt/cache", "is a file, not a folder"),
    ],
)
def test_places_for_no_cache(name: str, words: str, long_text: str) -> None:
    result = tiny_g4("chat", "-p", "Hello", "--file", long_text, "--prompt-cache", name)
    assert_fails(result, 2, words)
    assert Path(long_text).read_text().startswith("Line 0")


def test_files_of_g4_are_no_place_for_a_cache(long_text: str) -> None:
    asked("--session", "talk", "-p", "Hello")
    path = session("talk") / "conversation.json"
    result = tiny_g4("chat", "-p", "Hello", "--prompt-cache", str(path))
    assert_fails(result, 2, "is where g4 keeps conversations")


def test_a_link_is_followed(long_text: str) -> None:
    Path("link").symlink_to("real")
    Path("real").touch()
    asked("-p", "Hello", "--prompt-cache", "link")
    assert Path("link").is_symlink() and Path("real").stat().st_size > 0


def test_a_file_of_another_kind_is_left(long_text: str) -> None:
    Path("notes").write_text("Do not lose this.")
    result = tiny_g4("chat", "-p", "Hello", "--prompt-cache", "notes")
    assert (result.exit_code, result.stdout) == (0, f"{GREETING}\n")
    (line,) = result.stderr.splitlines()
    assert line.endswith("notes: is not a prompt cache; it is not used, and stays as it is")
    assert Path("notes").read_text() == "Do not lose this."
