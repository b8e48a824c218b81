"""Thumbnails: what terminals are sent, which of them, and when nothing is."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import Terminal, Tty, environment, g4_at_a_terminal, g4_in, run_g4, tiny_g4
from PIL import Image as Pillow
from support.samples import sample

from gemma4cli.cli.environment import Environment
from gemma4cli.cli.output.graphics import Cells, drawn, protocol_of
from gemma4cli.cli.output.pictures import Pictures, Screen, pictures_for
from gemma4cli.cli.run.options import RunOptions
from gemma4cli.decoded import Image, VideoFrame
from gemma4cli.events import PicturesDecoded

DRAWN = re.compile(r"\x1b_G|\x1b\]1337;")
"""How the commands begin that draw, in each protocol."""

PROMPT = "\x1b[?2004h"
"""What prompt_toolkit sends when it begins to read a line."""

KITTY = {"TERM": "xterm-kitty", "TERM_PROGRAM": "", "KITTY_WINDOW_ID": "1", "TMUX": "", "STY": ""}


BRIEF = ("-m", "tiny", "--max-tokens", "4")
"""Nobody reads these answers."""


def kitty(**changes: Any) -> Environment:
    """A world whose streams go to a kitty."""
    return environment(**{"stdout": Tty(), "stderr": Tty(), **KITTY, **changes})


def noise(width: int, height: int) -> Pillow.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Pillow.fromarray(pixels)


def kitty_commands(text: str) -> list[tuple[dict[str, str], str]]:
    """Keys and payload of each kitty command."""
    found = re.findall(r"\x1b_G([^;\x1b]*);([A-Za-z0-9+/=]*)\x1b\\", text)
    return [(dict(key.split("=") for key in keys.split(",")), data) for keys, data in found]


def kitty_picture(text: str) -> tuple[dict[str, str], Pillow.Image]:
    """The keys of the first command, and the picture that all of them carry."""
    commands = kitty_commands(text)
    data = "".join(payload for _, payload in commands)
    return commands[0][0], Pillow.open(io.BytesIO(b64decode(data, validate=True)), formats=["PNG"])


def iterm_picture(text: str) -> tuple[dict[str, str], Pillow.Image]:
    (found,) = re.findall(r"\x1b\]1337;File=([^:]*):([A-Za-z0-9+/=]*)\x07", text)
    keys = dict(key.split("=") for key in found[0].split(";"))
    png = b64decode(found[1], validate=True)
    assert keys["size"] == str(len(png))
    return keys, Pillow.open(io.BytesIO(png), formats=["PNG"])


# The protocols


def test_kitty_carries_the_picture_in_small_chunks() -> None:
    picture = noise(90, 60)
    text = drawn(picture, "kitty", Cells(side="rows", count=3))
    commands = kitty_commands(text)
    assert len(commands) > 3
    assert all(0 < len(data) <= 4096 and len(data) % 4 == 0 for _, data in commands)
    assert [keys["m"] for keys, _ in commands] == ["1"] * (len(commands) - 1) + ["0"]
    assert all(list(keys) == ["m"] for keys, _ in commands[1:])
    keys, sent = kitty_picture(text)
    assert keys == {"a": "T", "f": "100", "C": "1", "q": "2", "r": "3", "m": "1"}
    assert sent.tobytes() == picture.tobytes()


def test_iterm_carries_the_picture() -> None:
    picture = noise(30, 20)
    keys, sent = iterm_picture(drawn(picture, "iterm", Cells(side="columns", count=3)))
    assert (keys["inline"], keys["width"], keys["preserveAspectRatio"]) == ("1", "3", "1")
    assert "height" not in keys
    assert sent.tobytes() == picture.tobytes()


# Who draws what


def test_the_variables_of_a_terminal_choose_its_protocol(subtests: pytest.Subtests) -> None:
    for variables, protocol in [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "foot"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"}, None),
        ({"TERM": "screen.xterm-256color", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "xterm-kitty", "STY": "1.tty"}, None),
        ({}, None),
    ]:
        with subtests.test(variables=variables):
            assert protocol_of(variables) == protocol


# When nothing is drawn


def test_a_run_at_a_terminal_has_pictures() -> None:
    assert pictures_for(kitty(), RunOptions().thumbnails) is not None
    assert pictures_for(kitty(), RunOptions(output="-").thumbnails) is not None


def test_some_options_leave_pictures_out(subtests: pytest.Subtests) -> None:
    for run in [
        RunOptions(quiet=True),
        RunOptions(json=True),
        RunOptions(output="out.txt"),
        RunOptions(pictures="never"),
    ]:
        with subtests.test(run=run):
            assert pictures_for(kitty(), run.thumbnails) is None


def test_a_pipe_gets_no_pictures(subtests: pytest.Subtests) -> None:
    for mode in ["auto", "kitty"]:
        for stream in ["stdout", "stderr"]:
            with subtests.test(mode=mode, stream=stream):
                env = kitty(**{stream: io.StringIO()})
                assert pictures_for(env, RunOptions(pictures=mode).thumbnails) is None


def test_no_pictures_on_a_dumb_terminal() -> None:
    assert pictures_for(kitty(TERM="dumb"), RunOptions(pictures="kitty").thumbnails) is None


def test_a_person_may_know_better_than_the_environment() -> None:
    assert pictures_for(kitty(TMUX="1"), RunOptions().thumbnails) is None
    assert pictures_for(kitty(TMUX="1"), RunOptions(pictures="iterm").thumbnails) is not None


# What is drawn


def shown(*sizes: tuple[int, int]) -> tuple[int, dict[str, str], Pillow.Image]:
    """Lines, kitty's keys and the picture for an image, or frames, of these sizes."""
    stream = Tty()
    images = [Image(pixels=np.asarray(noise(*size)), name="a.png") for size in sizes]
    Pictures(stream, "kitty").show(PicturesDecoded(source="a.png", pictures=tuple(images)))
    text = stream.getvalue()
    lines = len(text) - len(text.lstrip("\n"))
    assert text.startswith("\n" * lines + f"\x1b7\x1b[{lines}A\x1b_G")
    assert text.endswith("\x1b\\\x1b8")
    return (lines, *kitty_picture(text))


