"""Thoughts are separated from the answer by token id, whatever the text looks like."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gemma4cli.engine.channels import ChannelSplitter
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import (
    AnswerDelta,
    TextDelta,
    ThoughtDelta,
    ToolCallDelta,
    ToolCallFinished,
)
from gemma4cli.processing.tokenizer import Tokenizer

OPEN, CLOSE, TURN = "<|channel>", "<channel|>", "<turn|>"
CALL, CALL_END, QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'


@pytest.fixture
def tokenizer(tiny: LoadedModel) -> Tokenizer:
    return tiny.tokenizer


def ids_of(tokenizer: Tokenizer, parts: Sequence[str]) -> list[int]:
    """Ids of texts and of control tokens, which are written by name."""
    ids: list[int] = []
    for part in parts:
        known = part in (OPEN, CLOSE, TURN, CALL, CALL_END, QUOTE)
        ids += [tokenizer.control_id(part)] if known else tokenizer.encode(part)
    return ids


def split(
    tokenizer: Tokenizer, parts: Sequence[str], prompt: Sequence[str] = ()
) -> tuple[str, str]:
    """Thoughts and answer, which equal the deltas put together."""
    splitter = ChannelSplitter(tokenizer, ids_of(tokenizer, prompt))
    deltas = [d for token in ids_of(tokenizer, parts) for d in splitter.push(token)]
    deltas += splitter.finish()
    assert all(isinstance(delta, TextDelta | ThoughtDelta) and delta.text for delta in deltas)
    assert splitter.text == "".join(d.text for d in deltas if isinstance(d, TextDelta))
    assert splitter.thoughts == "".join(d.text for d in deltas if isinstance(d, ThoughtDelta))
    return splitter.thoughts, splitter.text


def test_thoughts_and_answer_are_separated_at_the_channel_markers(tokenizer: Tokenizer) -> None:
    cases = [
        (["plain"], "", "plain"),
        ([OPEN, "thought\nhmm", CLOSE, "well"], "hmm", "well"),
        ([OPEN, "thought\n", CLOSE, "well"], "", "well"),
        ([OPEN, CLOSE, "well"], "", "well"),
        ([OPEN, "thought", CLOSE, "well"], "", "well"),
        ([OPEN, "thought\none\ntwo\n", CLOSE, "well"], "one\ntwo\n", "well"),
        ([OPEN, "thought\nnever ends"], "never ends", ""),
        (["a", OPEN, "thought\nb", CLOSE, "c", OPEN, "thought\nd", CLOSE, "e"], "bd", "ace"),
        ([CLOSE, "well"], "", "well"),
        (["thought\nis a word"], "", "thought\nis a word"),
        ([OPEN, "other\nname", CLOSE, "well"], "name", "well"),
        (["a", TURN, "b"], "", "ab"),
    ]
    found = [(parts, *split(tokenizer, parts)) for parts, _, _ in cases]
    assert found == cases


@pytest.mark.parametrize(
    "prompt",
    [
        [OPEN, "thought\n"],
        ["a", OPEN, "thought\nb", CLOSE, "c", OPEN, "thought\n"],
    ],
)
def test_a_thought_that_the_prompt_began_is_continued(
    prompt: list[str], tokenizer: Tokenizer
) -> None:
    """The prompt has the label already, so the thought's first line is not taken for one."""
    assert split(tokenizer, ["hmm", CLOSE, "well"], prompt) == ("hmm", "well")
    assert split(tokenizer, ["one\ntwo", CLOSE], prompt) == ("one\ntwo", "")


def test_after_a_thought_that_the_prompt_ended_comes_the_answer(tokenizer: Tokenizer) -> None:
    """Prompts of the larger models end with an empty thought when thinking is off."""
    prompt = [TURN, OPEN, "thought\n", CLOSE]
    assert split(tokenizer, ["well"], prompt) == ("", "well")


