"""How each engine is asked to do a case, and how its answer is read."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prepare import ROOT, Prepared
from process import Command, Run, run
from work import (
    ANSWER,
    PICTURE_QUESTION,
    QUESTION,
    Case,
    GivenUp,
    Result,
    WrongWorkError,
    cases,
    check,
)


class Engine(Protocol):
    """One of the programs that are compared."""

    @property
    def name(self) -> str: ...

    def measure(self, case: Case, limit: float) -> Result | GivenUp:
        """Do the case once, in a process of its own, for ``limit`` seconds at most."""


TRIES = 3
SHORT = 60.0
"""Seconds; so short a run that a signal stopped for a while is repeated, TRIES runs at most."""


def completed(command: Command, limit: float) -> Run | GivenUp:
    """A run that ended well, or that was cut off at the limit; anything else ends the benchmark."""
    for _ in range(TRIES):
        ended = run(command, limit)
        if not ended.stopped or ended.wall > SHORT:
            break
    if ended.stopped:
        print(f"the next was stopped for a while: {ended.wall:.0f} s in all", file=sys.stderr)
    if ended.cut:
        return GivenUp(reason=f"> {limit:g} s")
    if ended.status:
        raise SystemExit(f"{command[0]} ended with {ended.status}:\n{ended.text[-2000:]}")
    return ended


def number(pattern: str, text: str) -> float:
    """The last number that ``pattern`` captures."""
    found = re.findall(pattern, text)
    if not found:
        raise WrongWorkError(f"nothing like {pattern!r} in:\n{text[-1000:]}")
    return float(found[-1])


@dataclass(frozen=True, slots=True)
class G4:
    """g4 in the environment that runs this script: its program, and ``engine.py`` for rates."""

    made: Prepared
    name: str = "g4"

    def measure(self, case: Case, limit: float) -> Result | GivenUp:
        if case.is_rate or case.kind == "turn":
            return self._engine(case, limit)
        media = {
            "text": ("chat", "-p", QUESTION),
            "picture": ("describe", self.made.picture, "-p", PICTURE_QUESTION, "--budget", "280"),
            "clip": ("chat", "--audio", self.made.clip, "-p", PICTURE_QUESTION),
        }[case.kind]
        options = ("--max-tokens", str(ANSWER), "--temperature", "0", "--json", "--offline")
        program = (sys.executable, "-m", "gemma4cli", *media, "-m", self.made.checkpoint, *options)
        ended = completed(program, limit)
        if isinstance(ended, GivenUp):
            return ended
        record = json.loads(ended.out)
        usage = record["usage"]
        check(case, self.name, tokens=usage["prompt_tokens"], out=usage["completion_tokens"])
        if usage["soft_tokens"] != case.soft:
            raise WrongWorkError(f"{case.name}: {usage['soft_tokens']} soft tokens")
        tower = record["timings"]["encode"] if case.soft else None
        return Result(value=ended.wall, peak=ended.peak, tower=tower, seconds=ended.wall)

    def _engine(self, case: Case, limit: float) -> Result | GivenUp:
        part: tuple[str, ...] = (case.kind,)
        if case.kind == "turn":
            part += ("--image", str(self.made.picture))
        if case.kind == "prefill":
            part += ("--prompt", str(case.tokens))
        if case.kind == "decode":
            part += ("--decode", str(case.out), "--context", str(case.tokens))
        script = ROOT / "benchmarks" / "engine.py"
        command = (sys.executable, script, "-m", self.made.checkpoint, "--repeat", "1", "--only")
        ended = completed((*command, *part), limit)
        if isinstance(ended, GivenUp):
            return ended
        rows = json.loads(ended.out.splitlines()[-1])
        label = next(label for label in rows if case.kind in label.split())
        count = int(number(r"of (\d+)", label))
        check(case, self.name, tokens=case.tokens if case.kind == "decode" else count)
        return Result(value=rows[label], peak=ended.peak, seconds=ended.wall)


@dataclass(frozen=True, slots=True)
class MlxLm:
    """mlx-lm as shipped: its ``generate`` for text, its Python functions for rates.

    A rate for which the limit is too short comes from fewer tokens.
    """

    made: Prepared
    name: str = "mlx-lm"
    _tries: list[str] = field(default_factory=list)

    def measure(self, case: Case, limit: float) -> Result | GivenUp:
        if case.kind == "text":
            options: tuple[str, ...] = ("--max-tokens", str(ANSWER), "--temp", "0")
            options += ("--chat-template-config", '{"enable_thinking": false}')
            command = ("-m", "mlx_lm", "generate", "--model", self.made.checkpoint, "-p", QUESTION)
            ended = mlx_whole(self.name, case, (self.made.mlx, *command, *options), limit)
            return ended if isinstance(ended, GivenUp) else whole(ended)
        if not case.is_rate:
            return GivenUp(reason="-")
        script = Path(__file__).with_name("mlx_lm_rates.py")
        counts = (str(case.tokens), str(case.out), str(limit), *self._tries)
        ended = completed((self.made.mlx, script, self.made.checkpoint, *counts), 3 * limit)
        if isinstance(ended, GivenUp):
            return ended
        found: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
        self._tries[:] = [json.dumps(found["tries"])]
        shortened = found["shortened"]
        return Result(value=found["rate"], peak=ended.peak, shortened=shortened, seconds=ended.wall)


@dataclass(frozen=True, slots=True)
class MlxVlm:
    """mlx-vlm as shipped: its ``generate``. Its rates are those of the same layers in mlx-lm.

    Where the limit is too short for the tokens of a picture or a clip, only the tower runs, and
    the time of the tokens follows from what each took in the text.
    """

    made: Prepared
    name: str = "mlx-vlm"
    _text: list[Run] = field(default_factory=list)

    def measure(self, case: Case, limit: float) -> Result | GivenUp:
        media: dict[str, Sequence[str | Path]] = {
            "text": ("--prompt", QUESTION),
            "picture": ("--image", self.made.picture, "--prompt", PICTURE_QUESTION),
            "clip": ("--audio", self.made.clip, "--prompt", PICTURE_QUESTION),
        }
        if case.kind not in media:
            return GivenUp(reason="-")
        if case.soft:
            tokens = self._seconds_of_tokens(case, limit)
            if tokens is None or tokens > limit:
                return self._tower(case, tokens, limit)
        options = ("--max-tokens", str(ANSWER), "--temperature", "0", "--verbose")
        command = ("-m", "mlx_vlm", "generate", "--model", self.made.checkpoint, *media[case.kind])
        ended = mlx_whole(self.name, case, (self.made.mlx, *command, *options), limit)
        if isinstance(ended, GivenUp):
            return ended
        if case.kind == "text":
            self._text[:] = [ended]
        return whole(ended)

    def _seconds_of_tokens(self, case: Case, limit: float) -> float | None:
        """What the tokens of a case take at the rates of the text; None if that took too long."""
        if not self._text:
            text = next(each for each in cases(self.made.shape) if each.kind == "text")
            if isinstance(self.measure(text, limit), GivenUp):
                return None
        said = self._text[0].text
        into = number(r"Prompt: .*?([\d.]+) tokens-per-sec", said)
        out = number(r"Generation: .*?([\d.]+) tokens-per-sec", said)
        return case.tokens / into + case.out / out

    def _tower(self, case: Case, tokens: float | None, limit: float) -> Result | GivenUp:
        """The tower alone, with an estimate of the whole."""
        script = Path(__file__).with_name("mlx_vlm_tower.py")
        file = self.made.picture if case.kind == "picture" else self.made.clip
        asked = (self.made.checkpoint, case.kind, file, PICTURE_QUESTION)
        ended = completed((self.made.mlx, script, *asked), 3 * limit)
        if isinstance(ended, GivenUp) or tokens is None:
            return GivenUp(reason=f"> {limit:g} s")
        found = json.loads(ended.out.splitlines()[-1])
        check(case, self.name, tokens=found["tokens"])
        if found["soft"] != case.soft:
            raise WrongWorkError(f"{case.name}: {found['soft']} soft tokens")
        return Result(
            value=ended.wall + tokens,
            peak=ended.peak,
            tower=found["seconds"],
            shortened="its tower, and the rates of the text for the tokens",
            seconds=ended.wall,
        )


def mlx_whole(name: str, case: Case, command: Command, limit: float) -> Run | GivenUp:
    """A whole run of one of MLX's programs, which end with the same statistics."""
    ended = completed(command, limit)
    if isinstance(ended, GivenUp):
        return ended
    tokens = int(number(r"Prompt: (\d+) tokens", ended.text))
    out = int(number(r"Generation: (\d+) tokens", ended.text))
    check(case, name, tokens=tokens, out=out)
    return ended


def whole(ended: Run) -> Result:
    """The time of a whole process."""
    return Result(value=ended.wall, peak=ended.peak, seconds=ended.wall)
