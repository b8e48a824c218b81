"""Thoughts are told from the answer by token id, whatever the text looks like."""

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
    return tiny.processor.tokenizer


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
    """Thoughts and answer; what came out piece by piece is what is kept."""
    splitter = ChannelSplitter(tokenizer, ids_of(tokenizer, prompt))
    deltas = [d for token in ids_of(tokenizer, parts) for d in splitter.push(token)]
    deltas += splitter.finish()
    assert all(delta.text for delta in deltas)
    assert splitter.text == "".join(d.text for d in deltas if isinstance(d, TextDelta))
    assert splitter.thoughts == "".join(d.text for d in deltas if isinstance(d, ThoughtDelta))
    return splitter.thoughts, splitter.text


@pytest.mark.parametrize(
    ("parts", "thoughts", "answer"),
    [
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
    ],
)
def test_split(parts: list[str], thoughts: str, answer: str, tokenizer: Tokenizer) -> None:
    assert split(tokenizer, parts) == (thoughts, answer)


@pytest.mark.parametrize(
    ("prompt", "thoughts", "answer"),
    [
        ([OPEN, "thought\n"], "hmm", "well"),
        (["a", OPEN, "thought\nb", CLOSE, "c", OPEN, "thought\n"], "hmm", "well"),
    ],
)
def test_thought_that_the_prompt_opened(
    prompt: list[str], thoughts: str, answer: str, tokenizer: Tokenizer
) -> None:
    """Its label stands in the prompt, so nothing of the thought is taken for one."""
    assert split(tokenizer, ["hmm", CLOSE, "well"], prompt) == (thoughts, answer)
    assert split(tokenizer, ["one\ntwo", CLOSE], prompt) == ("one\ntwo", "")


def test_thought_that_the_prompt_closed(tokenizer: Tokenizer) -> None:
    """The larger models' prompts end with an empty thought when thinking is off."""
    prompt = [TURN, OPEN, "thought\n", CLOSE]
    assert split(tokenizer, ["well"], prompt) == ("", "well")


@pytest.mark.parametrize("text", [OPEN, CLOSE, f"{OPEN}thought\nhmm{CLOSE}well", TURN])
def test_text_that_looks_like_a_marker_stays(text: str, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(text)
    assert not tokenizer.control_ids & set(ids)
    splitter = ChannelSplitter(tokenizer, [])
    for token in ids:
        list(splitter.push(token))
    list(splitter.finish())
    assert (splitter.thoughts, splitter.text) == ("", text)


@pytest.mark.parametrize("text", ["naïve façade", "你好", "👩‍👩‍👧 🇩🇪", "a\n\tb  c", "ǅ𝄞"])
def test_characters_of_many_tokens_come_whole(text: str, tokenizer: Tokenizer) -> None:
    assert split(tokenizer, [OPEN, f"thought\n{text}", CLOSE, text]) == (text, text)


def test_unfinished_character_is_marked(tokenizer: Tokenizer) -> None:
    """A marker, or the end, may come in the middle of a character."""
    splitter = ChannelSplitter(tokenizer, [])
    bytes_of = {byte: token for token, byte in tokenizer.byte_values.items()}
    begun = [bytes_of[byte] for byte in "😀".encode()[:2]]
    for token in (*begun, tokenizer.control_id(OPEN), *begun):
        list(splitter.push(token))
    list(splitter.finish())
    assert splitter.text == "�"
    assert splitter.thoughts == ""  # it was the label that was never finished
