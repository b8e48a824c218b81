"""``g4 trace``: the arrays of its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import ROOT, assert_fails, g4, tiny_g4
from support.samples import sample

from gemma4cli.api import load
from gemma4cli.conversations.trace import trace
from gemma4cli.options import LoadOptions

VOCABULARY, WIDTH = 2048, 128

UNIFIED = str(ROOT / "fixtures" / "tiny-unified")


def write_talk(*parts: dict[str, Any], path: str = "talk.json") -> str:
    content = [*parts, {"type": "text", "text": "Describe this image."}]
    Path(path).write_text(json.dumps({"messages": [{"role": "user", "content": content}]}))
    return path


def traced(talk: str, *options: str) -> dict[str, Any]:
    result = tiny_g4("trace", talk, "-o", "out.npz", *options)
    assert (result.exit_code, result.stdout) == (0, "")
    with np.load("out.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A trace of an image and a sound, of the default length."""
    folder = tmp_path_factory.mktemp("trace")
    talk = write_talk(
        {"type": "image", "path": sample("image01.png")},
        {"type": "audio", "path": sample("speech00.wav")},
        path=str(folder / "talk.json"),
    )
    out = folder / "out.npz"
    assert tiny_g4("trace", talk, "-o", out).exit_code == 0
    with np.load(out) as loaded:
        return dict(loaded)


def test_keys(arrays: dict[str, Any]) -> None:
    assert set(arrays) == {
        "input_ids",
        "logits",
        "greedy",
        "generated",
        "spans",
        "prompt",
        "soft_tokens",
    }


def test_dtypes_and_shapes(arrays: dict[str, Any]) -> None:
    length = len(arrays["input_ids"])
    soft = 63 + 53
    assert {key: (value.dtype, value.shape) for key, value in arrays.items()} == {
        "input_ids": (np.int32, (length,)),
        "logits": (np.float32, (length, VOCABULARY)),
        "greedy": (np.int32, (24,)),
        "generated": (np.int32, arrays["generated"].shape),
        "spans": (np.int32, (2, 3)),
        "prompt": (arrays["prompt"].dtype, ()),
        "soft_tokens": (np.float32, (soft, WIDTH)),
    }
    assert arrays["prompt"].dtype.kind == "U"
    assert arrays["generated"].ndim == 1


def test_spans_hold_the_placeholders(arrays: dict[str, Any]) -> None:
    (image, sound), ids = arrays["spans"].tolist(), arrays["input_ids"]
    assert (image[0], image[2] - image[1]) == (0, 63)
    assert (sound[0], sound[2] - sound[1]) == (2, 53)
    assert len(set(ids[image[1] : image[2]])) == 1
    assert len(set(ids[sound[1] : sound[2]])) == 1
    assert ids[image[1]] != ids[sound[1]]


def test_prompt_is_the_rendered_text(arrays: dict[str, Any]) -> None:
    prompt = str(arrays["prompt"])
    assert prompt.startswith("<bos><|turn>user\n")
    assert prompt.count("<|image|>") == 63
    assert prompt.count("<|audio|>") == 53
    assert prompt.endswith("Describe this image.<turn|>\n<|turn>model\n")


def test_continuations_follow_from_the_logits(arrays: dict[str, Any]) -> None:
    assert arrays["greedy"][0] == arrays["logits"][-1].argmax()
    assert np.abs(arrays["logits"]).max() <= 30  # the model's soft-cap
    emitted = arrays["generated"]
    assert 0 < len(emitted) < 24
    assert emitted.tolist() == arrays["greedy"][: len(emitted)].tolist()


def test_text_alone_and_another_length() -> None:
    arrays = traced(write_talk(), "--max-tokens", "5")
    assert arrays["greedy"].shape == (5,)
    assert arrays["spans"].shape == (0, 3)
    assert arrays["soft_tokens"].shape == (0, WIDTH)


