"""The language model's stage: its forward is the reference's, its conversations are well formed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gemma4cli.processing.prompt import ImageSlot
from gemma4cli.processing.tokenizer import Tokenizer
from training.architecture import tiny_config
from training.language import small_talk
from training.language.answers import LanguageModel
from training.language.batches import FLAVOUR, batches, example
from training.language.conversations import Conversation, Library
from training.language.dialogues import Turn, encode
from training.language.hearing import transcribe
from training.language.initial import initialise_language_model, project_to_words
from training.language.joining import JOINED, LONGEST_JOINED
from training.language.looks import words_heard
from training.language.middle import Helpers, looking_loss
from training.language.seeing import describe
from training.language.sources import Clips, Pictures
from training.language.stage import helpers_loss, loss_of
from training.language.tasks import SHARES, conversation
from training.language.watching import watch
from training.loop import Loop, Schedule
from training.pictures.batches import soft_grid
from training.pictures.captions import NUMBERS
from training.pictures.description import KINDS, SHAPES, Picture
from training.pictures.features import Shown
from training.pictures.heads import by_head
from training.pictures.labels import CLASSES, label_rows
from training.pictures.lettering import CHARACTERS
from training.pictures.scenes import SHARES as PICTURE_SHARES
from training.pictures.scenes import VIDEO_SIZES, picture, still
from training.seeds import generator
from training.speech.audio_features import Heard
from training.speech.clips import SHARES as CLIP_SHARES
from training.words.numbers import ENGLISH_NUMBER_WORDS
from training.words.sentence import sentence, word_alphabet

TOKENIZER = Path(__file__).parents[2] / "gemma4cli/builtin/tiny/tokenizer.json"
PADDING = 0
POSITIONS = 8192


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(TOKENIZER)


def shown(seen: Picture, rng: np.random.Generator) -> Shown:
    grid = soft_grid(seen.height, seen.width, 70)
    tokens = rng.standard_normal((grid[0] * grid[1], 128)).astype(np.float16)
    return Shown(picture=seen, budget=70, grid=grid, tokens=tokens, labels=label_rows(seen, grid))


def heard(kind: str, rng: np.random.Generator) -> Heard:
    language = "de" if kind.startswith("german") else "en"
    said = sentence(rng, language)
    silent = kind == "no words"
    spoken = () if silent else said.spoken
    length = 4 * len(spoken) + int(rng.integers(20, 90))
    return Heard(
        tokens=rng.standard_normal((length, 128)).astype(np.float16),
        spelled=tuple((4 * number + 3, word) for number, word in enumerate(spoken)),
        written="" if silent else said.written,
        english="" if silent else said.english,
        language=language,
        kind=kind,
    )


@pytest.fixture(scope="module")
def library() -> Library:
    rng = generator("test", "library")
    stills = []
    for number in range(60):
        seen = still(rng, VIDEO_SIZES[number % len(VIDEO_SIZES)])
        stills += [shown(seen, rng), shown(seen, rng)]
    pictures = [shown(picture(rng, kind), rng) for kind in KINDS for _ in range(8)]
    clips = [heard(kind, rng) for kind in (*CLIP_SHARES, "question") for _ in range(8)]
    return Library(clips=Clips(clips), pictures=Pictures(pictures, stills))


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> LanguageModel:
    made = LanguageModel(tiny_config(tokenizer.vocab_size))
    initialise_language_model(made.text, generator("test", "weights"))
    return made.eval()


def test_logits_are_those_of_the_references_own_forward(
    model: LanguageModel, library: Library, tokenizer: Tokenizer
) -> None:
    rng = generator("test", "logits")
    examples = [example(conversation(rng, library, SHARES), tokenizer) for _ in range(6)]
    for batch in batches(examples, PADDING, POSITIONS):
        embeds = model.text.embed_tokens(batch.ids)
        for embedder, tokens, places in (
            (model.pictures, batch.pictures, batch.picture_places),
            (model.sounds, batch.sounds, batch.sound_places),
        ):
            if len(tokens):
                embeds[places] = embedder(tokens)
        with torch.no_grad():
            hidden = model.text(
                inputs_embeds=embeds,
                per_layer_inputs=model.text.get_per_layer_inputs(batch.ids, embeds),
                use_cache=False,
            ).last_hidden_state
            reference = torch.tanh(hidden @ model.text.embed_tokens.weight.T / 30.0) * 30.0
            given = model(batch).logits
        rows = torch.arange(len(batch.ids)).unsqueeze(1)
        learnt = batch.weights > 0
        torch.testing.assert_close(
            given[learnt], reference[rows, batch.answers][learnt], rtol=1e-4, atol=1e-4
        )


def test_looks_are_the_attention_of_the_references_last_layers(
    model: LanguageModel, library: Library, tokenizer: Tokenizer
) -> None:
    made = example(transcribe(generator("test", "looks"), library), tokenizer)
    (batch,) = batches([made, made], PADDING, POSITIONS)
    embeds = model.text.embed_tokens(batch.ids)
    embeds[batch.sound_places] = model.sounds(batch.sounds)
    with torch.no_grad():
        looks = model(batch).looks
        model.text.set_attn_implementation("eager")
        attentions = model.text(
            inputs_embeds=embeds,
            per_layer_inputs=model.text.get_per_layer_inputs(batch.ids, embeds),
            use_cache=False,
            output_attentions=True,
        ).attentions
    rows = torch.arange(len(batch.ids)).unsqueeze(1)
    for look, attention in zip(looks, attentions[-len(looks) :], strict=True):
        expected = attention[:, 0][rows, batch.answers]
        torch.testing.assert_close(look.exp(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", SHARES, ids=lambda task: task.__name__)
def test_tasks_give_conversations_whose_media_fill_their_places(
    task, library: Library, tokenizer: Tokenizer
) -> None:
    for number in range(12):
        made = example(task(generator("test", task.__name__, number), library), tokenizer)
        places = [span.end - span.start for span in made.encoded.spans]
        expected = [len(shown.tokens) for shown in made.conversation.pictures]
        expected += [len(clip.tokens) for clip in made.conversation.sounds]
        assert sorted(places) == sorted(expected)
        assert len(made.encoded.answers) == len(made.conversation.turns)
        for turn, span in zip(made.conversation.turns, made.encoded.answers, strict=True):
            ids = [made.encoded.ids[position] for position in span]
            assert ids[-1] == tokenizer.control_id("<turn|>")
            written = tokenizer.decode(ids)
            thought = "" if turn.thought is None else f"thought\n{turn.thought}"
            assert written == thought + turn.answer


def test_what_is_told_is_looked_for_where_it_is_seen_or_heard(
    library: Library, tokenizer: Tokenizer
) -> None:
    """The labels of soft tokens, and the words that were heard on them, tell what they show."""
    heads = list(CLASSES)
    checked: Counter[str] = Counter()
    for number in range(150):
        made = example(conversation(generator("looks", number), library, SHARES), tokenizer)
        shows: dict[int, str] = {}
        heard: dict[int, str] = {}
        sounds, pictures = iter(made.conversation.sounds), iter(made.conversation.pictures)
        for span in made.encoded.spans:
            if span.kind == "audio":
                spelled = next(sounds).spelled
                heard |= {span.start + at: word for at, word in spelled}
                continue
            for place, row in enumerate(next(pictures).labels.tolist(), start=span.start):
                label = dict(zip(heads, row, strict=True))
                if label["first"] > 0:
                    shows[place] = CHARACTERS[label["first"] - 1]
                elif label["center"] == 1:
                    shows[place] = SHAPES[label["shape"] - 1]
        for look in made.looks:
            said = tokenizer.decode([made.encoded.ids[look.token]]).strip(" ")
            seen = [shows[place] for place in look.places if place in shows]
            if look.places[0] in heard:
                if said.islower():
                    assert said in heard[look.places[0]]
                    checked["word"] += 1
            elif len(look.places) == 1 and seen[0] in CHARACTERS:
                assert said in ("", seen[0])
                checked["character"] += 1
            elif said in SHAPES:
                assert seen == [said]
                checked["shape"] += 1
            elif said == ":":
                around = tokenizer.decode(made.encoded.ids[look.places[0] : look.places[-1] + 1])
                assert re.search(r"\d\d:\d\d", around)
                checked["time"] += 1
    assert min(checked[kind] for kind in ("shape", "character", "time", "word")) > 20


def test_a_count_is_looked_for_at_the_last_of_equal_things(
    library: Library, tokenizer: Tokenizer
) -> None:
    rng = generator("test", "last")
    equal = library.pictures.of(rng, "count")
    turn = Turn(
        parts=(ImageSlot(soft_tokens=len(equal.tokens)), "How many objects are there?"),
        answer=f"{NUMBERS[len(equal.picture.things)]}.",
        about=equal.picture.things,
    )
    made = example(Conversation(turns=(turn,), pictures=(equal,)), tokenizer)
    (span,) = made.encoded.spans
    label = dict(zip(CLASSES, equal.labels.T.tolist(), strict=True))
    (place,) = {place - span.start for look in made.looks for place in look.places}
    assert label["order"][place] == label["count"][place] == len(equal.picture.things) - 1


def test_pictures_of_two_groups_are_met_more_often_than_there_are_of_them(library: Library) -> None:
    rng = generator("test", "kinds")
    kinds = Counter(library.pictures.any(rng).picture.kind for _ in range(600))
    assert kinds["groups"] / kinds.total() > 0.22 > PICTURE_SHARES["groups"]
    assert set(kinds) == set(PICTURE_SHARES)


def test_words_that_were_misheard_are_not_looked_for() -> None:
    clip = Heard(
        tokens=np.zeros((60, 128), np.float16),
        spelled=((2, "the"), (6, "dog"), (12, "forty"), (16, "two"), (30, "the"), (40, "tree")),
        written="the cat 42 the tree",
        english="",
        language="en",
        kind="sentence",
    )
    assert words_heard(clip) == {
        0: (range(2, 4),),
        2: (range(12, 14), range(16, 18)),
        3: (range(30, 32),),
        4: (range(40, 42),),
    }


def test_words_are_told_with_those_before_them(library: Library, tokenizer: Tokenizer) -> None:
    made = example(transcribe(generator("test", "words"), library), tokenizer)
    (batch,) = batches([made, made], PADDING, POSITIONS)
    (clip,) = made.conversation.sounds
    names = ["", *word_alphabet()]
    told = [[names[index] for index in row] for row in batch.words[: len(clip.spelled)].tolist()]
    said = [word for _, word in clip.spelled]
    padded = ["", "", "", *said]
    assert told == [padded[number : number + 4][::-1] for number in range(len(said))]


def test_looking_at_the_right_word_costs_nothing(library: Library, tokenizer: Tokenizer) -> None:
    made = example(transcribe(generator("test", "looking"), library), tokenizer)
    (batch,) = batches([made, made], PADDING, POSITIONS)
    chances = torch.full((*batch.answers.shape, batch.ids.shape[1]), 1e-6)
    rows, columns = batch.lookers
    numbers, places = batch.looked_at
    chances[rows[numbers], columns[numbers], places] = 1.0
    assert float(looking_loss((chances.log(),), batch)) < 1e-3
    assert float(looking_loss((chances.roll(5, -1).log(),), batch)) > 10


def test_words_are_numbered_where_they_are_heard_and_where_they_are_told(
    library: Library, tokenizer: Tokenizer
) -> None:
    made = example(transcribe(generator("test", "numbered"), library), tokenizer)
    (batch,) = batches([made, made], PADDING, POSITIONS)
    (clip,) = made.conversation.sounds
    said = [word for _, word in clip.spelled]
    assert batch.word_numbers[: len(said)].tolist() == list(range(len(said)))
    told: dict[int, str] = {}
    rows, columns = (each.tolist() for each in batch.tellers)
    for row, column, number in zip(rows, columns, batch.told.tolist(), strict=True):
        if row == 0:
            token = tokenizer.decode([made.encoded.ids[column + 1]]).strip(" ")
            told[number] = told.get(number, "") + token
    assert len(told) > len(said) // 2
    for number, text in told.items():
        assert text == said[number] or text.isdecimal()


def test_joined_clips_tell_the_words_that_they_hold() -> None:
    names = ["", *word_alphabet()]
    rng = generator("test", "joined")
    kinds = ("sentence", "cut", "numbers", "no words")
    clips = [heard(kind, rng) for kind in kinds for _ in range(6)]
    for clip in clips:
        clip.tokens[:] = 0
        for at, word in clip.spelled:
            clip.tokens[at] = names.index(word)
    made = [Clips(clips).any(rng, {JOINED: 1.0}) for _ in range(200)]
    again = 0
    for clip in made:
        held = [(at, names[int(token)]) for at, token in enumerate(clip.tokens[:, 0]) if token]
        # Where the clip ends, and before it begins, a word may be cut in two.
        told = list(clip.spelled)
        assert told in (held, held[1:], held[:-1], held[1:-1])
        assert told
        assert len(clip.tokens) <= LONGEST_JOINED
        said = [word for _, word in told]
        words = [word for word in clip.written.split() if not word.isdecimal()]
        assert words == [word for word in said if word not in ENGLISH_NUMBER_WORDS]
        runs = [tuple(said[at : at + 3]) for at in range(len(said) - 2)]
        again += len(set(runs)) < len(runs)
    assert again > 20


def test_longer_cut_clips_come_more_often() -> None:
    rng = generator("test", "longer")
    clips = [heard("cut", rng) for _ in range(8)]
    longer_half = sorted(len(clip.tokens) for clip in clips)[4:]
    known = Clips(clips)
    drawn = [len(known.any(rng, {"cut": 1.0}).tokens) for _ in range(300)]
    # Three quarters of them are expected, and half if all came as often.
    assert sum(length >= longer_half[0] for length in drawn) > 190


def test_helpers_learn_beside_the_model_or_first_alone(
    model: LanguageModel, library: Library, tokenizer: Tokenizer
) -> None:
    rng = generator("test", "helpers")
    talks = [task(rng, library) for task in (describe, transcribe) for _ in range(2)]
    parts = list(batches([example(talk, tokenizer) for talk in talks], PADDING, POSITIONS))
    helpers = Helpers(model.text.config.hidden_size)

    def learning(module: torch.nn.Module) -> set[str]:
        return {n for n, p in module.named_parameters() if p.grad is not None}

    loss, numbers = helpers_loss(model, helpers, parts)
    loss.backward()
    everything = {name for name, _ in helpers.named_parameters()}
    assert set(numbers) == {"seen", "heard", "number"}
    assert learning(helpers) == everything
    assert not learning(model)

    helpers.zero_grad(set_to_none=True)
    loss, numbers = loss_of(model, helpers, parts)
    loss.backward()
    assert set(numbers) == {"right", "seen", "heard", "number", "looking"}
    assert learning(helpers) == everything
    assert "text.layers.0.self_attn.q_proj.weight" in learning(model)
    model.zero_grad(set_to_none=True)


def test_targets_are_the_next_tokens(library: Library, tokenizer: Tokenizer) -> None:
    made = example(conversation(generator("test", 3), library, SHARES), tokenizer)
    (batch,) = batches([made, made], PADDING, POSITIONS)
    learnt = [position for span in made.encoded.answers for position in span]
    row = batch.answers[0, : len(learnt)].tolist()
    assert row == [position - 1 for position in learnt]
    assert batch.targets[0, : len(learnt)].tolist() == [made.encoded.ids[i] for i in learnt]


def test_a_picture_that_shows_what_the_one_before_did_is_marked_at_its_end(
    library: Library, tokenizer: Tokenizer
) -> None:
    talks = [watch(generator("test", "scenes", number), library) for number in range(8)]
    for batch in batches([example(talk, tokenizer) for talk in talks], PADDING, POSITIONS):
        assert set(batch.ids[batch.picture_ends].tolist()) == {tokenizer.control_id("<image|>")}
        assert len(batch.repeated) == len(batch.picture_ends[0])
    for talk in talks:
        (batch,) = batches([example(talk, tokenizer)] * 2, PADDING, POSITIONS)
        described = max((turn.answer for turn in talk.turns), key=len)
        begun = batch.repeated.tolist()[: len(talk.pictures)].count(0)
        assert begun == described.count("At 0")


def test_every_soft_token_of_a_picture_is_told_what_it_shows(
    library: Library, tokenizer: Tokenizer
) -> None:
    talks = [describe(generator("test", "labels", number), library) for number in range(6)]
    for batch in batches([example(talk, tokenizer) for talk in talks], PADDING, POSITIONS):
        of_heads = by_head(batch.picture_labels)
        assert set(of_heads) == set(CLASSES)
        for of_head in of_heads.values():
            assert of_head.shape == batch.picture_places[0].shape


def test_an_answer_is_encoded_as_it_will_be_read_in_later_turns(tokenizer: Tokenizer) -> None:
    turns = [Turn(parts=("Hello",), answer="Hi 12."), Turn(parts=("Bye",), answer="Goodbye!")]
    whole = encode(turns, tokenizer, FLAVOUR)
    first = encode(turns[:1], tokenizer, FLAVOUR)
    assert whole.ids[: len(first.ids)] == first.ids


def test_what_it_says_of_itself_has_one_answer_for_each_question() -> None:
    questions = [question for topic in small_talk.TOPICS for question in topic.questions]
    assert len(questions) == len(set(questions))
    rng = generator("test", "talk")
    for _ in range(300):
        text, answer = small_talk.anything_else(rng)
        assert "{" not in text
        assert answer in (small_talk.UNKNOWN, small_talk.UNABLE)


def test_a_projected_token_is_nearest_to_the_word_that_its_head_names() -> None:
    torch.manual_seed(0)
    embeddings, heads = torch.randn(40, 128) / 128**0.5, torch.randn(40, 128)
    projection = torch.nn.Linear(128, 128, bias=False)
    project_to_words(projection, embeddings, heads)
    said = projection(heads) @ embeddings.T
    assert (said.argmax(-1) == torch.arange(40)).float().mean() > 0.9


@pytest.mark.parametrize("by_muon", [False, True])
def test_a_stopped_stage_goes_on_as_if_it_had_not_been(tmp_path: Path, by_muon: bool) -> None:
    def trained(folder: Path, stops: tuple[int, ...]) -> torch.Tensor:
        for steps in stops:
            torch.manual_seed(0)
            layer = torch.nn.Linear(4, 4)
            schedule = Schedule(steps=20, peak=1e-2, warmup=2)
            matrices = [layer.weight] if by_muon else []
            loop = Loop(folder, {"layer": layer}, schedule, matrices=matrices, save_every=5)

            def loss(step: int, layer=layer, steps=steps):
                if step == steps:
                    raise KeyboardInterrupt
                rows = torch.from_numpy(generator("rows", step).standard_normal((8, 4))).float()
                return (layer(rows) - rows.flip(1)).pow(2).mean(), {}

            try:
                loop.run(loss)
            except KeyboardInterrupt:
                continue
        return layer.weight.detach()

    whole = trained(tmp_path / "whole", (20,))
    stopped = trained(tmp_path / "stopped", (7, 13, 20))
    assert torch.equal(whole, stopped)
