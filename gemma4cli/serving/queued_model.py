"""A model with a queue: many threads ask it, one thread computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

from ..engine.answering import BatchEvent, NoTurns, Prompt, Turns
from ..engine.local import LocalModel
from ..errors import Gemma4Error, QueueFullError, unexpected
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from ..processing.processor import Processor
from ..processing.prompt import Prompt as PlannedPrompt
from .metrics import Metrics
from .request import AnswerEvents, Request


class QueuedModel:
    """See ``AnsweringModel``; its calls may come from any thread.

    ``load`` is called in the thread that computes, because arrays that are not computed yet belong
    to the thread that made them. ``most_waiting`` is how many prompts may wait for an answer,
    those being answered included.
    """

    def __init__(self, load: Callable[[], LocalModel], *, most_waiting: int = 64) -> None:
        """Raises what ``load`` raises."""
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._most_waiting = most_waiting
        self._waiting = 0
        self._metrics = Metrics(slots=1)
        self._lock = Lock()
        loaded: SimpleQueue[LocalModel | Exception] = SimpleQueue()
        self._thread = Thread(target=self._work, args=(load, loaded), name="model", daemon=True)
        self._thread.start()
        model = loaded.get()
        if isinstance(model, Exception):
            raise model
        self.model = model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def processor(self) -> Processor:
        return self.model.processor

    @property
    def context_length(self) -> int:
        return self.model.context_length

    @property
    def identity(self) -> Mapping[str, object]:
        return self.model.identity

    @property
    def waiting(self) -> int:
        """Prompts without a whole answer."""
        return self._waiting

    @property
    def keeps_turns(self) -> bool:
        return False

    def new_turns(self) -> Turns:
        return NoTurns()

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: Turns | None = None
    ) -> AnswerEvents:
        """As ``AnsweringModel.generate``. Raises QueueFullError too."""
        self.check_prompt(inputs, options)
        self.check_schema(options)
        (request,) = self._enter([Prompt(inputs=inputs, options=options)])
        return request.events()

    def stream_batch(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
        """As ``AnsweringModel.stream_batch``. Raises QueueFullError too."""
        for number, request in enumerate(self._enter(prompts)):
            for event in request.events():
                if isinstance(event, BatchEvent):
                    yield number, event

    def batch_size(self, positions: int) -> int:
        return self.model.batch_size(positions)

    def check_prompt(self, inputs: ModelInputs, options: GenerateOptions) -> None:
        self.model.check_prompt(inputs, options)

    def check_plan(self, prompt: PlannedPrompt, options: GenerateOptions) -> None:
        self.model.check_plan(prompt, options)

    def check_schema(self, options: GenerateOptions) -> None:
        self.model.check_schema(options)

    def metrics(self) -> Metrics:
        """What it has done so far, and what it is doing."""
        return self._metrics

    def close(self, *, finish: bool = True, limit: float | None = None) -> None:
        """Refuse what comes or waits, with ClosingError; end the thread.

        With ``finish``, answers that have begun end first, but for those that take more than
        ``limit`` seconds: they end with ClosingError too.
        """
        self._requests.put(None)
        self._thread.join()

    def _enter(self, prompts: Sequence[Prompt]) -> list[Request]:
        with self._lock:
            if self._waiting + len(prompts) > self._most_waiting:
                raise QueueFullError(self._waiting)
            self._waiting += len(prompts)
        requests = [Request(prompt) for prompt in prompts]
        for request in requests:
            self._requests.put(request)
        return requests

    def _work(
        self, load: Callable[[], LocalModel], loaded: SimpleQueue[LocalModel | Exception]
    ) -> None:
        try:
            model = load()
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for the model
            loaded.put(error)
            return
        loaded.put(model)
        while (request := self._requests.get()) is not None:
            try:
                self._answer(model, request)
            except Gemma4Error as error:
                request.put(error)
            except Exception as error:  # noqa: BLE001 - one odd prompt does not end the others
                request.put(unexpected(error))
            with self._lock:
                self._waiting -= 1

    def _answer(self, model: LocalModel, request: Request) -> None:
        if request.is_cancelled:
            return
        for event in model.generate(request.prompt.inputs, request.prompt.options):
            if request.is_cancelled:
                return
            request.put(event)
