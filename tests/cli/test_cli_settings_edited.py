"""``g4 config set`` and ``unset`` change one line of a file, and nothing else."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from cli_runs import Exchange, assert_fails, g4, g4_with
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.cli.settings.edit import with_value, without_value

PROJECT = Path(".g4.toml")
LAYOUT = """\
# What I like.
model = "e4b"   # fits

# For subtitles
[transcribe]
language = "de"  # mostly
format = "srt"

[chat]
system = \"\"\"
Be brief.
[chat]
\"\"\"
"""


def user_file() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "g4" / "config.toml"


@pytest.mark.parametrize(
    ("command", "key", "value", "old", "new"),
    [
        (None, "model", "e2b", 'model = "e4b"   # fits', 'model = "e2b"   # fits'),
        (None, "seed", 4, "# fits\n", "# fits\nseed = 4\n"),
        ("transcribe", "language", "#x", '"de"  # mostly', '"#x"  # mostly'),
        ("transcribe", "batch", 2, 'format = "srt"\n', 'format = "srt"\nbatch = 2\n'),
        ("chat", "no_log", True, '[chat]\n"""\n', '[chat]\n"""\nno_log = true\n'),
        ("chat", "system", 'Say "hi".', '"""\nBe brief.\n[chat]\n"""', r'"Say \"hi\"."'),
        ("video", "fps", 0.5, '[chat]\n"""\n', '[chat]\n"""\n\n[video]\nfps = 0.5\n'),
    ],
)
def test_one_line_changes(command: str | None, key: str, value: object, old: str, new: str) -> None:
    assert LAYOUT.count(old) == 1
    assert with_value(LAYOUT, command, key, value) == LAYOUT.replace(old, new)


def test_line_ends_stay() -> None:
    assert with_value("seed = 1\r\n", None, "seed", 2) == "seed = 2\r\n"


def test_first_value_of_a_file_that_has_only_a_table() -> None:
    assert with_value("[chat]\n", None, "seed", 2) == "seed = 2\n\n[chat]\n"
    assert with_value("# Mine\n\n[chat]\n", None, "seed", 2) == "# Mine\nseed = 2\n\n[chat]\n"


def test_a_value_of_several_lines_leaves_as_one() -> None:
    assert without_value(LAYOUT, "chat", "system") == LAYOUT[: LAYOUT.index("system")]


def test_what_cannot_be_changed_by_lines_is_refused() -> None:
    assert with_value('chat = {system = "a"}\n', "chat", "system", "b") is None
    assert without_value('chat = {system = "a"}\n', "chat", "system") is None


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_any_text_is_read_as_it_was_set(text: str) -> None:
    new = with_value(LAYOUT, "chat", "system", text)
    assert new is not None and tomllib.loads(new)["chat"]["system"] == text


# The command


def test_set_and_unset(sent: Exchange) -> None:
    assert g4("config", "set", "max-tokens", "9").exit_code == 0
    assert g4("config", "set", "chat.system", "Be brief.", "--project").exit_code == 0
    assert user_file().read_text() == "max_tokens = 9\n"
    assert PROJECT.read_text() == '[chat]\nsystem = "Be brief."\n'
    assert g4("chat", "-m", "tiny", "-p", "Hello").exit_code == 0
    assert sent.options[0].max_tokens == 9
    assert g4("config", "unset", "max_tokens").exit_code == 0
    assert user_file().read_text() == ""


def test_a_key_of_one_command_needs_no_command() -> None:
    result = g4("config", "set", "format", "SRT")
    assert (result.exit_code, result.stdout) == (0, "")
    assert 'transcribe.format = "srt"' in result.stderr
    assert user_file().read_text() == '[transcribe]\nformat = "srt"\n'


def test_what_wins_is_said() -> None:
    PROJECT.write_text("seed = 1\n")
    assert ".g4.toml still sets it to 1" in g4("config", "set", "seed", "2").stderr
    assert (
        "G4_SEED still sets it to 3"
        in g4_with({"G4_SEED": "3"}, "config", "set", "seed", "2").stderr
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "max_token", "3"], "did you mean max_tokens?"),
        (["set", "max_tokens", "many"], "max_tokens is 'many'"),
        (["set", "max_tokens", "0"], "max_tokens is '0'"),
        (["set", "format", "doc"], "must be one of txt, srt"),
        (["set", "budget", "70"], "name describe.budget or video.budget or chat.budget"),
        (["set", "nothing.seed", "1"], "no command nothing"),
        (["set", "json", "true"], "cannot be set"),
        (["set", "model", "e9b"], "e9b"),
        (["set", "seed"], "takes KEY VALUE"),
        (["set"], "takes KEY VALUE"),
        (["unset", "seed", "1"], "takes KEY"),
        (["unset", "seed"], "seed is not set there"),
        (["chat", "seed"], "is for g4 config set"),
        (["--project"], "is for g4 config set"),
    ],
)
def test_nothing_is_written_for_a_mistake(words: list[str], said: str) -> None:
    result = g4("config", *words)
    assert result.exit_code in (2, 4)
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert not user_file().exists()


def test_a_mistake_that_was_there_before_does_not_hide_that_a_value_was_set() -> None:
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text("nonsense = 3\nseed = 1\n")
    for words, done, after in (
        (("set", "max_tokens", "7"), "max_tokens = 7", "seed = 1\nmax_tokens = 7\n"),
        (("unset", "seed"), "seed is no longer set", "max_tokens = 7\n"),
    ):
        result = g4("config", *words)
        assert result.exit_code == 0
        assert f"config.toml: {done}\n" in result.stderr
        assert "config.toml: there is no nonsense" in result.stderr
        assert user_file().read_text() == f"nonsense = 3\n{after}"


def test_a_broken_file_is_not_overwritten() -> None:
    PROJECT.write_text("seed = ")
    assert_fails(g4("config", "set", "seed", "2", "--project"), 2, "cannot be read")
    assert PROJECT.read_text() == "seed = "


def test_a_link_stays_and_rights_too(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("seed = 1\n")
    real.chmod(0o600)
    PROJECT.symlink_to(real)
    assert g4("config", "set", "seed", "2", "--project").exit_code == 0
    assert PROJECT.is_symlink() and real.read_text() == "seed = 2\n"
    assert real.stat().st_mode & 0o777 == 0o600


# What is set by nothing


def test_a_variable_that_sets_nothing_is_named_where_a_model_runs(sent: Exchange) -> None:
    line = ["chat", "-m", "tiny", "-p", "Hello"]
    variables = {"G4_MODLE": "tiny", "G4_JSON": "1", "G4_IGNORE_MEMORY": "1", "G4_EMPTY": ""}
    assert g4_with(variables, *line).stderr.splitlines() == [
        "G4_JSON has no effect: --json is for the command line",
        "G4_MODLE is not a setting of g4; did you mean G4_MODEL?",
    ]
    assert g4_with(variables, *line, "-q").stderr == ""


def test_a_variable_sets_an_option_that_one_command_has() -> None:
    result = g4_with({"G4_FORMAT": "srt"}, "config", "transcribe")
    (line,) = [each for each in result.stdout.splitlines() if each.startswith("format")]
    assert line.split() == ["format", "srt", "G4_FORMAT"]
    both = g4_with({"G4_FORMAT": "srt", "G4_TRANSCRIBE_FORMAT": "vtt"}, "config", "transcribe")
    assert " vtt " in both.stdout


def test_known_defaults_are_shown() -> None:
    lines = {line.split()[0]: line for line in g4("config").stdout.splitlines() if line}
    for key, value in {
        "max_tokens": "2048",
        "max_line_width": "42",
        "max_line_count": "2",
        "video_max_frames": "32",
        "temperature": "the model's",
    }.items():
        assert value in lines[key]
