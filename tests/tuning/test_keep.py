"""What a model is to keep: it answers itself, and its distributions are held where they were."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import TuningDataError
from gemma4cli.models.divergence import summed_divergences
from gemma4cli.models.training import with_gradients
from gemma4cli.tuning import own_answers
from gemma4cli.tuning.adapter import LowRankOptions, with_new_adapter
from gemma4cli.tuning.data import Prompts
from gemma4cli.tuning.events import PromptsAnswered
from gemma4cli.tuning.examples import Example, Prepared, prepare_sample
from gemma4cli.tuning.keep_data import read_prompts
from gemma4cli.tuning.kept_states import KeptStates
from gemma4cli.tuning.media_store import MediaStore
from gemma4cli.tuning.own_answers import answered, key_of
from gemma4cli.tuning.reading import keys_of, read_states
from gemma4cli.tuning.samples import Sample
from gemma4cli.tuning.steps import Learner


def lines(folder: Path, *each: object) -> Path:
    file = folder / "keep.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in each))
    return file


def talk(*said: tuple[str, str]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": text} for role, text in said]}


HELLO, NAME = talk(("user", "Hello")), {"prompt": "What is your name?"}


def test_prompts_are_cut_off_after_the_last_question(tmp_path: Path) -> None:
    turns = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Ahoy."), ("user", "Bye"))
    file = lines(tmp_path, talk(*turns, ("assistant", "Ahoy!")), NAME, talk(("assistant", "Ahoy.")))
    samples = read_prompts(file, Prompts())
    assert [len(each.conversation.messages) for each in samples.found] == [4, 1]
    assert [str(each) for each in samples.faults] == [
        f"{file}:3: asks nothing: it needs a message of the user"
    ]


def test_a_folder_of_media_needs_no_texts(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.png", "in/a.wav", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    samples = read_prompts(tmp_path, Prompts())
    assert [Path(each.origin).name for each in samples.found] == ["b.png", "a.wav"]


def test_a_prompt_is_known_by_its_media_s_content_not_their_path(tmp_path: Path) -> None:
    keys = []
    for name, color in (("a", "red"), ("b", "red"), ("c", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), color).save(tmp_path / name / "x.png")
        content = [{"type": "image", "path": "x.png"}, {"type": "text", "text": "What?"}]
        file = lines(tmp_path / name, {"messages": [{"role": "user", "content": content}]})
        keys += [key_of(each) for each in read_prompts(file, Prompts()).found]
    assert keys[0] == keys[1] != keys[2]


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """It was there when the prompts were read."""
    (tmp_path / "x.png").write_bytes(b"")
    found = read_prompts(tmp_path, Prompts()).found
    (tmp_path / "x.png").unlink()
    faults: list[str] = []
    with pytest.raises(TuningDataError, match="1 of 1 examples"):
        faults.extend(str(each) for each in keys_of(found))
    assert faults == [f"{tmp_path / 'x.png'}: cannot be read (No such file or directory)"]


def prompts(folder: Path) -> list[tuple[Sample, str]]:
    found = read_prompts(lines(folder, HELLO, NAME, HELLO), Prompts()).found
    return [(each, key_of(each)) for each in found]


def test_the_model_answers_itself_and_once(
    tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is cut off finds what was answered; a prompt that occurs twice is asked once."""
    asked = prompts(tmp_path)
    plain = own_answers._answers
    batches: list[int] = []

    def counted(model: LocalModel, batch: dict[str, object], journal: object) -> object:
        batches.append(len(batch))
        if sum(batches) > 1 and len(batches) == 2:
            raise KeyboardInterrupt
        return plain(model, batch, journal)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(own_answers, "_answers", counted)
        patch.setattr(own_answers, "_at_once", lambda *_: 1)
        with pytest.raises(KeyboardInterrupt):
            list(answered(tiny, asked, tmp_path / "answers", 500))
    assert batches == [1, 1]
    with monkeypatch.context() as patch:
        batches[:] = [0, 0]
        patch.setattr(own_answers, "_answers", counted)
        found = list(answered(tiny, asked, tmp_path / "answers", 500))
    assert batches[2:] == [1]
    said = [each.conversation.messages[-1].content for each in found if isinstance(each, Sample)]
    assert said[0] == said[2] == "Hello! I am g4's tiny demo model."
    assert len(said) == 3 and said[1] != said[0]
    assert isinstance(found[-4], PromptsAnswered)


def learner_of(tiny: LocalModel, folder: Path) -> Learner:
    additions = LowRankOptions(rank=2, alpha=4, targets=("mlp",))
    network = with_new_adapter(with_gradients(tiny.network, towers=False), additions, seed=0)
    media = MediaStore(model=tiny, folder=folder, in_step=False)
    return Learner(network=network, media=media, tokens_at_once=1000)


def kept_examples(tiny: LocalModel, folder: Path) -> list[Example]:
    found = answered(tiny, prompts(folder)[:2], folder / "answers", 500)
    samples = [each for each in found if isinstance(each, Sample)]
    return [
        example
        for sample in samples
        for step in prepare_sample(tiny, sample, 500)
        if isinstance(step, Prepared)
        for example in step.examples
    ]


def test_the_drift_is_zero_at_first_and_its_gradient_leads_back(
    tiny: LocalModel, tmp_path: Path
) -> None:
    learner = learner_of(tiny, tmp_path)
    kept = kept_examples(tiny, tmp_path)
    states = KeptStates(folder=tmp_path / "states")
    read_states(learner, kept, states)
    drift, gradients = learner.drift(kept, states)
    assert abs(drift) < 1e-5
    assert all(float(mx.abs(each).max().item()) < 1e-4 for each in gradients.values())
    moved = {
        name: value + 0.2 * mx.random.normal(value.shape, key=mx.random.key(number))
        for number, (name, value) in enumerate(learner.parameters.items())
    }
    learner.use(moved)
    drift, gradients = learner.drift(kept, states)
    assert drift > 1e-3
    norm = sum(float(mx.square(each).sum().item()) for each in gradients.values()) ** 0.5
    step = 0.02 * drift / norm
    learner.use({name: moved[name] - step / norm * gradients[name] for name in moved})
    back, _ = learner.drift(kept, states)
    assert drift - back == pytest.approx(step * norm, rel=0.1)


def test_divergences_are_those_of_the_distributions(tiny: LocalModel) -> None:
    """Over more positions than are computed at once, against NumPy in double precision."""
    model = tiny.network.language_model
    width = tiny.network.config.text.hidden_size
    now, before = (mx.random.normal((300, width), key=mx.random.key(seed)) for seed in (1, 2))

    def log_likelihoods(hidden: mx.array) -> np.ndarray:
        logits = np.array(model.logits(hidden[None])[0]).astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    wanted, found = log_likelihoods(before), log_likelihoods(now)
    expected = (np.exp(wanted) * (wanted - found)).sum()
    assert summed_divergences(model, now, before).item() == pytest.approx(expected, rel=1e-4)
