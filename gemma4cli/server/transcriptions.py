"""/v1/audio: recordings of any length to text, whole or as it comes."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from ..api import stream_transcribe
from ..errors import ClosingError
from ..leftovers import temporary_folder
from ..messages import AudioPart, Source
from ..serving.patient_model import PatientModel
from ..serving.queued_model import QueuedModel
from ..transcript import (
    RecordingFailed,
    RecordingFinished,
    Segment,
    SegmentReady,
    TranscriptEvent,
)
from ..transcription.recordings import FileRecording
from .event_stream import EventStream
from .request_log import note_tokens
from .served import Served
from .thread_run import ThreadRun, running
from .transcription_request import TranscriptionRequest, transcription_request
from .transcripts import response_of, shown, text_of, token_usage
from .upload import uploaded

_NAME = "file"
"""The recording in errors: the field that it was sent in."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The first pieces were let into the queue."""


Happened = Begun | TranscriptEvent


class TranscriptionRun(ThreadRun[Happened]):
    """Copies a recording to a private file and transcribes it; pieces join the running batch."""

    def __init__(self, served: Served, model: QueuedModel, asked: TranscriptionRequest) -> None:
        """Raises UnsupportedModalityError."""
        super().__init__()
        self._served = served
        self._asked = asked
        self._model = PatientModel(model, on_begun=lambda: self.tell(Begun()))
        self._recording: FileRecording | None = None
        self._model.processor.check_modality(AudioPart(source=Source(name=_NAME)))

    def cancel(self) -> None:
        super().cancel()
        self._model.cancel()
        if self._recording is not None:
            self._recording.stop()

    def end_early(self) -> None:
        """Read no more of the recording, since the server closes; that is an error."""
        if self._recording is not None:
            self._recording.stop()

    def run(self) -> None:
        options = self._asked.options
        with temporary_folder() as folder:
            path = folder / "recording"
            with path.open("wb") as file:
                shutil.copyfileobj(self._asked.file.file, file)
            self._asked.file.file.close()  # it may be on disk too
            source = Source(name=_NAME, path=path)
            self._recording = FileRecording(source, spool_to=folder, options=options)
            if self._served.state == "closing":
                self.end_early()
            events = stream_transcribe(
                self._model, [self._recording], options=options, generate=self._asked.generate
            )
            with closing(events):
                for event in events:
                    if self.is_cancelled:
                        return
                    if isinstance(event, RecordingFailed):
                        raise event.error
                    if isinstance(event, RecordingFinished) and self._recording.is_cut:
                        raise ClosingError
                    self.tell(event)


async def transcriptions(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """Transcribe a recording. Raises RequestError, Gemma4Error and Disconnected."""
    await _answer(served, scope, receive, send, translates=False)


async def translations(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """Translate a recording to English. Raises as ``transcriptions``."""
    await _answer(served, scope, receive, send, translates=True)


async def _answer(
    served: Served, scope: Scope, receive: Receive, send: Send, *, translates: bool
) -> None:
    with served.admitted():
        async with uploaded(scope, receive) as form:
            asked = transcription_request(form, served.options, translates=translates)
            run = TranscriptionRun(served, served.chosen(asked.model).queued, asked)
            with served.ending_early(run.end_early):
                async with running(run, receive):
                    if asked.stream:
                        await _stream(served, run, asked, scope, send)
                    else:
                        found = await _whole(run)
                        note_tokens(scope, found.usage.completion_tokens)
                        await response_of(asked, found)(scope, receive, send)


async def _whole(run: TranscriptionRun) -> RecordingFinished:
    """The transcript, when the run has removed what it kept."""
    found: RecordingFinished | None = None
    async for event in run.events():
        if isinstance(event, RecordingFinished):
            found = event
    assert found is not None, "a run ends with a transcript or an error"
    return found


async def _stream(
    served: Served, run: TranscriptionRun, asked: TranscriptionRequest, scope: Scope, send: Send
) -> None:
    """Send the text of each segment as it comes. Nothing is sent before there is work to do."""
    event = await run.next()
    while not isinstance(event, Begun | SegmentReady | RecordingFinished):
        event = await run.next()
    segments: list[Segment] = []
    sent = ""
    async with _TranscriptStream(served, send) as stream:
        while not isinstance(event, RecordingFinished):
            if isinstance(event, SegmentReady):
                segments.append(shown(asked, event.segment))
                text = text_of(segments)
                stream.put({"type": "transcript.text.delta", "delta": text[len(sent) :]})
                sent = text
            event = await stream.next(run)
        while await stream.next(run) is not None:
            continue
        note_tokens(scope, event.usage.completion_tokens)
        usage = token_usage(event.usage)
        stream.put({"type": "transcript.text.done", "text": sent, "usage": usage})
        await stream.done()


class _TranscriptStream(EventStream):
    """Events that name their kind; the last one is the end."""

    async def done(self) -> None:
        await self.end()
