"""Progress of a tuning: a line with loss, speed and time left, and lines that stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...events import Notice
from ...times import clock
from ...tuning.events import (
    PromptsAnswered,
    SamplesRead,
    StepDone,
    TuningChecked,
    TuningEvent,
    TuningFinished,
    TuningPlanned,
    Validated,
)
from ..environment import Environment
from ..output.numbers import examples_text, size_text
from ..output.progress import ProgressLine

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


class TuningProgress(ProgressLine):
    """What a tuning does. A run that is cut off says that it can go on."""

    def __init__(self, env: Environment, folder: Path, *, quiet: bool) -> None:
        super().__init__(env, _columns, quiet=quiet)
        self._folder = folder
        self._step: int | None = None

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self.bar = None
        kind = exception[0] if exception else None
        if isinstance(kind, type) and issubclass(kind, KeyboardInterrupt) and self._step:
            self.notice(
                f"{self._folder}: stopped after step {self._step}; the same command goes on from "
                "there"
            )

    def update(self, event: TuningEvent) -> None:
        match event:
            case Notice(text=text):
                self.notice(text)
            case SamplesRead(done=done, total=total):
                self._show("reading examples", done, total, "")
            case PromptsAnswered(done=done, total=total):
                self._show("answering what is kept", done, total, "")
            case TuningPlanned():
                self._planned(event)
            case TuningChecked(longest=longest, origin=origin):
                self.notice(
                    f"the longest example has {longest:,} tokens: {origin}; a step takes "
                    f"{_seconds(event.step_seconds)}, all of them about {clock(event.seconds)}; "
                    f"the loss before the first one is {event.loss:.3f}"
                )
            case StepDone():
                self._step = event.step
                speed = f"{event.tokens_per_second:,.0f} tokens/s"
                left = f"{clock(event.seconds_left)} left"
                self._show(
                    f"step {event.step}/{event.steps}",
                    event.step,
                    event.steps,
                    f"loss {event.loss:.3f}, {speed}, {left}",
                )
            case Validated(step=step, loss=loss, best=best):
                mark = ", the least until now" if best and step else ""
                self.notice(f"step {step}: the held-out loss is {loss:.4f}{mark}")
            case TuningFinished():
                self._finished(event)

    def _planned(self, event: TuningPlanned) -> None:
        self._step = event.done
        if event.done:
            self.notice(f"{self._folder}: goes on after step {event.done}")
        held_out = f", {event.held_out} held out" if event.held_out else ""
        kept = f", {event.kept} kept" if event.kept else ""
        skipped = f", {event.skipped} too long" if event.skipped else ""
        again = ", layers compute their values again" if event.recompute else ""
        self.notice(
            f"{examples_text(event.examples)}{held_out}{kept}{skipped}: {event.targets:,} of "
            f"{event.tokens:,} tokens are learned in a round; {event.steps} steps; "
            f"{event.parameters:,} numbers are trained; memory: up to {size_text(event.memory)}"
            f"{again}"
        )

    def _finished(self, event: TuningFinished) -> None:
        early = f" of {event.steps}, which did no good any more" if event.step < event.steps else ""
        loss = ""
        if event.validation_loss is not None and event.first_validation_loss is not None:
            loss = (
                f"; the held-out loss is {event.validation_loss:.4f} after step "
                f"{event.adapter_step}, {event.first_validation_loss:.4f} without the adapter"
            )
        elif event.loss is not None:
            loss = f"; the loss is {event.loss:.4f}"
        self.notice(
            f"{self._folder}: {event.step} steps{early} in {clock(event.seconds)}{loss}. Use it "
            f"with --adapter {self._folder}"
        )

    def _show(self, text: str, done: int, total: int, facts: str) -> None:
        if self.bar is None:
            return
        if self.task is None:
            self.task = self.bar.add_task(text, total=total, facts=facts)
        self.bar.update(self.task, description=text, completed=done, total=total, facts=facts)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else clock(seconds)


def _columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, TextColumn

    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[facts]}", markup=False),
    )