@pytest.mark.parametrize("text", [OPEN, CLOSE, f"{OPEN}thought\nhmm{CLOSE}well", TURN])
def test_text_that_looks_like_a_marker_stays_text(text: str, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(text)
    assert not tokenizer.control_ids & set(ids)
    splitter = ChannelSplitter(tokenizer, [])
    for token in ids:
        list(splitter.push(token))
    list(splitter.finish())
    assert (splitter.thoughts, splitter.text) == ("", text)


@pytest.mark.parametrize("text", ["naïve façade", "你好", "👩‍👩‍👧 🇩🇪", "a\n\tb  c", "ǅ𝄞"])
def test_characters_of_several_tokens_are_not_split(text: str, tokenizer: Tokenizer) -> None:
    assert split(tokenizer, [OPEN, f"thought\n{text}", CLOSE, text]) == (text, text)


def test_a_character_cut_off_by_a_marker_or_the_end_becomes_a_replacement_character(
    tokenizer: Tokenizer,
) -> None:
    splitter = ChannelSplitter(tokenizer, [])
    bytes_of = {byte: token for token, byte in tokenizer.byte_values.items()}
    begun = [bytes_of[byte] for byte in "😀".encode()[:2]]
    for token in (*begun, tokenizer.control_id(OPEN), *begun):
        list(splitter.push(token))
    list(splitter.finish())
    assert splitter.text == "�"
    assert splitter.thoughts == ""  # the label was cut off


def calls_in(
    tokenizer: Tokenizer, parts: Sequence[str], prompt: Sequence[str] = ()
) -> tuple[ChannelSplitter, list[AnswerDelta]]:
    """A splitter that reads calls, and its deltas."""
    splitter = ChannelSplitter(tokenizer, ids_of(tokenizer, prompt), reads_calls=True)
    deltas = [d for token in ids_of(tokenizer, parts) for d in splitter.push(token)]
    return splitter, [*deltas, *splitter.finish()]


def test_calls_are_separated_from_thoughts_and_answer(tokenizer: Tokenizer) -> None:
    one = [CALL, "call:f{a:", QUOTE, "b}", CLOSE[:1], QUOTE, "}", CALL_END]
    two = [CALL, "call:g{n:3}", CALL_END]
    splitter, deltas = calls_in(tokenizer, [OPEN, "thought\nhm\n", CLOSE, "So:", *one, *two])
    assert (splitter.thoughts, splitter.text) == ("hm\n", "So:")
    assert [(each.name, each.arguments) for each in splitter.calls] == [
        ("f", {"a": "b}<"}),
        ("g", {"n": 3}),
    ]
    finished = [d for d in deltas if isinstance(d, ToolCallFinished)]
    assert [(each.index, each.call) for each in finished] == list(enumerate(splitter.calls))
    for number, arguments in enumerate(['{"a":"b}<"}', '{"n":3}']):
        mine = [d for d in deltas if isinstance(d, ToolCallDelta) and d.index == number]
        assert {(d.id, d.name) for d in mine} == {
            (splitter.calls[number].id, splitter.calls[number].name)
        }
        assert mine[0].arguments == ""
        assert "".join(d.arguments for d in mine) == arguments


def test_ids_of_calls_differ_in_an_answer_and_between_prompts_but_not_between_runs(
    tokenizer: Tokenizer,
) -> None:
    calls = [CALL, "call:f{}", CALL_END, CALL, "call:f{}", CALL_END]
    first, again, other = (
        [call.id for call in calls_in(tokenizer, calls, prompt)[0].calls]
        for prompt in (["A"], ["A"], ["B"])
    )
    assert first == again
    assert len({*first, *other}) == 4


@pytest.mark.parametrize(
    ("parts", "thoughts", "text", "names"),
    [
        ([CALL, "call:f{a:", QUOTE, "b"], "", '<|tool_call>call:f{a:<|"|>b', []),
        ([CALL, "hello", CALL_END, "there"], "", "<|tool_call>hello<tool_call|>there", []),
        ([CALL, "call:f{", CALL, "call:g{}", CALL_END], "", "<|tool_call>call:f{", ["g"]),
        ([CALL, "call:f{a:", OPEN, "thought\nhm", CLOSE], "hm", "<|tool_call>call:f{a:", []),
        ([OPEN, "thought\nhm", CALL, "call:f{}", CALL_END, "so"], "hm", "so", ["f"]),
        ([CALL_END, "a", QUOTE, "b"], "", "ab", []),
    ],
)
def test_a_call_that_is_not_one_becomes_text_and_a_thought_ends_at_a_call(
    parts: list[str], thoughts: str, text: str, names: list[str], tokenizer: Tokenizer
) -> None:
    splitter, _ = calls_in(tokenizer, parts)
    assert (splitter.thoughts, splitter.text) == (thoughts, text)
    assert [call.name for call in splitter.calls] == names


def test_after_a_broken_call_the_next_one_has_another_index(tokenizer: Tokenizer) -> None:
    parts = [CALL, "call:f{a:}", CALL_END, CALL, "call:g{}", CALL_END]
    splitter, deltas = calls_in(tokenizer, parts)
    assert {d.index: d.name for d in deltas if isinstance(d, ToolCallDelta)} == {0: "f", 1: "g"}
    assert len(splitter.calls) == 1


def test_without_tools_a_call_is_text(tokenizer: Tokenizer) -> None:
    assert split(tokenizer, [CALL, "call:f{}", CALL_END]) == ("", "call:f{}")
