"""Thoughts are separated from the answer by token id, whatever the text looks like."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gemma4cli.engine.channels import ChannelSplitter
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import TextDelta, ThoughtDelta
from gemma4cli.processing.tokenizer import Tokenizer

OPEN, CLOSE, TURN = "<|channel>", "<channel|>", "<turn|>"


@pytest.fixture
def tokenizer(tiny: LoadedModel) -> Tokenizer:
    return tiny.tokenizer


def ids_of(tokenizer: Tokenizer, parts: Sequence[str]) -> list[int]:
    """Ids of texts and of control tokens, which are written by name."""
    ids: list[int] = []
    for part in parts:
        known = part in (OPEN, CLOSE, TURN)
        ids += [tokenizer.control_id(part)] if known else tokenizer.encode(part)
    return ids


def split(
    tokenizer: Tokenizer, parts: Sequence[str], prompt: Sequence[str] = ()
) -> tuple[str, str]:
    """Thoughts and answer, which equal the deltas put together."""
    splitter = ChannelSplitter(tokenizer, ids_of(tokenizer, prompt))
    deltas = [d for token in ids_of(tokenizer, parts) for d in splitter.push(token)]
    deltas += splitter.finish()
    assert all(delta.text for delta in deltas)
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
