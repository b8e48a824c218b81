"""The page at /, in a browser: it talks to a real server, in front of the built-in model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted_queue import Scripted, finished
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from server_requests import Serve
from starlette.testclient import TestClient
from support.browser import browser, drop
from typer.testing import CliRunner

from gemma4cli import api
from gemma4cli.cli.app import app
from gemma4cli.conversations.file import read_conversation
from gemma4cli.engine.local import LocalModel
from gemma4cli.events import TextDelta, ThoughtDelta
from gemma4cli.messages import AudioPart, ImagePart, TextPart, sources_of
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
def test_a_conversation_with_media_is_exported_as_a_file_that_g4_chat_answers(
    page: Chrome, downloads: Path, tiny: LocalModel
) -> None:
    drop(page, SCENE, SPEECH)
    until(page, lambda: status(page) == "speech04.wav attached")
    ask(page, "Describe this image.")
    text = answered(page)
    page.find_element("id", "export").click()
    path = downloads / "conversation.json"
    until(page, path.exists)
    conversation = read_conversation(path)
    question, reply = conversation.messages
    assert [type(part) for part in question.parts] == [ImagePart, TextPart, AudioPart]
    files = [source.data for source in sources_of(question.parts)]
    assert files == [SCENE.read_bytes(), SPEECH.read_bytes()]
    assert (reply.role, str(reply.content).split()) == ("assistant", text.split())

    data = json.loads(path.read_bytes())
    data["messages"][0]["content"] = [
        {"type": "image", "path": str(SCENE)},
        {"type": "text", "text": "Describe this image."},
        {"type": "audio", "path": str(SPEECH)},
    ]
    by_path = downloads / "by path.json"
    by_path.write_text(json.dumps(data), encoding="utf-8")
    exported, expected = (following(each) for each in (path, by_path))
    assert exported == expected and exported["usage"]["soft_tokens"] > 64


def following(path: Path) -> dict[str, Any]:
    """What g4 chat answers to a question that follows the conversation in a file."""
    options = ["-p", "And now?", "-m", "tiny", "--max-tokens", "12", "--temperature", "0", "--json"]
    result = CliRunner().invoke(app, ["chat", "--messages", str(path), *options])
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    return {key: record[key] for key in ("text", "usage")}


@pytest.mark.slow
def test_an_answer_is_copied_as_the_model_wrote_it(driven: Chrome, tiny: LocalModel) -> None:
    with served(Scripted(tiny, TextDelta(text=ODD), finished(ODD))) as url:
        open_page(driven, url)
        grants = {"origin": url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        driven.execute_cdp_cmd("Browser.grantPermissions", grants)
        ask(driven, "Say something odd")
        answered(driven)
        driven.find_element("css selector", "article.assistant .actions button").click()
        until(driven, lambda: status(driven) == "copied")
        assert driven.execute_script("return navigator.clipboard.readText()") == ODD  # type: ignore[no-untyped-call]
        driven.execute_cdp_cmd("Browser.resetPermissions", {})


_EVERYTHING = """\
# A title

Text, `code` and [a link](https://example.org/).

> A quotation

| a | b |
|-|-|
| 1 | 2 |
"""

_CONTRASTS = """
const channels = (color) => {
  const [r, g, b, a = 1] = color.match(/[0-9.]+/g).map(Number);
  return [r, g, b, a];
};
const over = ([r, g, b, a], below) =>
  [r, g, b].map((each, index) => each * a + below[index] * (1 - a));
const brightness = (color) => {
  const [r, g, b] = color.map((each) => each / 255)
    .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  if (element === null) throw new Error("nothing is painted below");
  const own = channels(getComputedStyle(element).backgroundColor);
  return own[3] === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
};
const contrast = (element, part) => {
  const below = ground(element);
  const text = over(channels(getComputedStyle(element, part).color), below);
  const [dark, bright] = [brightness(text), brightness(below)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
};
const found = {};
for (const element of document.querySelectorAll("body, body *:not(script)")) {
  if (!element.checkVisibility()) continue;
  const name = [element.localName, element.id, element.className].filter(Boolean).join(" ");
  if ([...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    found[name] = Math.min(contrast(element), found[name] ?? 21);
  if (element.placeholder) found[name + " placeholder"] = contrast(element, "::placeholder");
}
return [getComputedStyle(document.body).backgroundColor, found];
"""


@pytest.mark.slow
def test_text_stands_out_in_the_light_and_in_the_dark_form(
    driven: Chrome, tiny: LocalModel
) -> None:
    thought = ThoughtDelta(text="Well.")
    model = Scripted(tiny, thought, TextDelta(text=_EVERYTHING), finished(_EVERYTHING))
    grounds = []
    with served(model) as url:
        open_page(driven, url)
        drop(driven, SCENE)
        ask(driven, "Show everything")
        answered(driven)
        drop(driven, SCENE)
        driven.execute_script(
            "drawError('It failed'); $('record').classList.add('recording');"
            "for (const id of ['stop', 'empty']) $(id).hidden = false;"
            "document.querySelector('details').open = true; $('settings').showModal();"
        )  # type: ignore[no-untyped-call]
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driven.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            ground, found = driven.execute_script(_CONTRASTS)  # type: ignore[no-untyped-call]
            driven.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
            grounds.append(ground)
            assert {"a", "code", "td", "p status", "article error", "button stop"} <= found.keys()
            assert {name: each for name, each in found.items() if each < 4.5} == {}
    assert len(set(grounds)) == 2


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


@pytest.mark.slow
def test_one_of_several_models_is_chosen_on_the_page(driven: Chrome, tiny: LocalModel) -> None:
    server = Served(ServerOptions(), ("brief",), ("tiny",))
    said = [Scripted(tiny, TextDelta(text=each), finished(each)) for each in ("short", "long")]
    server.ready(*said)
    bound = bound_socket("127.0.0.1", 0)
    with HttpThread(make_app(server, lambda line: None), bound):
        driven.get(url_of(bound))
        until(driven, lambda: driven.title == "g4 brief")
        ask(driven, "Hello")
        assert answered(driven) == "short"
        Select(driven.find_element("id", "models")).select_by_visible_text("tiny")
        assert driven.title == "g4 tiny"
        ask(driven, "Hello")
        until(driven, lambda: len(texts(driven, "assistant")) == 2)
        assert answered(driven) == "long"


@pytest.mark.slow
def test_there_is_nothing_to_choose_from_where_there_is_one_model(page: Chrome) -> None:
    assert not page.find_element("id", "models").is_displayed()