def test_a_small_picture_stays_as_it_is() -> None:
    lines, keys, picture = shown((50, 40))
    assert (lines, picture.size) == (2, (50, 40))
    assert "r" in keys or "c" in keys


def test_a_tall_picture_is_twelve_rows_high() -> None:
    lines, keys, picture = shown((600, 1200))
    assert (lines, keys["r"], picture.size) == (12, "12", (120, 240))


def test_a_wide_picture_fits_the_terminal() -> None:
    lines, keys, picture = shown((3000, 100))
    assert (lines, keys["c"], picture.size) == (2, "79", (790, 26))


def test_frames_make_one_strip() -> None:
    lines, _, picture = shown(*[(320, 180)] * 9)
    assert lines == 8
    assert picture.width <= 790
    lines, _, picture = shown(*[(320, 180)] * 64)
    assert lines == 12
    assert picture.width <= 790


def test_strip_begins_and_ends_with_the_clip() -> None:
    from gemma4cli.cli.output.thumbnails import Box, contact_strip

    frames = [
        VideoFrame(pixels=np.full((10, 10, 3), n, np.uint8), seconds=float(n)) for n in range(100)
    ]
    strip = np.asarray(contact_strip(frames, Box(width=52, height=10), lines=1))
    assert strip.shape == (10, 52, 3)
    assert [int(strip[5, x, 0]) for x in (5, 19, 33, 47)] == [0, 33, 66, 99]


def test_screen_without_pixels() -> None:
    assert Screen.of(Tty()) == Screen(columns=80, rows=24, cell_width=10, cell_height=20)


# The program


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    path = tmp_path / "noise.png"
    noise(60, 40).save(path)
    return path


def test_describe_draws_the_image_before_it_answers(picture_file: Path) -> None:
    run = g4_at_a_terminal("describe", *BRIEF, picture_file, **KITTY)
    assert run.exit_code == 0
    _, picture = kitty_picture(run.stderr)
    assert picture.tobytes() == noise(60, 40).tobytes()
    assert run.stderr.index("\x1b_G") < run.stderr.index("prompt tokens")
    assert "\x1b_G" not in run.stdout


@pytest.mark.slow
def test_describe_shows_the_image_above_its_answer(picture_file: Path) -> None:
    with Terminal("describe", *BRIEF, picture_file, env=KITTY) as terminal:
        assert terminal.wait() == 0
    _, picture = kitty_picture(terminal.output)
    assert picture.tobytes() == noise(60, 40).tobytes()
    assert terminal.output.index("\x1b_G") < terminal.output.index("prompt tokens")


def test_video_shows_its_frames() -> None:
    options = ("-m", "tiny", "--max-tokens", "1", "--video-max-frames", "3")
    run = g4_at_a_terminal("video", *options, sample("video00.mp4"), **KITTY)
    assert run.exit_code == 0
    _, picture = kitty_picture(run.stderr)
    assert picture.width > 2 * picture.height


@pytest.mark.slow
def test_chat_shows_a_dropped_image_once(picture_file: Path) -> None:
    with Terminal("chat", *BRIEF, "--no-log", env=KITTY) as terminal:
        terminal.expect(PROMPT)
        terminal.type(f"{picture_file} What is this?\r")
        terminal.expect("is attached to this question")
        terminal.expect(PROMPT)
        terminal.type("/retry\r")
        terminal.expect(PROMPT)
        terminal.type("/exit\r")
        assert terminal.wait() == 0
    assert terminal.output.count("a=T") == 1
    _, picture = kitty_picture(terminal.output)
    assert picture.tobytes() == noise(60, 40).tobytes()


@pytest.mark.slow
def test_an_answer_that_goes_to_a_file_has_no_picture(picture_file: Path, tmp_path: Path) -> None:
    answer = ("describe", *BRIEF, picture_file)
    with (
        open(tmp_path / "out", "wb") as out,
        Terminal(*answer, env=KITTY, stdout=out) as terminal,
    ):
        assert terminal.wait() == 0
    assert not DRAWN.search(terminal.output)
    assert "\x1b" not in (tmp_path / "out").read_text()


def test_pipes_get_no_picture(picture_file: Path) -> None:
    run = g4_in(environment(**KITTY), "describe", *BRIEF, picture_file, "--pictures", "kitty")
    assert run.exit_code == 0
    assert "\x1b" not in run.stdout + run.stderr


def test_an_answer_in_a_pipe_has_no_picture(picture_file: Path) -> None:
    env = environment(stderr=Tty(), **KITTY)
    run = g4_in(env, "describe", *BRIEF, picture_file)
    assert run.exit_code == 0
    assert not DRAWN.search(run.stdout + run.stderr)


@pytest.mark.slow
def test_no_picture_in_pipes(picture_file: Path) -> None:
    done = run_g4("describe", *BRIEF, picture_file, "--pictures", "kitty", env=KITTY)
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr


def test_unknown_way_to_draw() -> None:
    result = tiny_g4("describe", sample("image01.png"), "--pictures", "ascii")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'iterm'" in result.stderr
