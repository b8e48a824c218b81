"""Prompts resume what others computed, wherever they part, and answer as from nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from support.goldens import FOLDER
from support.models import fresh

from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.batch_row import Row
from gemma4cli.engine.generate import generate
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.running_batch import RunningBatch
from gemma4cli.engine.shared_turns import SharedTurns, default_limit
from gemma4cli.errors import OptionError
from gemma4cli.events import Finished
from gemma4cli.messages import Message, content_of
from gemma4cli.models.language import TextModel
from gemma4cli.options import GenerateOptions, MediaOptions
from gemma4cli.processing.inputs import ModelInputs

ParityModel = Callable[[str], LoadedModel]
GREEDY = GenerateOptions(max_tokens=6, temperature=0)
NEVER = frozenset({1 << 30})
ROOM = 10**9
SLOW = ("e4b", "26b", "31b")
LONG = "Please look at it once more, and tell me about the colors, from the left to the right. " * 2
IMAGES = [FOLDER / "media" / name for name in ("square.png", "tall.png")]


def prompt_of(model: LoadedModel, *turns: str, image: int | None = None) -> ModelInputs:
    """A conversation whose turns are the user's and the model's, one after the other."""
    files = [] if image is None else [IMAGES[image]]
    messages = [
        Message(role="assistant" if number % 2 else "user", content=turn)
        for number, turn in enumerate(turns)
    ]
    messages[0] = Message(role="user", content=content_of(turns[0], images=files))
    chat = Chat(model, media=MediaOptions(budget=70))
    for _ in chat.load(messages):
        pass
    return chat.prompt(GREEDY)


def answers(batch: RunningBatch, inputs: Sequence[ModelInputs]) -> list[Finished]:
    """The answers to prompts that run together."""
    rows = [batch.add(Prompt(inputs=each, options=GREEDY)) for each in inputs]
    found: dict[Row, Finished] = {}
    while batch.rows:
        for row, event in batch.step():
            if isinstance(event, Finished):
                found[row] = event
    return [found[row] for row in rows]


def alone(model: LoadedModel, inputs: ModelInputs) -> Finished:
    *_, last = generate(fresh(model), inputs, GREEDY)
    assert isinstance(last, Finished)
    return last


def make_batch(model: LoadedModel, limit: int = ROOM) -> RunningBatch:
    shared = SharedTurns(limit, blocks_on_full_layers=model.blocks_on_full_layers)
    return RunningBatch(model, shared=shared)


def check_as_alone(
    model: LoadedModel, batch: RunningBatch, inputs: Sequence[ModelInputs]
) -> list[int]:
    """How many tokens each prompt found."""
    found = answers(batch, inputs)
    for each, answer in zip(inputs, found, strict=True):
        assert answer.token_ids == alone(model, each).token_ids
    return [answer.usage.cached_tokens for answer in found]


@pytest.mark.parametrize(
    "arch", ["e2b", "12b", *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)]
)
def test_turns_of_a_conversation_that_parts_resume_where_they_agree(
    arch: str, parity_model: ParityModel
) -> None:
    """Together and one after the other; the sliding layers' window is shorter than a turn."""
    model = fresh(parity_model(arch), stop_ids=NEVER)
    batch = make_batch(model)
    first = prompt_of(model, LONG, image=0)
    (answer,) = answers(batch, [first])
    turns = [prompt_of(model, LONG, answer.text, each, image=0) for each in ("Why?", "And?")]
    assert min(check_as_alone(model, batch, turns)) >= len(first.ids) - 32
    longer = prompt_of(model, LONG, answer.text, "Why?", "Because.", "Who?", image=0)
    assert check_as_alone(model, batch, [longer])[0] > len(first.ids)
    assert check_as_alone(model, batch, [*turns, first])[2] >= len(first.ids) - 40


