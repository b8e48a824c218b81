"""A tuning from samples to an adapter, as a stream of events.

A step's parameters, optimizer and progress are replaced together once it is done, so what is saved
when the stream is closed or interrupted is the state after a whole step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from time import monotonic
from typing import Any

from ..engine.freed_buffers import release_buffers
from .adapter import LowRankOptions
from .adapter_files import Form, Layout, write_adapter
from .batches import round_of, steps_per_round
from .checkpoints import Checkpoint, Progress
from .curve import Curve
from .events import StepDone, TuningChecked, TuningFinished, Validated
from .examples import Example
from .folder import TuningFolder
from .kept_states import KeptStates
from .settings import Schedule, TuningOptions
from .steps import Learner, Optimizer, Parameters

_SECONDS_UNSAVED = 30.0
"""How long steps may take before they are saved."""
_RECENT = 20
"""Steps by which the speed is measured."""


@dataclass(kw_only=True, slots=True, eq=False)
class Training:
    """The steps of a tuning.

    At ``kept`` the network is to stay as it is in ``states``. ``additions``, ``base``,
    ``layout`` and ``form`` are for its files.
    """

    learner: Learner
    learned: Sequence[Example]
    held_out: Sequence[Example]
    kept: Sequence[Example]
    states: KeptStates
    options: TuningOptions
    schedule: Schedule
    folder: TuningFolder
    additions: LowRankOptions
    base: str
    layout: Layout
    form: Form = "peft"
    seconds_unsaved: float = _SECONDS_UNSAVED
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _validation_seconds: float = 0.0
    _saved: float = field(default_factory=monotonic)

    def begin(self) -> Checkpoint:
        """Where an earlier run stopped, or the beginning."""
        found = Checkpoint.read(self.folder.unfinished)
        if found is not None:
            self.learner.use(found.parameters)
            return found
        return self.new()

    def new(self) -> Checkpoint:
        """The state before the first step."""
        parameters = self.learner.parameters
        optimizer = Optimizer(parameters, self.options.decay)
        return Checkpoint(progress=Progress(), parameters=parameters, optimizer=optimizer.state)

    def checked(self) -> TuningChecked:
        """What a step takes: one is computed, and changes nothing."""
        in_round = range(1, steps_per_round(self.learned, self.options.batch) + 1)
        tokens = {step: sum(len(each.ids) for each in self._examples_of(step)) for step in in_round}
        step = sorted(in_round, key=lambda each: tokens[each])[len(tokens) // 2]
        seconds = inf
        for _ in range(2):  # the first one allocates what others use again
            started = monotonic()
            loss, _, _ = self._gradients(step)
            release_buffers()
            seconds = min(seconds, monotonic() - started)
        longest = max([*self.learned, *self.held_out, *self.kept], key=lambda each: len(each.ids))
        # A validation has no gradients, which take two thirds of a step.
        share = len(self.held_out) / self.options.batch / 3
        validations = 1 + self.schedule.steps / self.schedule.validate_every
        return TuningChecked(
            longest=len(longest.ids),
            origin=longest.origin,
            step_seconds=seconds,
            seconds=seconds * (self.schedule.steps + share * validations),
            loss=loss,
        )

    def run(self, start: Checkpoint) -> Iterator[StepDone | Validated | TuningFinished]:
        """All steps after ``start``.

        However it is ended, the folder has the last whole step when this returns. Raises
        TuningError and OSError.
        """
        state = saved = start
        is_new = start.progress == Progress()
        curve = (
            Curve(folder=self.folder.path)
            if is_new
            else Curve.read(self.folder.path, start.progress.step)
        )
        loss = next((each["loss"] for each in reversed(curve.lines) if "loss" in each), None)
        optimizer = Optimizer(start.parameters, self.options.decay)
        optimizer.restore(start.optimizer)
        try:
            while True:
                if self._is_due(state.progress):
                    state, event = self._validated(state)
                    curve.add(event)
                    yield event
                    self._save(state, curve)
                    saved = state
                if state.progress.step == self.schedule.steps or self._ends_early(state):
                    break
                state, done = self._step(state, optimizer)
                curve.add(done)
                loss = done.loss
                yield done
                if monotonic() - self._saved >= self.seconds_unsaved:
                    self._save(state, curve)
                    saved = state
        finally:
            if saved is not state:
                self._save(state, curve)
        yield self._finish(state, loss)

    def _is_due(self, progress: Progress) -> bool:
        """Whether the held-out examples are to be measured now."""
        step = progress.step
        if not self.held_out or progress.validated_step == step:
            return False
        return step == 0 or self.schedule.validates_after(step)

    def _step(self, state: Checkpoint, optimizer: Optimizer) -> tuple[Checkpoint, StepDone]:
        started = monotonic()
        step = state.progress.step + 1
        rate = self.schedule.rate_at(step)
        loss, drift, gradients = self._gradients(step)
        after = optimizer.changed(state.parameters, gradients, rate)
        self.learner.use(after)
        release_buffers()
        tokens = sum(len(each.ids) for each in [*self._examples_of(step), *self._kept_of(step)])
        seconds = monotonic() - started
        self._recent.append((seconds, tokens))
        state = Checkpoint(
            progress=state.progress.after(seconds=seconds, tokens=tokens),
            parameters=after,
            optimizer=optimizer.state,
            best=state.best,
        )
        recent = sum(each for each, _ in self._recent)
        return state, StepDone(
            step=step,
            steps=self.schedule.steps,
            loss=loss,
            rate=rate,
            tokens_per_second=sum(count for _, count in self._recent) / max(recent, 1e-9),
            seconds_left=self._seconds_left(step, recent / len(self._recent)),
            tokens=state.progress.tokens,
            seconds=state.progress.seconds,
            drift=drift,
        )

    def _gradients(self, step: int) -> tuple[float, float | None, Parameters]:
        """The loss of a step, how far it is from what is kept, and the gradients of both."""
        loss, gradients = self.learner.gradients(self._examples_of(step))
        kept = self._kept_of(step)
        if not kept:
            return loss, None, gradients
        drift, pull = self.learner.drift(kept, self.states)
        weight = self.options.keep_weight
        return loss, drift, {name: each + weight * pull[name] for name, each in gradients.items()}

    def _examples_of(self, step: int) -> list[Example]:
        size, seed = self.options.batch, self.options.seed
        number, index = divmod(step - 1, steps_per_round(self.learned, size))
        return [self.learned[each] for each in round_of(self.learned, size, seed, number)[index]]

    def _kept_of(self, step: int) -> list[Example]:
        """The kept examples of a step, all of which have their turn in rounds of their own."""
        if not self.kept:
            return []
        size, seed = self.options.kept_at_once, self.options.seed
        number, index = divmod(step - 1, steps_per_round(self.kept, size))
        return [self.kept[each] for each in round_of(self.kept, size, seed, number)[index]]

    def _seconds_left(self, step: int, seconds: float) -> float:
        left = self.schedule.steps - step
        validations = -(-left // self.schedule.validate_every) if self.held_out else 0
        return left * seconds + validations * self._validation_seconds

    def _validated(self, state: Checkpoint) -> tuple[Checkpoint, Validated]:
        started = monotonic()
        loss = self.learner.validation_loss(self.held_out)
        release_buffers()
        self._validation_seconds = monotonic() - started
        progress = state.progress.validated(loss)
        best = progress.best_step == progress.step
        state = Checkpoint(
            progress=progress,
            parameters=state.parameters,
            optimizer=state.optimizer,
            best=state.parameters if best else state.best,
        )
        event = Validated(step=progress.step, loss=loss, best=best, seconds=progress.seconds)
        return state, event

    def _ends_early(self, state: Checkpoint) -> bool:
        patience = self.options.patience
        return bool(patience) and state.progress.without_gain >= patience

    def _save(self, state: Checkpoint, curve: Curve) -> None:
        """Save a step; the adapter is that of the best one until now, for who wants it already."""
        state.save(self.folder.unfinished)
        curve.write()
        self._write_adapter(state)
        self._saved = monotonic()

    def _write_adapter(self, state: Checkpoint) -> None:
        write_adapter(
            self.folder.path,
            state.best or state.parameters,
            self.additions,
            base=self.base,
            layout=self.layout,
            form=self.form,
        )

    def _finish(self, state: Checkpoint, loss: float | None) -> TuningFinished:
        self._write_adapter(state)
        progress = state.progress
        return TuningFinished(
            folder=self.folder.path,
            step=progress.step,
            steps=self.schedule.steps,
            adapter_step=progress.best_step if state.best else progress.step,
            loss=loss,
            first_validation_loss=progress.first_loss,
            validation_loss=progress.best_loss,
            seconds=progress.seconds,
        )


def result_of(event: TuningFinished) -> dict[str, Any]:
    """The result as the folder's record and ``--json`` have it."""
    result = asdict(event)
    return {**result, "folder": str(event.folder), "seconds": round(event.seconds, 2)}
