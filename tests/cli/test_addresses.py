"""Media from addresses, downloaded only where the user allows it."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_runs import Terminal, assert_fails, records, run_g4, tiny_g4
from support.samples import TEXT_OF, sample

PROMPT = "\x1b[?2004h"
"""What the terminal is sent when a line can be typed."""
STARS = TEXT_OF["image00.png"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serves samples under names without suffixes."""
    folder = tmp_path_factory.mktemp("www")
    for name, file in (
        ("image", "image00.png"),
        ("sound", "speech00.wav"),
        ("clip", "video00.mp4"),
    ):
        shutil.copy(sample(file), folder / name)
    (folder / "page.png").write_text("<html></html>")
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


CALLS = {
    "describe": ("describe", "{}/image"),
    "transcribe": ("transcribe", "{}/sound"),
    "video": ("video", "{}/clip"),
    "chat": ("chat", "Describe this image.", "-a", "{}/image"),
}


@pytest.mark.parametrize("command", CALLS)
def test_an_address_is_read_like_a_file_if_allowed(server: str, command: str) -> None:
    arguments = [each.format(server) for each in CALLS[command]]
    assert_fails(tiny_g4(*arguments), 3, "is an address: --allow-urls lets g4 fetch it")
    result = tiny_g4(*arguments, "--allow-urls")
    assert (result.exit_code, bool(result.stdout)) == (0, True), result.output
    assert_fails(tiny_g4(*arguments, "--allow-urls", "--offline"), 2, "exclude each other")


def test_media_options_of_chat_take_addresses(server: str) -> None:
    (record,) = records(
        tiny_g4("chat", "Hi", "--audio", f"{server}/sound", "--allow-urls", "--json")
    )
    assert record["usage"]["soft_tokens"] > 0


def test_one_of_several_recordings_that_is_missing_ends_no_run(server: str) -> None:
    result = tiny_g4("transcribe", f"{server}/gone", f"{server}/sound", "--allow-urls")
    assert result.exit_code == 5
    assert "/gone: no such file" in result.stderr
    assert TEXT_OF["speech00.wav"] in result.stdout


def test_every_unreachable_recording_of_several_has_its_record(server: str) -> None:
    line = ["transcribe", f"{server}/gone", "here.wav", f"{server}/sound", "--allow-urls"]
    result = tiny_g4(*line, "--json")
    assert result.exit_code == 5
    assert {each["input"]: "error" in each for each in records(result)} == {
        f"{server}/gone": True,
        "here.wav": True,
        f"{server}/sound": False,
    }
    nothing = tiny_g4(*line[:2], f"{server}/gone2", "--allow-urls", "--json")
    assert nothing.exit_code == 3
    assert [each["error"]["code"] for each in records(nothing)] == [3, 3]


@pytest.mark.slow
def test_an_address_in_a_chat(server: str) -> None:
    with Terminal("chat", "-m", "tiny", "--allow-urls", env={"no_proxy": "*"}) as terminal:
        terminal.expect(PROMPT)
        terminal.type(f"{server}/image Describe this image.\r")
        terminal.expect("/image is attached to this question")
        terminal.expect(STARS)
        terminal.expect(PROMPT)
        terminal.type(f"{server}/page.png\r")
        terminal.expect("is not an image, audio or video file")
        terminal.expect(PROMPT)
        terminal.type("\x04")
        assert terminal.wait() == 0
    with Terminal("chat", "-m", "tiny") as terminal:
        terminal.expect(PROMPT)
        terminal.type("http://127.0.0.1:9/a.png what is it?\r")
        terminal.expect("is an address: --allow-urls lets g4 fetch it")
        terminal.expect("Send this name as text? [y/n]")
        terminal.type("n\r")
        terminal.expect("a.png what is it?")


def test_downloads_are_removed_in_the_end(server: str, tmp_path: Path) -> None:
    variables = {"TMPDIR": str(tmp_path), "no_proxy": "*"}
    done = run_g4("describe", "-m", "tiny", "--allow-urls", f"{server}/image", env=variables)
    assert done.stdout.decode() == f"{STARS}\n"
    assert list(tmp_path.glob("g4.*")) == []
