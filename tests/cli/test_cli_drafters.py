"""--draft: which drafter guesses, and what is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_runs import PARITY, assert_fails, g4, records
from support.fake_hub import set_constants
from support.hub_cache import cached
from support.samples import sample

MODEL, DRAFTER = PARITY / "checkpoints" / "e2b", PARITY / "drafters" / "e2b"
OPTIONS = ("--temperature", "0", "--max-tokens", "12", "--json")


def described(model: Path, *options: str | Path) -> dict[str, object]:
    (record,) = records(g4("describe", sample("image00.png"), "-m", model, *OPTIONS, *options))
    return record


def test_guesses_are_counted_and_change_nothing(tmp_path: Path) -> None:
    alone = described(MODEL)
    assert "guessed_tokens" not in alone["usage"]
    helped = described(MODEL, "--draft", DRAFTER)
    assert helped["usage"]["guessed_tokens"] > helped["usage"]["accepted_tokens"] >= 0
    assert helped["text"] == alone["text"]


def test_the_drafter_beside_the_model_is_used_unless_none_is_wanted(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "mine")
    shutil.copytree(DRAFTER, tmp_path / "mine-assistant")
    assert "guessed_tokens" in described(tmp_path / "mine")["usage"]
    assert "guessed_tokens" not in described(tmp_path / "mine", "--draft", "none")["usage"]


def test_images_in_a_batch_go_without_and_a_notice_says_so() -> None:
    """Rows share the reading of weights already, and would accept different numbers of guesses."""
    images = [sample(f"image0{number}.png") for number in range(2)]
    run = ("describe", *images, "-m", MODEL, *OPTIONS, "--draft")
    guesses, notices = [], []
    for options in ((DRAFTER,), (DRAFTER, "--batch", "1")):
        result = g4(*run, *options)
        guesses.append(any("guessed_tokens" in each["usage"] for each in records(result)))
        notices.append("--batch 1 uses it" in result.stderr)
    assert guesses == [False, True]
    assert notices == [True, False]


def test_drafters_in_the_cache_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_constants(monkeypatch, HF_HUB_CACHE=str(tmp_path))
    assert "Drafters" not in g4("models", "list").stdout
    cached(tmp_path, "a/b-assistant", DRAFTER)
    heading, row = g4("models", "list").stdout.splitlines()[-2:]
    assert heading.startswith("Drafters") and row.split()[0] == "a/b-assistant"
    assert records(g4("models", "list", "--json"))[-1]["drafter"] == "a/b-assistant"


def test_one_that_cannot_be_used() -> None:
    run = ("describe", sample("image00.png"), "-m", MODEL, "--draft")
    assert_fails(g4(*run, PARITY / "drafters" / "12b"), 4, "made for models of size 32, not 40")
    assert_fails(g4(*run, MODEL), 4, "of type 'gemma4' as a drafter")
    assert_fails(g4(*run, "nowhere"), 4, "model 'nowhere' not found")


def test_a_drafter_is_no_model() -> None:
    result = g4("describe", sample("image00.png"), "-m", DRAFTER)
    assert_fails(result, 4, "name the model with -m, and this with --draft")


def test_transcripts_and_traces_are_made_without(tmp_path: Path) -> None:
    result = g4("transcribe", sample("speech00.wav"), "-m", "tiny", "--draft", DRAFTER)
    assert_fails(result, 2, "leave out --draft")
    conversation = PARITY / "cases" / "text_short.json"
    result = g4("trace", conversation, "-o", tmp_path / "a.npz", "--draft", DRAFTER)
    assert_fails(result, 2, "leave out --draft")


def test_a_project_names_no_drafter_outside_of_it(tmp_path: Path) -> None:
    Path(".g4.toml").write_text(f'draft = "{DRAFTER}"\n')
    result = g4("describe", sample("image00.png"), "-m", MODEL, *OPTIONS)
    assert "draft is ignored, since it lies outside the project" in result.stderr
