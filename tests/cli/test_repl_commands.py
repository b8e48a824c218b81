"""Commands and questions of a conversation, typed by a list of lines instead of a terminal."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from cli_runs import environment
from PIL import Image as Pillow
from support.samples import GREETING, TEXT_OF, sample
from talks import Talk

from gemma4cli.cli.chat import microphone as repl_record
from gemma4cli.cli.chat.sessions import Autosave
from gemma4cli.cli.chat.slash_commands import COMMANDS
from gemma4cli.cli.environment import Environment
from gemma4cli.conversations.chat import ContextUse
from gemma4cli.conversations.saved_list import list_saved
from gemma4cli.conversations.store import SavedConversation
from gemma4cli.errors import ContextLengthError
from gemma4cli.media.sound import microphone
from gemma4cli.media.sound.microphone import Level
from gemma4cli.messages import AudioPart, ImagePart, TextPart

STARS = TEXT_OF["image00.png"]


def test_a_turn_is_on_disk_when_it_is_done(talk: Talk) -> None:
    talk.say("Hello")
    assert talk.out == f"{GREETING}\n"
    (saved,) = list_saved(talk.sessions)
    assert (saved.turns, saved.first_words, saved.model) == (1, "Hello", "tiny")


def test_undo_forgets_the_last_turn(talk: Talk) -> None:
    assert talk.say("Hello", "/undo") == "last turn removed\n"
    assert talk.roles == []
    assert list_saved(talk.sessions) == []
    assert talk.say("/undo") == "nothing to undo\n"
    talk.say("Hello")
    assert [saved.turns for saved in list_saved(talk.sessions)] == [1]


def test_the_last_turn_of_a_continued_conversation_is_shown(talk: Talk) -> None:
    talk.say("Hello", f"/image {sample('image00.png')}", "Describe this image.")
    err = talk.say(quiet=False)
    assert f"2 turns\n> [{sample('image00.png')}] Describe this image.\n{STARS}\n" in err


def test_a_text_that_no_dropped_turn_makes_fit_asks_nothing(talk: Talk) -> None:
    talk.say("Hello")
    question = "word " * 40_000
    err = talk.say(question)
    assert talk.script.questions == []
    assert "tokens, more than the model's context of 8,192" in err
    assert talk.script.drafts[-1] == question.strip()


def test_a_conversation_is_not_saved_onto_a_folder(talk: Talk) -> None:
    Path("dd").mkdir()
    talk.say("Hello")
    assert talk.say("/save dd") == "dd is a folder; name a file, such as dd/talk.json\n"
    assert "such as new/talk.json" in talk.say("/save new/")
    assert "cannot be saved" in talk.say("/save nowhere/talk.json")
    assert sorted(path.name for path in Path().iterdir()) == ["dd", "state"]


def test_a_conversation_is_not_saved_over_its_media(talk: Talk) -> None:
    for name in ("sent.png", "attached.png"):
        shutil.copy(sample("image00.png"), name)
    talk.say("/image sent.png", "Describe this image.", "/image attached.png")
    for name in ("sent.png", "./attached.png"):
        assert f"{Path(name)}: is an input and would be replaced" in talk.say(f"/save {name}")
    inside = talk.sessions / "x.json"
    assert "is where g4 keeps conversations" in talk.say(f"/save {inside}")
    assert talk.script.questions == [] and not inside.exists()


def test_help_fits_80_columns(talk: Talk) -> None:
    lines = talk.say("/help").splitlines()
    assert max(map(len, lines)) < 80
    (think,) = [line for line in lines if line.startswith("/think")]
    assert re.match(r"/think \[on\|off\|show\|hide\] +think", think)


def test_retry_answers_again(talk: Talk) -> None:
    talk.say("Hello", "/retry")
    assert talk.out == f"{GREETING}\n{GREETING}\n"
    assert talk.roles == ["user", "assistant"]
    talk.repl.chat.clear()
    assert "does not end with something to answer" in talk.say("/retry")


def test_dropped_file_goes_with_the_question(talk: Talk) -> None:
    err = talk.say(sample("image00.png"), "Describe this image.")
    assert err == f"{sample('image00.png')} is attached to the next question\n"
    assert talk.out == f"{STARS}\n"
    assert talk.repl.attached_media == []


def test_dropped_file_in_the_question(talk: Talk) -> None:
    err = talk.say(f"{sample('image00.png')} Describe this image.")
    assert err == f"{sample('image00.png')} is attached to this question\n"
    image, text = talk.repl.chat.history[0].parts
    assert isinstance(image, ImagePart)
    assert text == TextPart(text="Describe this image.")
    assert talk.out == f"{STARS}\n"


def test_text_file_is_material(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "my notes.txt").write_text("One.\n")
    assert "is attached to the next question" in talk.say("/file 'my notes.txt'", "Sum up")
    assert talk.repl.chat.history[0].parts == (TextPart(text="Sum up\n\nmy notes.txt:\nOne."),)
    assert talk.repl.attached_texts == []
    assert talk.say("/file nowhere") == "g4: nowhere: no such file\n"


def test_a_broken_file_is_let_go_and_the_others_stay(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    err = talk.say(f"/image broken.png {sample('image00.png')}", "Describe this image.")
    assert "g4: broken.png: " in err
    assert talk.roles == []
    talk.say("Describe this image.")
    assert talk.out == f"{STARS}\n"


def test_system_prompt(talk: Talk) -> None:
    assert "no system prompt; /system TEXT sets one" in talk.say("/system")
    talk.say("Hello", "/system Be 'brief'.")
    assert talk.roles == ["system", "user", "assistant"]
    assert talk.say("/system") == "Be 'brief'.\n"
    talk.say("/system off")
    assert talk.roles == ["user", "assistant"]


def test_think_turns_thinking_on_and_off(talk: Talk) -> None:
    talk.say("/think on")
    assert talk.repl.options.think
    assert talk.say("/think hide") == "thinking is on; thoughts are hidden\n"
    assert talk.repl.hide_thoughts
    assert talk.say("/think off") == "thinking is off\n"
    assert talk.say("/think maybe") == "/think takes on, off, show or hide\n"


def test_budget_changes_the_soft_tokens(talk: Talk) -> None:
    assert talk.say("/budget 140") == "up to 140 soft tokens per image\n"
    assert talk.repl.chat.media.budget == 140
    assert "must be one of" in talk.say("/budget 141")
    assert "/budget takes" in talk.say("/budget many")
    assert talk.repl.chat.media.budget == 140


def test_model_changes_the_model(talk: Talk) -> None:
    talk.say("Hello")
    before = talk.repl.chat
    assert talk.say("/model tiny") == "tiny\n"
    assert talk.repl.chat is not before
    assert talk.roles == ["user", "assistant"]
    assert "model 'nonsense' not found" in talk.say("/model nonsense")
    assert talk.repl.chat.model.name == "tiny"


def test_clear_begins_another_conversation(talk: Talk) -> None:
    first = talk.repl.autosave.name
    assert (
        talk.say("Hello", "/clear") == f"new conversation; the previous one is saved as {first}\n"
    )
    assert talk.repl.autosave.name != first
    talk.say("Hello", "Hello")
    assert sorted(saved.turns for saved in list_saved(talk.sessions)) == [1, 2]


def test_save_and_load(talk: Talk) -> None:
    talk.say(f"/image {sample('image00.png')}", "Describe this image.", "/save talk.json")
    assert Path("talk.media").is_dir()
    talk.script.answers = [False]
    talk.say("/clear", "/load talk.json", "/save talk.json")
    assert talk.script.questions == ["talk.json exists; replace it?"]
    assert talk.roles == ["user", "assistant"]
    assert talk.repl.chat.history[1].content == STARS
    assert talk.say("/load nowhere.json") == "g4: nowhere.json: no such file\n"
    assert talk.roles == ["user", "assistant"]


def test_load_answers_an_open_question(talk: Talk) -> None:
    Path("talk.json").write_text('{"messages": [{"role": "user", "content": "Hello"}]}')
    talk.say("/load talk.json")
    assert talk.out == f"{GREETING}\n"


def test_save_needs_exactly_one_file(talk: Talk) -> None:
    assert talk.say("/save") == "/save needs a file\n"
    assert "takes one file" in talk.say("/save a b")
    assert talk.say("/save a.json") == "nothing to save\n"


def test_context_and_stats(talk: Talk) -> None:
    assert talk.say("/context", "/stats") == ("no turns yet\nno complete answer yet\n")
    context, stats = talk.say("Hello", "/context", "/stats").splitlines()
    tokens = talk.repl.chat.context().tokens
    assert context.startswith(f"{tokens} of 8,192 tokens (0 %), 1 turn")
    assert re.fullmatch(
        r"10 prompt tokens, first token after \d+\.\d\d s, \d+ tokens at \d+\.\d/s", stats
    )
    assert talk.script.asides[-1] == f"{tokens} / 8,192 tokens"


def test_stats_count_the_cached_tokens_of_earlier_turns(talk: Talk) -> None:
    assert "cached" not in talk.say("Hello", "/stats")
    assert re.search(
        r"^\d+ prompt tokens \(\d+ cached\), ",
        talk.say("Hello", "/stats"),
        re.MULTILINE,
    )


def test_copy_needs_a_terminal(talk: Talk) -> None:
    assert talk.say("/copy") == "no answer to copy\n"
    assert "needs a terminal" in talk.say("Hello", "/copy")
    assert talk.say("/copy code") == "the last answer has no code block\n"


HABITS = [
    ("/bye", "did you mean /exit?"),
    ("/quit", "did you mean /exit?"),
    ("/?", "did you mean /help?"),
    ("/reset", "did you mean /clear?"),
    ("/set system Be brief.", "did you mean /system?"),
    ("/Image", "did you mean /image?"),
]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("/imagee x", "unknown command /imagee; did you mean /image?"),
        ("/q8", "/help lists all"),
        *HABITS,
    ],
)
def test_unknown_command(talk: Talk, typed: str, hint: str) -> None:
    assert hint in talk.say(typed)
    assert talk.roles == []


def test_a_path_that_does_not_exist_is_not_a_command(talk: Talk) -> None:
    talk.script.answers = [True]
    assert "unknown command" not in talk.say("/usr/bin/nothing is missing")
    assert talk.roles == ["user", "assistant"]


@pytest.mark.parametrize("yes", [True, False])
def test_a_file_that_cannot_be_attached_is_reported_before_anything_is_sent(
    talk: Talk, yes: bool
) -> None:
    Path("pics").mkdir()
    talk.script.answers = [yes]
    err = talk.say("missing.png or ./pics, what is it?")
    assert err == "missing.png: no such file\n./pics: is a folder; name a file in it\n"
    assert talk.script.questions == ["Send these names as text?"]
    assert talk.roles == (["user", "assistant"] if yes else [])
    assert talk.script.drafts[-1] == ("" if yes else "missing.png or ./pics, what is it?")


def test_commands_attach_only_what_a_medium_is(talk: Talk) -> None:
    picture, speech = sample("image00.png"), sample("speech00.wav")
    Path("pics").mkdir()
    assert talk.say(f"/image {speech}").endswith("attach it with /audio\n")
    assert talk.say(f"/audio {picture}").endswith("is an image: attach it with /image\n")
    assert talk.say("/image pics", "/attach nowhere.mp3") == (
        "pics: is a folder; name a file in it\nnowhere.mp3: no such file\n"
    )
    assert talk.repl.attached_media == []
    talk.say(f"/attach {speech} {picture}")
    assert [type(part) for part in talk.repl.attached_media] == [AudioPart, ImagePart]


def test_help_names_every_command(talk: Talk) -> None:
    err = talk.say("/help")
    assert all(f"/{name}" in err for name in COMMANDS)


def test_exit_leaves(talk: Talk) -> None:
    talk.say("/exit", "Hello")
    assert talk.roles == []


@pytest.mark.parametrize("yes", [True, False])
def test_a_message_that_does_not_fit(talk: Talk, yes: bool) -> None:
    talk.say("Hello")
    talk.chat.failure = lambda chat: ContextLengthError(8200, 8192) if chat.history else None
    talk.script.answers = [yes]
    err = talk.say("Hello")
    (question,) = talk.script.questions
    assert question == "8,200 tokens do not fit the context of 8,192; drop the oldest turn?"
    assert talk.roles == ["user", "assistant"]
    assert ("dropped 1 turn" in err) == yes
    # What was not said is there to be edited.
    assert talk.script.drafts[-1] == ("" if yes else "Hello")


@pytest.mark.parametrize("yes", [True, False])
def test_a_context_that_is_nearly_full_is_asked_about_before_the_answer(
    talk: Talk, yes: bool
) -> None:
    talk.chat.use = lambda chat: ContextUse(tokens=4_090 * len(chat.history), limit=8192)
    talk.say("Hello")
    talk.script.answers = [yes]
    talk.say("Hello")
    assert talk.script.questions == [
        "8,180 of 8,192 tokens are used; drop the oldest turns for an answer?"
    ]
    assert len(talk.roles) == (2 if yes else 4)


def test_a_context_that_fills_is_noticed(talk: Talk) -> None:
    talk.chat.use = lambda chat: ContextUse(tokens=6_600, limit=8192)
    err = talk.say("Hello", quiet=False)
    assert "the conversation takes 80 % of the context; /drop removes its oldest turn" in err


def test_drop_forgets_the_oldest_turn(talk: Talk) -> None:
    assert talk.say("Hello", "Hello", "/drop") == "dropped 1 turn\n"
    assert talk.roles == ["user", "assistant"]
    assert list_saved(talk.sessions)[0].turns == 1


def test_an_interrupt_before_a_word_gives_the_message_back(talk: Talk) -> None:
    talk.chat.failure = lambda chat: KeyboardInterrupt()
    assert talk.say(f"/image {sample('image00.png')}", "Hello").endswith("stopped\n")
    assert talk.script.drafts[-1] == "Hello"
    assert len(talk.repl.attached_media) == 1


def test_a_disk_that_fails_ends_no_conversation(talk: Talk) -> None:
    assert talk.repl.autosave.name is not None
    (talk.sessions / talk.repl.autosave.name / "conversation.json").mkdir()
    err = talk.say("Hello", "Hello")
    assert err.count("cannot be saved (") == 1
    assert talk.roles == ["user", "assistant"] * 2


class Tape:
    """Tenths of a second of a tone in the place of the microphone."""

    level = Level(peak=-20.0)
    count = 10

    def stop(self) -> None:
        pass

    def blocks(self) -> Iterator[np.ndarray]:
        yield from (np.sin(np.arange(1600, dtype=np.float32) / 8) / 2 for _ in range(self.count))


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """What every microphone captures."""
    made = Tape()
    monkeypatch.setattr(microphone, "record", lambda wanted: nullcontext(made))
    return made


def test_mic_attaches_recordings(talk: Talk, tape: Tape) -> None:
    err = talk.say("/mic", "/mic")
    assert "recording 2: 1.0 s" in err
    first, second = talk.repl.attached_media
    assert isinstance(first, AudioPart) and isinstance(second, AudioPart)
    assert second.source.name == "recording 2.wav"
    talk.say("Hello")
    kept = list_saved(talk.sessions)[0].name
    assert list((talk.sessions / kept / "media").glob("*.wav"))


def test_a_recording_without_sound_is_an_error(talk: Talk, tape: Tape) -> None:
    tape.count = 0
    assert talk.say("/mic").endswith("g4: microphone: nothing was recorded\n")
    assert talk.repl.attached_media == []


def test_without_a_terminal_nobody_presses_enter() -> None:
    assert not repl_record._enter_pressed(environment(stdin=io.StringIO("\n")))


def test_continuing_a_conversation_that_is_open(world: Environment, autosave: Autosave) -> None:
    assert autosave.name is not None
    with pytest.raises(Exception, match="another g4 has it open"):
        SavedConversation(world.sessions_folder / autosave.name)


def fax(path: Path) -> Path:
    """Three pages: red, blue, green."""
    colors = ("red", "blue", "green")
    first, *rest = (Pillow.new("RGB", (32, 32), color) for color in colors)
    first.save(path, save_all=True, append_images=rest)
    return path


def test_pages_of_an_image_are_attached(talk: Talk, tmp_path: Path) -> None:
    path = fax(tmp_path / "fax.tiff")
    err = talk.say(f"/image {path} --pages 2-3")
    assert f"{path}, page 2 is attached" in err
    assert f"{path}, page 3 is attached" in err
    pages = [part.source.page for part in talk.repl.attached_media if isinstance(part, ImagePart)]
    assert pages == [2, 3]


def test_a_wrong_page_is_reported_and_nothing_attached(talk: Talk, tmp_path: Path) -> None:
    path = fax(tmp_path / "fax.tiff")
    assert "has 3 pages; there is no page 4" in talk.say(f"/image {path} --pages 4")
    assert "--pages takes" in talk.say(f"/image {path} --pages some")
    assert talk.repl.attached_media == []


def test_an_image_with_several_pages_says_which_one_is_seen(talk: Talk, tmp_path: Path) -> None:
    path = fax(tmp_path / "fax.tiff")
    err = talk.say(f"/image {path}", "Describe this image.", quiet=False)
    assert f"{path}: page 1 of 3" in err