def test_an_answer_is_found_whether_its_row_was_alone_or_not(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    batch = make_batch(model)
    firsts = [prompt_of(model, LONG + each) for each in "ABC"]
    found = answers(batch, firsts)
    for letter, first, answer in zip("ABC", firsts, found, strict=True):
        following = prompt_of(model, LONG + letter, answer.text, "Why?")
        repeated = following.ids[len(first.ids) :][: len(answer.token_ids)] == answer.token_ids
        (cached,) = check_as_alone(model, batch, [following])
        assert not repeated or cached >= len(first.ids) + len(answer.token_ids) - 1


def test_prompts_that_only_begin_alike_share_their_beginning(tiny: LoadedModel) -> None:
    batch = make_batch(tiny)
    text = "Here is a chapter. " * 60
    first, second = (prompt_of(tiny, text + each) for each in ("Who?", "Where was that, and when?"))
    answers(batch, [first])
    (cached,) = check_as_alone(tiny, batch, [second])
    assert len(first.ids) - 100 < cached < len(first.ids)


def test_another_image_in_the_same_place_is_not_taken_for_it(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    batch = make_batch(model)
    answers(batch, [prompt_of(model, "Look.", image=0)])
    assert check_as_alone(model, batch, [prompt_of(model, "Look.", image=1)])[0] < 10


def test_a_prompt_that_is_taken_out_leaves_what_it_has_read(parity_model: ParityModel) -> None:
    model = parity_model("e2b")
    batch = make_batch(model)
    inputs = prompt_of(model, LONG * 3)
    row = batch.add(Prompt(inputs=inputs, options=replace(GREEDY, prefill_step_size=16)))
    for _ in range(9):
        batch.step()
    batch.remove(row)
    assert check_as_alone(model, batch, [inputs])[0] >= 64


def test_rows_that_fail_leave_nothing_behind_that_others_could_read(
    parity_model: ParityModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model("e2b"), stop_ids=NEVER)
    batch = make_batch(model)
    inputs = prompt_of(model, LONG)
    call = TextModel.__call__
    with monkeypatch.context() as patch:
        patch.setattr(TextModel, "__call__", lambda *given: call(*given) * float("nan"))
        batch.add(Prompt(inputs=inputs, options=GREEDY))
        while batch.rows:
            batch.step()
    check_as_alone(model, batch, [inputs])


# The limit


def test_what_was_not_used_for_the_longest_time_is_forgotten_first(tiny: LoadedModel) -> None:
    first, second, third, fourth = (prompt_of(tiny, f"{letter} " * 100) for letter in "CDAB")
    batch = make_batch(tiny)
    for each in (first, second, third):
        answers(batch, [each])
    batch.shared.limit = batch.shared.nbytes
    for each in (first, fourth):
        answers(batch, [each])
    assert batch.shared.nbytes <= batch.shared.limit
    assert len(batch.shared) == 3
    found = [answers(batch, [each])[0].usage.cached_tokens for each in (first, third, second)]
    assert found[0] > 50 < found[1] and found[2] < 50


def test_rows_that_run_hold_no_checkpoints_beside_those_within_the_limit(
    tiny: LoadedModel,
) -> None:
    batch = make_batch(fresh(tiny, stop_ids=NEVER))
    row = batch.add(Prompt(inputs=prompt_of(tiny, LONG), options=replace(GREEDY, max_tokens=99)))
    for _ in range(9):
        batch.step()
    assert row in batch.rows and not row.has_ended
    assert len(batch.shared) == 1
    assert row.run.held() is None and row.run.cache == []


def test_a_later_turn_takes_the_place_of_the_earlier_ones(tiny: LoadedModel) -> None:
    batch = make_batch(tiny)
    turns = [LONG]
    for _ in range(3):
        (answer,) = answers(batch, [prompt_of(tiny, *turns)])
        turns += [answer.text, "Why?"]
    assert len(batch.shared) == 1


@pytest.mark.parametrize("limit", [0, 1000])
def test_a_prompt_that_takes_more_than_the_limit_is_not_kept(tiny: LoadedModel, limit: int) -> None:
    batch = make_batch(tiny, limit)
    inputs = prompt_of(tiny, LONG)
    for _ in range(2):
        assert check_as_alone(tiny, batch, [inputs]) == [0]
    assert (len(batch.shared), batch.shared.nbytes) == (0, 0)


@pytest.mark.parametrize(("given", "limit"), [("2", 2 << 20), ("0.5", 1 << 19), ("0", 0)])
def test_a_variable_says_how_much_is_kept(
    given: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G4_KEPT_PROMPTS_MB", given)
    assert default_limit() == limit


def test_without_the_variable_up_to_1_gb_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("G4_KEPT_PROMPTS_MB", raising=False)
    assert 0 < default_limit() <= 10**9


def test_a_variable_that_is_no_size_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G4_KEPT_PROMPTS_MB", "-1")
    with pytest.raises(OptionError, match="G4_KEPT_PROMPTS_MB"):
        default_limit()
