"""/v1/audio: recordings as forms, transcripts in all forms, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import enumerate as threads
from typing import Any

import numpy as np
import openai
import pytest
from server_requests import Serve, error
from starlette.testclient import TestClient
from support.samples import TEXT_OF, sample

from gemma4cli.api import stream_transcribe
from gemma4cli.engine.model import LoadedModel
from gemma4cli.server import transcriptions
from gemma4cli.server.app import make_app
from gemma4cli.server.served import Served, ServerOptions
from gemma4cli.serving.queued_model import QueuedModel
from gemma4cli.transcript import TranscriptEvent

PATH = "/v1/audio/transcriptions"
TRANSLATIONS = "/v1/audio/translations"
SPEECH = Path(sample("speech00.wav")).read_bytes()
TEXT = TEXT_OF["speech00.wav"]


def send(client: TestClient, path: str = PATH, content: bytes = SPEECH, **fields: Any) -> Any:
    return client.post(path, data=fields, files={"file": ("talk.wav", content)})


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two sentences with a pause between them that is in no piece."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    with wave.open(str(path), "wb") as written:
        written.setparams((1, 2, 16_000, 0, "NONE", ""))
        for name in ("speech00.wav", "speech01.wav"):
            with wave.open(sample(name)) as read:
                written.writeframes(read.readframes(read.getnframes()))
            written.writeframes(bytes(2 * 44_000))
    return path.read_bytes()


def test_a_recording_becomes_text(client: TestClient) -> None:
    found = send(client, model="tiny").json()
    assert found["text"] == TEXT
    usage = found["usage"]
    assert usage["type"] == "tokens" and usage["output_tokens"] > 0
    details = usage["input_token_details"]
    assert usage["input_tokens"] == details["audio_tokens"] + details["text_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_text_and_subtitles_are_sent_as_they_are(client: TestClient) -> None:
    text = send(client, response_format="text")
    assert (text.text, text.headers["content-type"]) == (f"{TEXT}\n", "text/plain; charset=utf-8")
    srt = send(client, response_format="srt").text
    assert srt == f"1\n00:00:00,000 --> 00:00:02,107\n{TEXT}\n"
    vtt = send(client, response_format="vtt")
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
    assert vtt.text.startswith("WEBVTT\n") and vtt.text.endswith(f"02.107\n{TEXT}\n")


def test_the_verbose_form_has_segments_with_times(client: TestClient, talk: bytes) -> None:
    fields = {"timestamp_granularities[]": "segment", "language": "en"}
    found = send(client, content=talk, response_format="verbose_json", **fields).json()
    assert (found["task"], found["language"]) == ("transcribe", "english")
    assert found["duration"] == pytest.approx(9.566, abs=0.01) == found["usage"]["seconds"]
    first, second = found["segments"]
    assert (first["id"], second["id"]) == (0, 1)
    assert 0 <= first["start"] < first["end"] < second["start"] < second["end"] <= 7.0
    assert found["text"] == f"{first['text']} {second['text']}"


def test_a_stream_has_the_text_of_each_segment(client: TestClient, talk: bytes) -> None:
    response = send(client, content=talk, stream="true")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(each[len("data: ") :]) for each in response.text.split("\n\n")[:-1]]
    *deltas, done = events
    assert [each["type"] for each in deltas] == ["transcript.text.delta"] * 2
    assert done["type"] == "transcript.text.done"
    assert "".join(each["delta"] for each in deltas) == done["text"]
    assert done["text"] == send(client, content=talk).json()["text"]
    assert done["usage"]["output_tokens"] > 0


def test_a_translation_falls_back_to_the_original(client: TestClient) -> None:
    """The built-in model does not translate; the segment says so."""
    found = send(client, TRANSLATIONS, response_format="verbose_json", language="de").json()
    assert (found["task"], found["language"]) == ("translate", "english")
    (segment,) = found["segments"]
    assert segment["text"] == found["text"] and segment["doubt"] == "untranslated"


def test_a_recording_without_speech_has_no_text(client: TestClient) -> None:
    silence = SPEECH[:44] + bytes(len(SPEECH) - 44)
    assert send(client, content=silence).json()["text"] == ""
    assert send(client, content=silence, response_format="srt").text == ""
    assert '"transcript.text.done", "text": ""' in send(client, content=silence, stream="1").text


REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "a format": ({"response_format": "diarized_json"}, "response_format", "must be one of json"),
    "a language": ({"language": "q\nq"}, "language", "'q\\nq' is not a language"),
    "words": ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "no times"),
    "a temperature": ({"temperature": "hot"}, "temperature", "must be a number, not 'hot'"),
    "no number": ({"temperature": "nan"}, "temperature", "must be from 0 to 2, not 'nan'"),
    "a stream": ({"stream": "perhaps"}, "stream", "must be true or false"),
    "streamed subtitles": ({"stream": "true", "response_format": "srt"}, "stream", "not srt"),
    "logprobs": ({"include[]": "logprobs"}, "include", "not available"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_field_that_is_wrong_is_named(client: TestClient, case: str) -> None:
    fields, param, problem = REFUSED[case]
    status, where, message = error(send(client, **fields))
    assert (status, where) == (400, param)
    assert problem in message


def test_a_file_that_cannot_be_used_is_named_by_its_field(client: TestClient) -> None:
    assert error(send(client, content=b""))[1:] == ("file", "file: is empty")
    assert error(send(client, content=b"hello"))[:2] == (400, "file")
    assert error(send(client, content=b"hello", stream="true"))[:2] == (400, "file")
    assert error(client.post(PATH, files={"other": b"x"}))[1:] == ("file", "file: is missing")
    as_text = client.post(PATH, data={"file": "x"}, files={"other": b"x"})
    assert error(as_text)[1:] == ("file", "file: must be a file, with a filename")


def test_what_is_no_form_is_refused(
    client: TestClient, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    for response in (
        client.post(PATH, json={"file": "x"}),
        client.post(PATH, content=b"--x\r\nbroken", headers=multipart),
        client.post(PATH, content=b"", headers={"content-type": "multipart/form-data"}),
        client.post(PATH, files=[("file", b"x"), ("file", b"y")]),
        client.post(PATH, data={"prompt": "x" * 100_000}, files={"file": SPEECH}),
    ):
        assert error(response)[0] == 400
    assert caplog.records == []
    assert error(send(serve(most_body=1000)))[0] == 413
    assert error(send(client, model="whisper-1"))[0] == 404


def test_a_model_that_does_not_hear_says_so(
    serve: Serve, parity_model: Callable[[str], LoadedModel]
) -> None:
    deaf = QueuedModel.alone(lambda: parity_model("31b"))
    response = send(serve(deaf))
    deaf.queue.close()
    assert error(response)[0] == 400
    assert response.json()["error"]["code"] == "unsupported_modality"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_nothing_is_left_of_a_recording(client: TestClient, temporary: Path, talk: bytes) -> None:
    send(client, content=talk)
    send(client, content=talk[:2_000])
    assert os.listdir(temporary) == []


def test_a_client_that_leaves_ends_the_work(serve: Serve, temporary: Path) -> None:
    rng = np.random.default_rng(0)
    minutes = SPEECH[:44] + rng.integers(-200, 200, 16_000 * 120, np.int16).tobytes()
    body = (
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + minutes
        + b"\r\n--x--\r\n"
    )
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"multipart/form-data; boundary=x"),
        ],
        "query_string": b"",
    }
    asyncio.run(serve().app(scope, receive, send))  # type: ignore[arg-type]
    assert sent == []
    for thread in threads():
        if thread.name == "request":
            thread.join(5)
    assert os.listdir(temporary) == []


def test_a_server_that_closes_reads_no_more_of_a_recording(
    queued: QueuedModel, talk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(ServerOptions(), ("tiny",))
    served.ready(queued)

    def closing(*arguments: Any, **options: Any) -> Iterator[TranscriptEvent]:
        served.closing()
        yield from stream_transcribe(*arguments, **options)

    monkeypatch.setattr(transcriptions, "stream_transcribe", closing)
    client = TestClient(make_app(served, lambda line: None), base_url="http://127.0.0.1")
    response = send(client, content=talk)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "closing")


@pytest.mark.filterwarnings("ignore:deprecated")
def test_the_openai_package_reads_all_forms(client: TestClient) -> None:
    sdk = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="x", http_client=client)  # type: ignore[arg-type]
    create = sdk.audio.transcriptions.create
    file = ("talk.wav", SPEECH)
    text = create(model="tiny", file=file).text
    assert create(model="tiny", file=file, response_format="text") == f"{text}\n"
    for form in ("srt", "vtt"):
        assert "-->" in create(model="tiny", file=file, response_format=form)
    verbose = create(
        model="tiny",
        file=file,
        response_format="verbose_json",
        timestamp_granularities=["segment"],
    )
    assert verbose.segments is not None and len(verbose.segments) == 1
    *deltas, done = create(model="tiny", file=file, stream=True)
    assert done.type == "transcript.text.done" and done.text == text
    assert all(each.type == "transcript.text.delta" for each in deltas)
    assert sdk.audio.translations.create(model="tiny", file=file).text
    with pytest.raises(openai.BadRequestError, match="words have no times"):
        create(model="tiny", file=file, timestamp_granularities=["word"])
