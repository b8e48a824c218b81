"""Options from the environment, from the project's files and from the user's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from cli_runs import Exchange, assert_fails, environment, g4, g4_with, records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.core import TyperGroup
from typer.testing import CliRunner

from gemma4cli.cli.app import app
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.run.model_command import ModelCommand
from gemma4cli.cli.run.options import SHARED, RunOptions
from gemma4cli.cli.run.shared_options import runs_a_model
from gemma4cli.cli.settings import resolve
from gemma4cli.cli.settings.keys import OF_ONE_CALL
from gemma4cli.cli.transcribe import run as transcribe
from gemma4cli.options import GenerateOptions, MediaOptions

PROJECT = Path(".g4.toml")


def user_file() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "g4" / "config.toml"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


@pytest.fixture
def asked(sent: Exchange) -> Callable[..., GenerateOptions]:
    """Runs a command with "tiny" and more variables; returns how to generate the answer."""

    def run(command: str = "describe", *arguments: str, **variables: str) -> GenerateOptions:
        result = g4_with({"G4_MODEL": "tiny", **variables}, command, "a.png", *arguments)
        assert result.exit_code == 0, result.stderr
        return sent.options[-1]

    return run


@pytest.fixture
def media(asked: Callable[..., GenerateOptions], sent: Exchange) -> Callable[..., MediaOptions]:
    """Runs a command with "tiny"; returns how its media were to be sampled."""

    def run(command: str, *arguments: str) -> MediaOptions:
        asked(command, *arguments)
        return sent.media[-1]

    return run


# Which one wins


def test_file_sets_options(asked: Callable[..., GenerateOptions]) -> None:
    write(
        PROJECT, "temperature = 0.25\ntop_p = 1\ntop_k = 7\nseed = 3\nmax_tokens = 9\nthink = true"
    )
    options = asked()
    assert (options.temperature, options.top_p, options.top_k) == (0.25, 1.0, 7)
    assert (options.seed, options.max_tokens, options.think) == (3, 9, True)


def test_table_is_for_one_command(media: Callable[..., MediaOptions]) -> None:
    write(PROJECT, "[describe]\nbudget = 560\n[video]\nvideo_max_frames = 5\naudio = false")
    assert media("describe").budget == 560
    clip = media("video")
    assert (clip.video_max_frames, clip.video_sound, clip.video_budget) == (5, False, None)


def test_table_before_top_level(asked: Callable[..., GenerateOptions]) -> None:
    write(PROJECT, "seed = 1\n[video]\nseed = 2")
    assert asked("describe").seed == 1
    assert asked("video").seed == 2


def test_command_line_before_all(asked: Callable[..., GenerateOptions]) -> None:
    write(PROJECT, "seed = 1\nthink = true\n[describe]\nseed = 2")
    variables = {"G4_SEED": "3", "G4_DESCRIBE_SEED": "4"}
    options = asked("describe", "--seed", "5", "--no-think", **variables)
    assert (options.seed, options.think) == (5, False)


def test_variables_before_files(asked: Callable[..., GenerateOptions]) -> None:
    write(PROJECT, "seed = 1\nthink = true\n[describe]\nseed = 2")
    options = asked(G4_SEED="3", G4_THINK="0")
    assert (options.seed, options.think) == (3, False)


def test_variable_of_a_command_before_that_of_all(
    asked: Callable[..., GenerateOptions],
) -> None:
    variables = {"G4_SEED": "3", "G4_DESCRIBE_SEED": "4"}
    assert asked("describe", **variables).seed == 4
    assert asked("video", **variables).seed == 3


def test_short_variable_of_a_setting(monkeypatch: pytest.MonkeyPatch, sent: Exchange) -> None:
    assert "G4_NO_LOG" in variables()
    monkeypatch.setenv("G4_NO_LOG", "1")
    result = g4("chat", "-m", "tiny", "-p", "Hello", "--session", "mine")
    assert_fails(result, 2, "no_log is set in G4_NO_LOG")


def test_short_variable_gives_way_to_the_long_one(
    monkeypatch: pytest.MonkeyPatch, sent: Exchange
) -> None:
    monkeypatch.setenv("G4_NO_LOG", "1")
    monkeypatch.setenv("G4_CHAT_NO_LOG", "0")
    assert g4("chat", "-m", "tiny", "-p", "Hello", "--session", "mine").exit_code == 0


def test_variables_are_those_of_the_environment_that_g4_is_started_with(
    new_program: tuple[typer.Typer, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen = new_program
    monkeypatch.setenv("G4_SEED", "3")
    monkeypatch.setenv("G4_PAINT_BRUSH", "4")
    env = environment(G4_PAINT_BRUSH="2")
    CliRunner().invoke(made, ["paint"], obj=env, catch_exceptions=False)
    assert (seen.values["seed"], seen.values["brush"]) == (None, 2.0)


def test_no_option_reads_a_variable_by_itself() -> None:
    """Click would take it from the process and not from the environment that g4 is started with."""
    options = [p for command in program().commands.values() for p in command.params]
    assert [option.name for option in options if option.envvar is not None] == []


def test_project_before_user(asked: Callable[..., GenerateOptions]) -> None:
    write(PROJECT, "seed = 1")
    write(user_file(), "top_k = 5\n[describe]\nseed = 2")
    options = asked()
    assert (options.seed, options.top_k) == (1, 5)


def test_nearest_project_first_key_by_key(
    asked: Callable[..., GenerateOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(PROJECT, "seed = 1\ntop_k = 5")
    write(tmp_path / "below" / PROJECT, "seed = 2")
    monkeypatch.chdir(tmp_path / "below")
    options = asked()
    assert (options.seed, options.top_k) == (2, 5)


def test_nothing_set(asked: Callable[..., GenerateOptions]) -> None:
    assert asked() == GenerateOptions()


def test_chat(sent: Exchange) -> None:
    write(PROJECT, 'model = "tiny"\n[chat]\nsystem = "Be brief."\nmax_tokens = 7')
    g4("chat", "-p", "Hello")
    ((system,),) = sent.before
    assert [part.text for part in system.parts] == ["Be brief."]
    assert sent.options[-1].max_tokens == 7


@pytest.mark.parametrize("setting", ["offline = true", "[describe]\noffline = true"])
def test_offline(sent: Exchange, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    write(PROJECT, setting)
    assert g4("describe", "a.png", "-m", "tiny").exit_code == 0
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_debug(sent: Exchange) -> None:
    write(PROJECT, "debug = true\n[describe]\nbudget = 3")
    assert "Traceback" in g4("describe", "a.png", "-m", "tiny").stderr


def test_model_of_one_command(sent: Exchange) -> None:
    write(PROJECT, 'model = "of-all"\n[describe]\nmodel = "tiny"')
    assert records(g4("describe", "a.png", "--json"))[0]["model"] == "tiny"
    assert_fails(g4("video", "a.mp4"), 4, "model 'of-all' not found")


# What is wrong


BAD_FILES = [
        ("temprature = 1", "there is no temprature; did you mean temperature?"),
        ("max-tokens = 1", "there is no max-tokens; did you mean max_tokens?"),
        ("[describe]\nbugdet = 70", "there is no describe.bugdet; did you mean budget?"),
        ("[trancsribe]", "there is no trancsribe; did you mean transcribe?"),
        ("xyzzy = 1", "there is no xyzzy; g4 config lists all settings"),
        ('format = "srt"', "there is no format; write format into [transcribe]"),
        ("budget = 70", "there is no budget; write budget into [describe] or [video]"),
        ("[describe]\nfps = 1", "there is no describe.fps; write fps into [video]"),
        ("json = true", "json cannot be set: it is for the command line"),
        ('[video]\noutput = "a"', "video.output cannot be set: it is for the command line"),
        ("[transcribe]\nthink = true", "transcribe.think cannot be set"),
        ('[chat]\nimage = ["a.png"]', "there is no chat.image"),
        ("describe = 3", "describe is a table: write [describe]"),
        ('temperature = "hot"', "temperature must be a number, not 'hot'"),
        ('temperature = "0.5"', "temperature must be a number, not '0.5'"),
        ("temperature = true", "temperature must be a number, not True"),
        ("max_tokens = 1.5", "max_tokens must be a whole number, not 1.5"),
        (f"max_tokens = {'1' * 5000}", "cannot be read (a number has thousands of digits)"),
        ("max_tokens = 0", "max_tokens is 0: "),
        ("think = 1", "think must be true or false, not 1"),
        ('dtype = "int8"', "dtype must be one of auto, float32, bfloat16, float16, not 'int8'"),
        ("dtype = 16", "dtype must be one of auto, float32, bfloat16, float16, not 16"),
        ("[describe]\nprompt = 3", "describe.prompt must be text, not 3"),
        ("[describe]\nmax_tokens = 0", "describe.max_tokens is 0: "),
    ]  # fmt: skip
BAD_VARIABLES = [
    ("G4_TEMPERATURE", "hot", "is 'hot': "),
    ("G4_TEMPERATURE", "-1", "is '-1': "),
    ("G4_DESCRIBE_MAX_TOKENS", "0", "is '0': "),
    ("G4_MAX_TOKENS", "1" * 5000, f"is '{'1' * 58}…: must be a whole number"),
    ("G4_THINK", "perhaps", "is 'perhaps': "),
    ("G4_DTYPE", "int8", "must be one of auto, float32, bfloat16, float16, not 'int8'"),
]


def test_a_mistake_in_a_file_is_named_with_its_file(
    subtests: pytest.Subtests, sent: Exchange
) -> None:
    for path in (user_file(), PROJECT.absolute()):
        for text, problem in BAD_FILES:
            with subtests.test(path=path.name, text=text):
                write(path, text)
                assert_fails(g4("describe", "a.png", "-m", "tiny"), 2, f"{path}: {problem}")
                assert sent.parts == []
        path.unlink()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_have_a_byte_order_mark(
    encoding: str, asked: Callable[..., GenerateOptions]
) -> None:
    PROJECT.write_bytes("# gr\u00fcn\r\nmax_tokens = 3\r\n".encode(encoding))
    assert asked("describe").max_tokens == 3
    assert g4("config", "set", "seed", "4", "--project").exit_code == 0
    assert PROJECT.read_bytes() == "# gr\u00fcn\r\nmax_tokens = 3\r\nseed = 4\r\n".encode()


UNKNOWN_VARIABLES = {
    "G4_MODLE": "is not a setting of g4; did you mean G4_MODEL?",
    "G4_TEMP": "is not a setting of g4; did you mean G4_TEMPERATURE?",
    "G4_CHAT_SYSTM": "is not a setting of g4; did you mean G4_CHAT_SYSTEM?",
    "G4_CHAT_FOO": "is not a setting of g4; g4 config lists all settings",
    "G4_HOME": "is not a setting of g4; g4 config lists all settings",
    "G4_JSON": "has no effect: --json is for the command line",
}


@pytest.mark.parametrize(("name", "said"), UNKNOWN_VARIABLES.items())
def test_an_unknown_variable_is_named(name: str, said: str, sent: Exchange) -> None:
    result = g4_with({name: "x"}, "chat", "Hi", "-m", "tiny")
    assert result.exit_code == 0
    assert f"{name} {said}\n" in result.stderr


def test_a_mistake_in_a_variable_is_named(subtests: pytest.Subtests, sent: Exchange) -> None:
    for name, text, problem in BAD_VARIABLES:
        with subtests.test(name=name, text=text):
            result = g4_with({name: text}, "describe", "a.png", "-m", "tiny")
            assert_fails(result, 2, f"g4: {name} {problem}")
            assert sent.parts == []


def test_bad_value_gives_way_to_the_command_line(asked: Callable[..., GenerateOptions]) -> None:
    write(PROJECT, 'seed = "x"')
    assert asked("describe", "--seed", "5").seed == 5


def test_bad_value_of_another_command_does_not_matter(
    asked: Callable[..., GenerateOptions],
) -> None:
    write(PROJECT, "[video]\nfps = true")
    asked("describe")


def test_a_value_that_a_command_refuses_names_its_file(
    subtests: pytest.Subtests, sent: Exchange
) -> None:
    for text, problem in [
        ("top_p = 1.5", "top-p must be above 0 and at most 1, not 1.5 (top_p is set in"),
        ("[describe]\nbudget = 561", "not 561 (budget is set in"),
    ]:
        with subtests.test(text=text, problem=problem):
            write(PROJECT, f"seed = 9\n{text}")
            result = g4("describe", "a.png", "-m", "tiny")
            assert_fails(result, 2, f"{problem} {PROJECT.absolute()})")
            assert "seed" not in result.stderr


def test_a_bad_value_of_the_command_line_does_not_name_a_file(sent: Exchange) -> None:
    write(PROJECT, "top_p = 0.5\n[describe]\nbudget = 70")
    result = g4("describe", "a.png", "-m", "tiny", "--budget", "561")
    assert_fails(result, 2, "not 561\n")


def test_broken_file_matters_where_a_model_is_named(sent: Exchange) -> None:
    """It may have set offline, or anything else."""
    write(PROJECT, "offline = true\nmodel = ")
    assert_fails(g4("describe", "a.png", "-m", "tiny"), 2, f"{PROJECT.absolute()}: cannot be read")


def test_broken_file_leaves_help_and_models_alone(subtests: pytest.Subtests) -> None:
    for arguments in [["--help"], ["describe", "--help"], ["models", "list"]]:
        with subtests.test(arguments=arguments):
            before = g4(*arguments)
            write(PROJECT, "model = ")
            result = g4(*arguments)
            assert (result.exit_code, result.stdout) == (0, before.stdout)


def test_help_is_the_same_with_settings() -> None:
    before = g4("transcribe", "--help").stdout
    write(PROJECT, 'seed = 77\n[transcribe]\nformat = "vtt"')
    assert g4("transcribe", "--help").stdout == before


SETTING_KEYS = st.sampled_from(
    [
        "seed",
        "temperature",
        "model",
        "think",
        "dtype",
        "xyzzy",
        "budget",
        "describe",
        '"a b"',
        "a.b",
    ]
)
SETTING_VALUES = st.sampled_from(
    ["1", "-1", "1e400", "nan", "true", '"x"', '""', "[]", "{a = 1}", "1979-05-27", "'", "0x", ""]
)
SETTING_LINES = st.builds("{} = {}".format, SETTING_KEYS, SETTING_VALUES) | st.sampled_from(
    ["[describe]", "[video]", "[[describe]]", "[", "# comment", "\0"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(SETTING_LINES, max_size=5).map("\n".join).map(str.encode)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=40)
)
def test_any_file_gives_values_or_one_error_that_names_it(content: bytes) -> None:
    PROJECT.write_bytes(content)
    result = g4("config", "--json")
    if result.exit_code:
        assert_fails(result, 2, f"g4: {PROJECT.absolute()}: ")
    else:
        assert {each["source"] for each in records(result)} <= {"default", "file"}


# What a default must not do to a command


@dataclass
class Seen:
    """What a command was run with."""

    values: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def transcription(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[transcribe.TranscribeRun, Any]]:
    """What ``g4 transcribe -m tiny`` would do, and with which files or which microphone."""

    def run(*arguments: str) -> tuple[transcribe.TranscribeRun, Any]:
        runs: list[tuple[transcribe.TranscribeRun, Any]] = []
        for name in ("files", "microphone"):
            monkeypatch.setattr(
                transcribe.TranscribeRun, name, lambda self, given: runs.append((self, given))
            )
        result = g4("transcribe", "-m", "tiny", *arguments)
        assert result.exit_code == 0, result.output
        ((asked, given),) = runs
        return asked, given

    return run


def test_transcripts_stay_greedy_and_thoughtless(transcription: Callable[..., Any]) -> None:
    write(PROJECT, "temperature = 0.9\nthink = true\nmax_tokens = 9")
    asked, _ = transcription("a.wav")
    assert (asked.run.temperature, asked.run.think, asked.run.max_tokens) == (None, False, 9)


def test_transcripts_have_their_own_temperature(
    transcription: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G4_TEMPERATURE", "0.9")
    write(PROJECT, "[transcribe]\ntemperature = 0.2")
    assert transcription("a.wav")[0].run.temperature == 0.2


def test_format_and_language(transcription: Callable[..., Any]) -> None:
    write(PROJECT, '[transcribe]\nformat = "srt"\nlanguage = "de"')
    asked, _ = transcription("a.wav")
    assert (asked.suffixes, asked.options.language) == (("srt",), "German")


def test_json_before_a_format_that_is_set(transcription: Callable[..., Any]) -> None:
    write(PROJECT, '[transcribe]\nformat = "srt"')
    asked, _ = transcription("a.wav", "--json")
    assert (asked.run.json, asked.suffixes) == (True, ("txt",))


def test_microphone_is_chosen_where_it_is_used(transcription: Callable[..., Any]) -> None:
    write(PROJECT, '[transcribe]\ndevice = "usb"')
    assert transcription("--mic")[1] == "usb"
    assert transcription("a.wav")[1] == ["a.wav"]


def test_skipping_needs_files_to_look_for(transcription: Callable[..., Any]) -> None:
    write(PROJECT, "[transcribe]\nskip_existing = true")
    assert not transcription("a.wav")[0].skip_existing
    assert transcription("a.wav", "-o", "a.txt")[0].skip_existing
    assert not transcription("--mic", "-o", "a.txt")[0].skip_existing


def test_conversation_file_has_its_own_system_prompt(sent: Exchange) -> None:
    write(PROJECT, '[chat]\nsystem = "Be brief."')
    write(Path("talk.json"), '{"messages": [{"role": "user", "content": "Hello"}]}')
    assert g4("chat", "-m", "tiny", "--messages", "talk.json").exit_code == 0


def test_a_saved_chat_continues_with_its_model() -> None:
    write(PROJECT, 'model = "of-file"')
    assert g4("chat", "-m", "tiny", "-p", "Hello", "--session", "mine").exit_code == 0
    assert g4("chat", "-p", "Again", "--session", "mine").exit_code == 0


def test_variable_names_the_model_of_a_conversation_that_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert g4("chat", "-m", "tiny", "-p", "Hello", "--session", "mine").exit_code == 0
    monkeypatch.setenv("G4_MODEL", "of-variable")
    result = g4("chat", "-p", "Again", "--session", "mine")
    assert_fails(result, 4, "model 'of-variable' not found")


def test_new_conversation_has_the_model_of_the_files() -> None:
    write(PROJECT, 'model = "of-file"')
    assert_fails(g4("chat", "-p", "Hello", "--session", "new"), 4, "model 'of-file' not found")


# New options


def program() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


@pytest.fixture
def new_program(monkeypatch: pytest.MonkeyPatch) -> tuple[typer.Typer, Seen]:
    """A program with a command that has options of every kind."""
    seen = Seen()

    @runs_a_model
    def paint(
        run: RunOptions,
        env: Environment,
        brush_size: Annotated[float, typer.Option("--brush", "-b", max=9)] = 1,
        palette: Path | None = None,
        dry: Annotated[bool, typer.Option("--dry/--wet")] = False,
        layers: Annotated[list[str] | None, typer.Option("--layer")] = None,
    ) -> None:
        seen.values = {"brush": brush_size, "palette": palette, "dry": dry, "seed": run.seed}

    made = typer.Typer(pretty_exceptions_enable=False)
    made.command(cls=ModelCommand)(paint)
    made.callback()(lambda: None)
    return made, seen


def test_new_option_can_be_set_at_once(
    new_program: tuple[typer.Typer, Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen = new_program
    write(PROJECT, 'seed = 4\n[paint]\nbrush = 2\npalette = "colors/warm"\ndry = true')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    CliRunner().invoke(made, ["paint"], catch_exceptions=False)
    warm = tmp_path / "colors" / "warm"
    assert seen.values == {"brush": 2.0, "palette": warm, "dry": True, "seed": 4}


def test_new_option_has_a_variable(
    new_program: tuple[typer.Typer, Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen = new_program
    monkeypatch.setenv("G4_PAINT_BRUSH", "2.5")
    CliRunner().invoke(made, ["paint", "--dry"], catch_exceptions=False)
    assert (seen.values["brush"], seen.values["dry"]) == (2.5, True)


def test_settings_apply_to_every_command_that_runs_a_model() -> None:
    with_shared = {
        name: command
        for name, command in program().commands.items()
        if {parameter.name for parameter in command.params} >= SHARED
    }
    every = ["describe", "transcribe", "video", "chat", "serve", "tune", "trace"]
    assert list(with_shared) == every
    assert all(isinstance(command, ModelCommand) for command in with_shared.values())


def test_option_that_may_be_given_again_cannot_be_set(
    new_program: tuple[typer.Typer, Seen],
) -> None:
    group = typer.main.get_command(new_program[0])
    assert isinstance(group, TyperGroup)
    known = resolve.settings_by_command(typer.Context(group), SHARED)
    assert list(known["paint"])[:3] == ["brush", "palette", "dry"]
    assert "layer" not in known["paint"]


def variables() -> list[str]:
    return [name for name, _ in resolve.Settings(typer.Context(program()), SHARED).variables()]


def test_variables_have_one_meaning() -> None:
    names = variables()
    assert len(names) == len(set(names)) and "G4_TRANSCRIBE_FORMAT" in names


def test_the_tables_of_exceptions_name_existing_options() -> None:
    """An option that was renamed must not slip through."""
    commands = program().commands
    keys = {
        (name, max(parameter.opts, key=len).lstrip("-").replace("-", "_"))
        for name, command in commands.items()
        for parameter in command.params
    }
    parameters = {(name, p.name) for name, command in commands.items() for p in command.params}
    excepted = {(command, key) for command, own in OF_ONE_CALL.items() for key in own if command}
    excepted |= resolve._NOT_INHERITED | resolve._DEPENDS.keys()
    assert excepted <= keys
    conditions = {
        (command, other) for (command, _), others in resolve._DEPENDS.items() for other in others
    }
    assert conditions <= parameters


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a." * 30_000 + "b = 1\n", "a key of more than 100 parts"),
        ("[" + '"a" . ' * 500 + "b]\n", "a key of more than 100 parts"),
        ("x = {" + "'a'." * 500 + "b = 1}\n", "a key of more than 100 parts"),
        ("x = " + "[" * 300 + "]" * 300, "more than 100 deep"),
        ("#" * 70_000, "(it is larger than 64 KB)"),
    ],
    ids=["keys", "table", "inline", "lists", "size"],
)
def test_settings_that_take_much_memory_are_refused(text: str, problem: str) -> None:
    """What tomllib makes of a key grows with the square of its parts."""
    write(PROJECT, text)
    assert_fails(g4("config"), 2, f"{PROJECT.absolute()}: cannot be read", problem)


def test_texts_with_many_dots_are_settings() -> None:
    write(PROJECT, '[chat]\nsystem = "' + "Wait... Go on. e.g. 1.2.3 " * 1000 + '"\n')
    assert g4("config").exit_code == 0
