"""One training loop for every stage: schedule, optimiser, saving and going on."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from .device import device
from .muon import Muon
from .processes import average_gradients, rank

Numbers = Mapping[str, float | torch.Tensor]

STATE = "state.pt"
LOG = "log.csv"
_LEARNING_ON = 0.3
"""The peak of a model that learns on, as a part of that of a new one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A learning rate that warms up, stays, and falls in a line to a hundredth of its peak."""

    steps: int
    peak: float
    warmup: int = 100
    decay_from: float = 0.7
    """The part of the steps after which the rate falls."""

    def rate(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warmup)
        decay_start = self.decay_from * self.steps
        falling = 1.0 - max(0.0, step - decay_start) / (self.steps - decay_start)
        return self.peak * rising * max(falling, 0.01)

    def learning_on(self) -> Schedule:
        """For a model that was trained by this schedule: lower, and falling from the first step.

        At the peak it would first forget.
        """
        return replace(self, peak=_LEARNING_ON * self.peak, decay_from=0.0)


class Loop:
    """Trains ``modules`` together, on the device, and keeps their state in ``folder``.

    A run that was stopped goes on from the last saved step, so a batch has to be a function of its
    step number. ``steps`` of the schedule may be raised later: the rate is not part of the state.
    ``matrices`` are learnt by Muon, everything else by AdamW.
    """

    def __init__(
        self,
        folder: Path,
        modules: Mapping[str, nn.Module],
        schedule: Schedule,
        *,
        matrices: Collection[nn.Parameter] = (),
        weight_decay: float = 0.01,
        save_every: int = 200,
        log_every: int = 25,
    ) -> None:
        self.folder = folder
        self.modules = {name: module.to(device()) for name, module in modules.items()}
        self.schedule = schedule
        self.save_every = save_every
        self.log_every = log_every
        parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
        apart = {id(p) for p in matrices}
        others = [p for p in parameters if id(p) not in apart]
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.parameters = parameters
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=schedule.peak, betas=(0.9, 0.98))
        ]
        if matrices:
            muon = Muon(matrices, lr=schedule.peak, weight_decay=weight_decay)
            self.optimizers.append(muon)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE).exists():
            self._restore()

    def run(self, loss_of_step: Callable[[int], tuple[torch.Tensor, Numbers]]) -> None:
        """Take the steps that are left; ``loss_of_step`` gives a loss and numbers for the log.

        A number that is not known in a step is NaN, or not there.
        """
        started = time.monotonic()
        recent: dict[str, list[torch.Tensor]] = {}
        while self.step < self.schedule.steps:
            loss, numbers = loss_of_step(self.step)
            loss.backward()  # type: ignore[no-untyped-call]
            average_gradients(self.parameters)
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = self.schedule.rate(self.step)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.step += 1
            for name, value in {"loss": loss, **numbers}.items():
                # Read when they are logged: to read a number, a GPU has to be waited for.
                recent.setdefault(name, []).append(torch.as_tensor(value).detach())
            if self.step % self.log_every == 0 and rank() == 0:
                means = {name: torch.stack(each).nanmean().item() for name, each in recent.items()}
                self._log(time.monotonic() - started, means)
                recent = {}
            if self.step % self.save_every == 0 or self.step == self.schedule.steps:
                self.save()
        if self.step == 0:
            # No steps were asked for: what a stage starts from is kept as its result.
            self.save()

    def save(self) -> None:
        """Write the state whole or not at all."""
        if rank() != 0:
            return
        state = {
            "step": self.step,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
        }
        partial = self.folder / (STATE + ".partial")
        torch.save(state, partial)
        os.replace(partial, self.folder / STATE)

    def _restore(self) -> None:
        state = torch.load(self.folder / STATE, weights_only=True, map_location=device())
        self.step = state["step"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])

    def _log(self, seconds: float, means: Mapping[str, float]) -> None:
        line = {"step": f"{self.step}", "seconds": f"{seconds:.0f}"}
        line |= {name: f"{value:.4f}" for name, value in sorted(means.items())}
        print("  ".join(f"{name} {value}" for name, value in line.items()), flush=True)
        with (self.folder / LOG).open("a", newline="") as file:
            csv.writer(file).writerow([f"{name}={value}" for name, value in line.items()])


def trained(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The weights of one module of a stage that was trained in ``folder``."""
    state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    weights: dict[str, torch.Tensor] = state["modules"][name]
    return weights