def test_each_video_frame_is_a_span() -> None:
    frames = [sample(f"image0{number}.png") for number in range(2)]
    talk = write_talk({"type": "video", "frames": frames, "timestamps": [0, 1]})
    spans = traced(talk, "--max-tokens", "1")["spans"]
    assert spans[:, 0].tolist() == [1] * 2
    assert (spans[:, 2] - spans[:, 1]).tolist() == [64, 63]


def test_line_about_the_file_goes_to_stderr() -> None:
    talk = write_talk()
    result = tiny_g4("trace", talk, "-o", "out.npz", "--max-tokens", "2")
    assert result.stderr.startswith("out.npz: ")
    assert result.stderr.endswith(" prompt tokens, 0 soft tokens, 2 greedy tokens\n")
    assert tiny_g4("trace", talk, "-o", "out.npz", "--max-tokens", "2", "-q").stderr == ""


@pytest.mark.slow
def test_a_trace_has_bidirectional_blocks_if_its_file_asks_for_them() -> None:
    """They are those of the load option."""
    talk = write_talk({"type": "image", "path": sample("image01.png")})
    plain = unified_trace(talk)
    asked = write_keys(talk, unified_full_attention_blocks=True)
    opened = unified_trace(asked)
    options = LoadOptions(unified_full_attention_blocks=True)
    expected = trace(load(UNIFIED, options=options), Path(talk), max_tokens=2)
    assert np.array_equal(opened["logits"], expected.logits)
    assert not np.allclose(opened["logits"], plain["logits"], atol=1e-3)
    closed = write_keys(talk, unified_full_attention_blocks=False)
    assert np.array_equal(unified_trace(closed)["logits"], plain["logits"])


def unified_trace(talk: str) -> dict[str, Any]:
    result = g4("trace", "-m", UNIFIED, talk, "-o", "out.npz", "--max-tokens", "2")
    assert result.exit_code == 0, result.output
    with np.load("out.npz") as arrays:
        return dict(arrays)


def write_keys(talk: str, **keys: object) -> str:
    """A copy of a conversation's file with more keys."""
    data = json.loads(Path(talk).read_text())
    Path("keys.json").write_text(json.dumps(data | keys))
    return "keys.json"


def test_the_key_for_bidirectional_blocks_takes_a_boolean(subtests: pytest.Subtests) -> None:
    for value in ["yes", 1, None]:
        with subtests.test(value=value):
            talk = write_keys(write_talk(), unified_full_attention_blocks=value)
            result = tiny_g4("trace", talk, "-o", "out.npz")
            assert_fails(
                result, 3, "keys.json: unified_full_attention_blocks: must be true or false"
            )


def test_other_commands_refuse_the_key_of_traces() -> None:
    talk = write_keys(write_talk(), unified_full_attention_blocks=True)
    result = tiny_g4("chat", "--messages", talk)
    assert_fails(result, 3, "keys.json: unified_full_attention_blocks: is only for g4 trace")


def test_bidirectional_blocks_are_not_an_option() -> None:
    assert tiny_g4("trace", write_talk(), "--open-blocks").exit_code == 2


def test_an_output_that_cannot_be_written_is_an_error(subtests: pytest.Subtests) -> None:
    for output, problem in [
        ([], "name it with -o"),
        (["-o", "-"], "name it with -o"),
        (["-o", "talk.json"], "is an input and would be replaced"),
        (["-o", "talk.json/out.npz"], "talk.json: is a file, not a folder"),
    ]:
        with subtests.test(output=output, problem=problem):
            assert_fails(tiny_g4("trace", write_talk(), *output), 2, problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file"), ("{", "is not valid JSON"), ("{}", 'an object with "messages"')],
)
def test_bad_conversation(content: str | None, problem: str) -> None:
    if content is not None:
        Path("talk.json").write_text(content)
    assert_fails(tiny_g4("trace", "talk.json", "-o", "out.npz"), 3, "talk.json: ", problem)
    assert not Path("out.npz").exists()
