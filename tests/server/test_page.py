"""The page at /, in a browser: it talks to a real server, in front of the built-in model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted_queue import Scripted, finished
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.support.ui import WebDriverWait
from server_requests import Serve
from starlette.testclient import TestClient
from support.browser import browser, drop

from gemma4cli import api
from gemma4cli.conversations.file import read_conversation
from gemma4cli.engine.local import LocalModel
from gemma4cli.events import TextDelta, ThoughtDelta
from gemma4cli.options import GenerateOptions
from gemma4cli.server.app import make_app
from gemma4cli.server.listening import HttpThread, bound_socket, url_of
from gemma4cli.server.served import Served, ServerOptions
from gemma4cli.serving.queued_model import QueuedModel

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"
SCENE, SPEECH = FIXTURES / "scene.png", FIXTURES / "samples" / "speech04.wav"
SECONDS = 20
ODD = "<img src=x onerror=alert(1)> **bold** [a](javascript:alert(1)) `x<b>`\n\n```\n<script>\n```"


def test_the_page_loads_nothing_and_runs_nothing_else(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "script-src 'sha256-" in policy and "connect-src 'self'" in policy
    assert "http://" not in response.text.replace("http://www.w3.org", "")
    assert "//" not in policy


def test_the_page_itself_needs_no_token(serve: Serve) -> None:
    assert serve(token="secret").get("/").status_code == 200
    assert serve(token="secret").get("/v1/models").status_code == 401


# In a browser


@contextmanager
def served(model: QueuedModel, **options: Any) -> Iterator[str]:
    server = Served(ServerOptions(**options), ("tiny",))
    server.ready(model)
    bound = bound_socket("127.0.0.1", 0)
    with HttpThread(make_app(server, lambda line: None), bound):
        yield url_of(bound)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driven(downloads: Path) -> Iterator[Chrome]:
    with browser(downloads, [f"--use-file-for-fake-audio-capture={SPEECH}"]) as found:
        yield found


@pytest.fixture
def page(driven: Chrome, queued: QueuedModel) -> Iterator[Chrome]:
    """The page, opened anew; afterwards, nothing went wrong in it that it did not show."""
    with served(queued) as url:
        open_page(driven, url)
        driven.get_log("browser")  # what came before
        yield driven
        assert [entry for entry in driven.get_log("browser") if entry["level"] == "SEVERE"] == []


def open_page(driven: Chrome, url: str) -> None:
    """Open the page with the temperature set to 0, so that answers are those of a greedy run."""
    driven.get(url)
    driven.execute_script("sessionStorage.setItem('g4 temperature', '0'); location.reload()")  # type: ignore[no-untyped-call]
    until(driven, lambda: driven.title == "g4 tiny")


def until(driven: Chrome, condition: Any) -> Any:
    return WebDriverWait(driven, SECONDS, 0.02).until(lambda _: condition())


def texts(driven: Chrome, kind: str) -> list[str]:
    script = f"return [...document.querySelectorAll('article.{kind} .text')].map(e => e.innerText)"
    found: list[str] = driven.execute_script(script)  # type: ignore[no-untyped-call]
    return found


def status(driven: Chrome) -> str:
    return driven.find_element("id", "status").text


def ask(driven: Chrome, question: str) -> None:
    driven.find_element("id", "question").send_keys(question + Keys.ENTER)


def answered(driven: Chrome) -> str:
    until(driven, lambda: status(driven) in ("answer complete", "no answer", "stopped"))
    return texts(driven, "assistant")[-1]


@pytest.mark.slow
def test_a_dropped_picture_is_described_and_asked_about_again(
    page: Chrome, tiny: LocalModel
) -> None:
    greedy = GenerateOptions(temperature=0)
    expected = api.generate(tiny, "Describe this image.", images=[SCENE], options=greedy)
    drop(page, SCENE)
    until(page, lambda: status(page) == "scene.png attached")
    ask(page, "Describe this image.")
    assert answered(page) == expected != ""
    assert page.find_element("css selector", "article.user img").get_attribute("alt") == SCENE.name
    ask(page, "How many objects are there?")
    until(page, lambda: len(texts(page, "assistant")) == 2)
    assert answered(page) != ""
    assert texts(page, "user") == ["Describe this image.", "How many objects are there?"]


@pytest.mark.slow
def test_a_recording_of_the_microphone_is_sent(page: Chrome) -> None:
    record = page.find_element("id", "record")
    record.click()
    until(page, lambda: status(page) == "recording")
    assert record.get_attribute("aria-pressed") == "true"
    page.execute_script("return new Promise(done => setTimeout(done, 1500))")  # type: ignore[no-untyped-call]
    record.click()
    until(page, lambda: "attached" in status(page))
    ask(page, "Transcribe this.")
    assert answered(page) != ""
    assert page.find_elements("css selector", "article.user audio")


@pytest.mark.slow
def test_what_a_model_writes_stays_text_and_thoughts_are_folded(
    driven: Chrome, tiny: LocalModel
) -> None:
    scripted = Scripted(tiny, ThoughtDelta(text="Well <b>."), TextDelta(text=ODD), finished(ODD))
    with served(scripted) as url:
        open_page(driven, url)
        ask(driven, "Say something odd")
        assert answered(driven) == (
            "<img src=x onerror=alert(1)> bold [a](javascript:alert(1)) x<b>\n\n<script>"
        )
        body = driven.find_element("css selector", "article.assistant .text")
        assert body.find_elements("css selector", "img, script, a") == []
        folded = driven.find_element("css selector", "article.assistant details")
        assert folded.get_attribute("open") is None
        folded.find_element("tag name", "summary").click()
        assert "Well <b>." in folded.text


@pytest.mark.slow
def test_stop_ends_the_answer_here_and_at_the_model(driven: Chrome, tiny: LocalModel) -> None:
    scripted = Scripted(tiny, *[TextDelta(text="more ")] * 3)  # and then it computes forever
    with served(scripted) as url:
        open_page(driven, url)
        ask(driven, "Go on forever")
        until(driven, lambda: texts(driven, "assistant") not in ([], [""]))
        driven.find_element("id", "stop").click()
        assert answered(driven).startswith("more more")
        until(driven, lambda: scripted.requests[0].is_cancelled)
        assert driven.find_element("id", "send").is_displayed()
        assert "stopped" in driven.find_element("css selector", "article.assistant .note").text


@pytest.mark.slow
def test_an_error_is_shown_and_the_question_can_be_changed(
    driven: Chrome, queued: QueuedModel
) -> None:
    with served(queued, most_body=2_000) as url:
        open_page(driven, url)
        drop(driven, SCENE)
        ask(driven, "What is this?")
        until(driven, lambda: driven.find_elements("css selector", "article.error"))
        assert "larger" in driven.find_element("css selector", "article.error").text
        until(driven, lambda: status(driven) == "no answer")
        assert driven.find_element("id", "question").get_attribute("value") == "What is this?"
        assert driven.find_elements("css selector", "#attached img")


@pytest.mark.slow
def test_a_server_with_a_token_asks_for_it(driven: Chrome, queued: QueuedModel) -> None:
    with served(queued, token="secret") as url:
        driven.get(url)
        until(driven, lambda: driven.find_element("id", "token").is_displayed())
        driven.find_element("id", "token").send_keys("secret" + Keys.ENTER)
        until(driven, lambda: driven.title == "g4 tiny")
        ask(driven, "Hello")
        assert answered(driven) != ""


@pytest.mark.slow
def test_a_conversation_of_text_is_exported_as_a_file_that_g4_chat_reads(
    page: Chrome, downloads: Path
) -> None:
    ask(page, "Hello")
    text = answered(page)
    page.find_element("id", "export").click()
    path = downloads / "conversation.json"
    until(page, path.exists)
    question, reply = read_conversation(path).messages
    assert (question.role, question.content) == ("user", "Hello")
    assert (reply.role, str(reply.content).split()) == ("assistant", text.split())


@pytest.mark.slow
def test_everything_has_a_name_and_is_reached_by_the_keyboard(page: Chrome) -> None:
    drop(page, SCENE)
    until(page, lambda: page.find_elements("css selector", "#attached button"))
    seen = []
    page.execute_script("document.activeElement.blur()")  # type: ignore[no-untyped-call]
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        seen.append(focused.accessible_name)
    for name in ("New", "Export", "Settings", "Remove", "Attach", "Record", "Message", "Send"):
        assert any(name in each for each in seen), (name, seen)
    buttons = page.find_elements("tag name", "button")
    assert all(each.accessible_name for each in buttons if each.is_displayed())
