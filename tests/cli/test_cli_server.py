"""``--server``: commands that a running g4 answers say and write what they do by themselves."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_runs import ROOT, assert_fails, g4, g4_with, records, write_clip_with_sound
from imports_seen import imports_of_run
from support.live_server import serving
from support.samples import sample
from talks import Script
from test_cli_microphone import Tape, plugged
from test_cli_transcribe_resume import long, uninterrupted, wait_for_pieces
from typer.testing import Result

from gemma4cli.api import load
from gemma4cli.cli.chat.loop import converse
from gemma4cli.cli.chat.repl import Repl
from gemma4cli.cli.chat.sessions import Autosave
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.run.options import RunOptions
from gemma4cli.cli.run.served_model import served_model
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.answering import AnsweringModel
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import ServerError
from gemma4cli.events import TextDelta
from gemma4cli.options import GenerateOptions
from gemma4cli.serving.queued_model import QueuedModel

__all__ = ["long", "plugged"]  # fixtures of others

SCENE = str(ROOT / "fixtures" / "scene.png")
PICTURES = [sample(f"image{number:02d}.png") for number in range(3)]
SPEECH = [sample(f"speech{number:02d}.wav") for number in range(3)]
CLIP = sample("video00.mp4")


@pytest.fixture(scope="module")
def model() -> Iterator[QueuedModel]:
    model = QueuedModel.alone(lambda: load("tiny"))
    yield model
    model.queue.close()


@pytest.fixture(scope="module")
def url(model: QueuedModel) -> Iterator[str]:
    with serving(model) as address:
        yield address


def without_times(text: str) -> str:
    """JSON lines without what differs from run to run."""
    text = re.sub(r'"timings": \{[^}]*\}', '"timings": {}', text)
    return re.sub(r'"cached_tokens": \d+', '"cached_tokens": 0', text)


def both(url: str, *args: str | Path, stdin: str | None = None) -> tuple[Result, Result]:
    """A command whose model is loaded, and the same with a server."""
    command, *rest = args
    here = g4(command, "-m", "tiny", *rest, stdin=stdin)
    return here, g4(command, "--server", url, *rest, stdin=stdin)


LINES: dict[str, list[str]] = {
    "a picture": ["describe", SCENE],
    "a question": ["describe", SCENE, "-p", "Which colors?", "--seed", "7", "--temperature", "1"],
    "a record": ["describe", SCENE, "--json", "--budget", "280"],
    "pictures together": ["describe", *PICTURES, "--together", "--json"],
    "pictures": ["describe", *PICTURES, "--seed", "18446744073709551615", "--json"],
    "pictures one by one": ["describe", *PICTURES, "--batch", "1"],
    "a picture that is missing": ["describe", "missing.png"],
    "pictures of which one is none": ["describe", SCENE, SPEECH[0], PICTURES[0], "--json"],
    "a schema": ["describe", SCENE, "--schema", "colors.json", "--temperature", "0"],
    "a schema that cannot be": ["describe", *PICTURES, "--schema", "wrong.json"],
    "a schema that is too long": [
        "describe",
        SCENE,
        "--schema",
        "colors.json",
        "--max-tokens",
        "1",
    ],
    "a wrong option": ["describe", SCENE, "--top-p", "7"],
    "speech": ["transcribe", SPEECH[0]],
    "recordings": ["transcribe", *SPEECH, "--json", "--batch", "2"],
    "subtitles": ["transcribe", SPEECH[1], "-f", "srt"],
    "a translation": ["transcribe", SPEECH[1], "--translate-to", "German", "--language", "en"],
    "a recording that is none": ["transcribe", SCENE],
    "a clip": ["video", CLIP],
    "a clip with sound": ["video", "both.mp4", "--json"],
    "a clip in segments": ["video", CLIP, "--segment", "1", "--json", "--temperature", "0"],
    "a clip of too many frames": ["video", CLIP, "--fps", "4", "--video-max-frames", "4000"],
    "a word": ["chat", "-p", "Hello"],
    "media": ["chat", "-p", "What?", "--image", SCENE, "--audio", SPEECH[0], "--json"],
    "thoughts": ["chat", "-p", "Hello", "--think", "--json", "--seed", "3"],
    "a conversation": ["chat", "--messages", "talk.json", "--json"],
    "a text that is too long": ["chat", "-p", "word " * 9000],
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    (tmp_path / "colors.json").write_text('{"enum": ["red", "green"]}')
    (tmp_path / "wrong.json").write_text('{"type": "nothing"}')
    talk = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "image", "path": SCENE}, {"type": "text", "text": "?"}],
        },
        {"role": "assistant", "content": "A circle."},
        {"role": "user", "content": "Sure?"},
    ]
    (tmp_path / "talk.json").write_text(json.dumps({"messages": talk}))


QUICK = {"a record", "a schema that cannot be", "a word"}
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LINES]


@pytest.mark.parametrize("name", EACH)
def test_a_command_does_the_same_with_a_server(name: str, url: str, tmp_path: Path) -> None:
    if "both.mp4" in LINES[name]:
        write_clip_with_sound(tmp_path / "both.mp4")
    here, there = both(url, *LINES[name])
    assert without_times(there.stdout) == without_times(here.stdout)
    assert (there.exit_code, there.stderr) == (here.exit_code, here.stderr)
    assert here.stdout or here.exit_code


@pytest.mark.slow
def test_standard_input_is_read_here(url: str) -> None:
    here, there = both(url, "chat", "-p", "Which language?", stdin="Guten Tag.")
    assert (there.exit_code, there.stdout) == (0, here.stdout)


@pytest.mark.slow
def test_a_saved_conversation_continues_with_and_without_a_server(url: str) -> None:
    for server in ([], ["--server", url], ["--server", url], []):
        model = [] if server else ["-m", "tiny"]
        result = g4("chat", "--session", "mixed", "-p", "Hello", *server, *model, "--json")
        assert result.exit_code == 0, result.stderr
    (last,) = records(result)
    assert last["usage"]["prompt_tokens"] > 60


@pytest.mark.parametrize(
    "line",
    [
        ["describe", SCENE],
        *(
            pytest.param(line, marks=pytest.mark.slow)
            for line in (["chat", "-p", "Hello"], ["transcribe", SPEECH[0]], ["video", CLIP])
        ),
    ],
    ids=lambda line: line[0],
)
def test_with_a_server_no_network_is_loaded_and_no_tokenizer(line: list[str], url: str) -> None:
    _, imported = imports_of_run(*line, "--server", url)
    assert not imported.foreign & {"mlx", "mlx_lm", "tokenizers", "huggingface_hub", "llguidance"}
    assert not {name.partition(".")[0] for name in imported.own} & {"models", "native", "serving"}
    assert {"remote", "wire"} <= {name.partition(".")[0] for name in imported.own}


# What a server may be, and what may not go with it


def test_a_model_that_is_named_must_be_the_one_there(url: str) -> None:
    assert g4("describe", SCENE, "--server", url, "-m", "tiny").exit_code == 0
    assert_fails(
        g4("chat", "-p", "Hi", "--server", url, "-m", "e4b"), 4, f"{url}: has tiny, not e4b"
    )


@pytest.mark.slow
def test_a_model_that_is_set_is_for_runs_without_a_server(url: str) -> None:
    variables = {"G4_MODEL": "e4b", "G4_DTYPE": "bfloat16", "G4_KV_BITS": "8", "G4_SERVER": url}
    assert g4_with(variables, "describe", SCENE).exit_code == 0
    result = g4_with(variables, "describe", SCENE, "--server", "none", "-m", "tiny")
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--dtype", "float32"], "decided that: leave out --dtype"),
        (["--draft", "none"], "decided that: leave out --draft"),
        (["--kv-bits", "8"], "decided that: leave out --kv-bits"),
        (["--prefill-step", "64"], "decided that: leave out --prefill-step"),
        (["--server", "http://studio.lan:1", "--offline"], "--server is reached over the network"),
        (["--server", "ftp://host"], "only http, https and unix"),
    ],
)
def test_what_does_not_go_with_a_server_is_said(args: list[str], said: str, url: str) -> None:
    assert_fails(g4("describe", SCENE, "--server", url, *args), 2, said)


def test_a_prompt_cache_is_the_servers(url: str, tmp_path: Path) -> None:
    result = g4("chat", "-p", "Hi", "--server", url, "--prompt-cache", tmp_path / "cache")
    assert_fails(result, 2, "leave out --prompt-cache")


@pytest.mark.slow
def test_a_server_on_this_machine_is_no_network(url: str) -> None:
    assert g4("describe", SCENE, "--server", url, "--offline").exit_code == 0


def test_nobody_is_there() -> None:
    result = g4("describe", SCENE, "--server", "127.0.0.1:9")
    assert_fails(result, 4, "g4: http://127.0.0.1:9: cannot be reached", "start it with g4 serve")


@pytest.mark.slow
def test_a_token_comes_from_a_variable(model: QueuedModel) -> None:
    with serving(model, token="secret") as url:
        wrong, right = ({"G4_SERVER_TOKEN": token} for token in ("other", "secret"))
        assert g4_with(right, "describe", SCENE, "--server", url).exit_code == 0
        said = g4_with(wrong, "describe", SCENE, "--server", url)
        assert_fails(said, 4, "does not take this token: set G4_SERVER_TOKEN")
        assert_fails(g4("describe", SCENE, "--server", url), 4, "wants a token")
    assert_fails(
        g4_with({"G4_SERVER_TOKEN": "a\nb"}, "describe", SCENE, "--server", url), 2, "token"
    )


@pytest.mark.slow
def test_doctor_says_whether_the_server_that_is_set_answers(url: str) -> None:
    (found,) = records(g4_with({"G4_SERVER": url}, "doctor", "--json"))
    (server,) = found["server"]
    assert (server["state"], server["value"][: len(url) + 9]) == ("ok", f"{url} has tiny")
    gone = g4_with({"G4_SERVER": "127.0.0.1:9"}, "doctor")
    assert "! server      http://127.0.0.1:9: cannot be reached" in gone.stdout
    assert "or remove server from G4_SERVER" in " ".join(gone.stdout.split())
    assert "server" not in records(g4("doctor", "--json"))[0]


@pytest.mark.slow
def test_a_project_does_not_say_where_pictures_go(url: str, tmp_path: Path) -> None:
    (tmp_path / ".g4.toml").write_text(f'server = "{url}"\n')
    result = g4("describe", SCENE, "-m", "tiny")
    assert result.exit_code == 0
    assert "server is ignored: what you ask would go there" in result.stderr


@pytest.mark.slow
def test_pictures_that_are_too_large_for_one_request_go_in_several(model: QueuedModel) -> None:
    with serving(model, most_body=600_000) as url:
        here, there = both(url, "describe", *PICTURES, "--json", "--batch", "3")
        assert (there.exit_code, without_times(there.stdout)) == (0, without_times(here.stdout))
        large = g4("describe", SCENE, PICTURES[0], "--server", url, "--budget", "560", "--json")
    assert large.exit_code == 1
    for each in records(large):
        assert "but the server takes 0.6 MB: use a smaller --budget" in each["error"]["message"]


# Conversations, the microphone, and runs that end early


@pytest.fixture
def typed(world: Environment, autosave: Autosave) -> Callable[..., tuple[str, str]]:
    """Types lines into a conversation with a model; what stdout and stderr had to say to them."""

    def type_in(model: AnsweringModel, server: str | None, *lines: str) -> tuple[str, str]:
        streams = world.stdout, world.stderr
        for stream in streams:
            stream.seek(0)
            stream.truncate()
        reader: Any = Script([])
        reader.lines = list(lines)
        run = RunOptions(server=server)
        options = GenerateOptions(temperature=0.0, max_tokens=40)
        converse(Repl(world, Chat(model), run, autosave, reader, options=options))
        out, err = streams
        assert isinstance(out, io.StringIO) and isinstance(err, io.StringIO)
        return out.getvalue(), err.getvalue()

    return type_in


@pytest.mark.slow
def test_a_conversation_at_a_terminal(
    url: str, world: Environment, tiny: LoadedModel, typed: Callable[..., tuple[str, str]]
) -> None:
    """Another try, a removed turn, and how full the context is."""
    lines = (
        "Hello",
        f"/image {SCENE}",
        "Describe this image.",
        "/retry",
        "/undo",
        "Hi",
        "/context",
    )
    here, there = typed(tiny, None, *lines), typed(served_model(world, url, None), url, *lines)
    assert there == here
    assert here[0].count("\n") == 4


@pytest.mark.slow
def test_a_conversation_says_what_is_served(
    url: str, world: Environment, typed: Callable[..., tuple[str, str]]
) -> None:
    model = served_model(world, url, None)
    out, err = typed(model, url, "Hello", "/model", "/model e4b", "/model tiny", "/stats", "Hello")
    assert err.count(f"tiny, served at {url}\n") == 2
    assert f"{url}: has tiny, not e4b" in err
    assert "prompt tokens" in err
    assert out.count("\n") == 2


@pytest.mark.slow
def test_a_server_that_went_away_is_asked_again_when_it_is_back(
    world: Environment, model: QueuedModel, typed: Callable[..., tuple[str, str]]
) -> None:
    """The conversation stays."""
    with serving(model) as url:
        served = served_model(world, url, None)
        chat = Chat(served)
        list(chat.send("Hello"))
    with pytest.raises(ServerError, match="cannot be reached"):
        list(chat.send("Again"))
    assert [message.role for message in chat.history] == ["user", "assistant"]


@pytest.mark.slow
def test_a_microphone_is_heard_here(url: str, plugged: dict[str | None, Tape]) -> None:
    there = g4("transcribe", "--mic", "--server", url)
    plugged[None] = Tape()
    here = g4("transcribe", "--mic", "-m", "tiny")
    assert (there.exit_code, there.stdout, there.stderr) == (0, here.stdout, here.stderr)


@pytest.mark.slow
def test_an_answer_that_nobody_wants_any_more_ends_at_the_server(
    world: Environment, tiny: LoadedModel
) -> None:
    def endless() -> LocalModel:
        loaded = load("tiny")
        return replace(loaded, generation=replace(loaded.generation, stop_ids=frozenset()))

    endlessly = GenerateOptions(max_tokens=8000, repetition_guard=False)
    model = QueuedModel.alone(endless)
    with closing(model.queue), serving(model) as url:
        events = Chat(served_model(world, url, None)).send("Hello", endlessly)
        assert any(isinstance(event, TextDelta) for event in events)
        assert model.queue.waiting == 1
        events.close()  # type: ignore[attr-defined]
        wait_until(lambda: model.queue.waiting == 0)


@pytest.mark.slow
def test_a_client_that_is_killed_leaves_nothing_and_continues(
    url: str, model: QueuedModel, tmp_path: Path, long: Path
) -> None:
    text = uninterrupted(long)
    command = ["transcribe", long, "--server", url, "--batch", "1", "-o", tmp_path / "out.txt"]
    process = subprocess.Popen([sys.executable, "-m", "gemma4cli", *map(str, command)])
    wait_for_pieces(process, 2)
    process.kill()
    process.wait()
    wait_until(lambda: model.queue.waiting == 0)
    result = g4(*command)
    assert result.exit_code == 0
    assert "long.wav: resumes at 0:" in result.stderr
    assert (tmp_path / "out.txt").read_text() == text


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
