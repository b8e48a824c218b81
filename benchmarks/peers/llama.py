"""llama.cpp's programs: llama-completion for text, llama-mtmd-cli for media, llama-bench for rates.

Each without its warm-up run and without fitting to the device's memory, which would cost a second.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from dialog import Dialog, TimeUpError
from engines import completed, number
from prepare import Prepared
from work import (
    ANSWER,
    FOLLOW_UP,
    OPENING,
    PICTURE_QUESTION,
    QUESTION,
    Case,
    GivenUp,
    Result,
    cases,
    check,
)

QUICK = ("--no-warmup", "-fit", "off", "-c", "4096", "--temp", "0")
PROMPT_TOKENS = r"prompt eval time =.*?/ +(\d+) tokens"
TURNS = (
    "{% for message in messages %}<|turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] }}<turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% endif %}"
)
"""Gemma 4's turns without thinking, which llama-mtmd-cli cannot switch off; E2B's, as only that has
towers here."""


@dataclass(frozen=True, slots=True)
class Llama:
    """llama.cpp on the same weights."""

    made: Prepared
    name: str = "llama.cpp"

    def measure(self, case: Case, limit: float) -> Result | GivenUp:
        if case.is_rate:
            return self._rate(case, limit)
        if case.kind == "text":
            return self._text(case, limit)
        if not self.made.towers.exists():
            return GivenUp(reason="-")
        return self._turn(case, limit) if case.kind == "turn" else self._media(case, limit)

    def _rate(self, case: Case, limit: float) -> Result | GivenUp:
        counts: tuple[str, ...] = ("-p", str(case.tokens), "-n", "0")
        if case.kind == "decode":
            counts = ("-p", "0", "-n", str(case.out), "-d", str(case.tokens))
        program = (self.made.llama / "llama-bench", "-m", self.made.text, "-r", "1", "-o", "jsonl")
        ended = completed((*program, *counts), limit)
        if isinstance(ended, GivenUp):
            return ended
        row = json.loads(ended.out)
        did = row["n_depth"] if case.kind == "decode" else row["n_prompt"]
        check(case, self.name, tokens=did, out=row["n_gen"])
        return Result(value=row["avg_ts"], peak=ended.peak, seconds=ended.wall)

    def _text(self, case: Case, limit: float) -> Result | GivenUp:
        program = (self.made.llama / "llama-completion", "-m", self.made.text, *QUICK)
        ended = completed((*program, "-no-cnv", "-p", self._prompt(), "-n", str(ANSWER)), limit)
        if isinstance(ended, GivenUp):
            return ended
        self._check_counts(case, ended.text)
        return Result(value=ended.wall, peak=ended.peak, seconds=ended.wall)

    def _media(self, case: Case, limit: float) -> Result | GivenUp:
        name = "--image" if case.kind == "picture" else "--audio"
        file = self.made.picture if case.kind == "picture" else self.made.clip
        question = ("-p", PICTURE_QUESTION, "-n", str(ANSWER))
        ended = completed((*self._multimodal(), name, file, *question), limit)
        if isinstance(ended, GivenUp):
            return ended
        self._check_counts(case, ended.text)
        soft = int(number(r"n_tokens_batch = (\d+)", ended.text))
        check(case, self.name, tokens=case.tokens - case.soft + soft)
        tower = number(r"mtmd batch encoding done in (\d+) ms", ended.text) / 1000
        return Result(value=ended.wall, peak=ended.peak, tower=tower, seconds=ended.wall)

    def _turn(self, case: Case, limit: float) -> Result | GivenUp:
        started = time.perf_counter()
        try:
            with Dialog((*self._multimodal(), "-n", "1"), limit) as dialog:
                dialog.tell(f"/image {self.made.picture}")
                dialog.tell(PICTURE_QUESTION)
                waited = dialog.ask(FOLLOW_UP)
        except TimeUpError:
            return GivenUp(reason=f"> {limit:g} s")
        picture = next(each for each in cases(self.made.shape) if each.kind == "picture")
        read = int(number(PROMPT_TOKENS, dialog.log))
        check(case, self.name, tokens=read - picture.tokens)
        return Result(value=waited, peak=dialog.peak, seconds=time.perf_counter() - started)

    def _multimodal(self) -> tuple[str | Path, ...]:
        budget = ("--image-max-tokens", "280", "--jinja", "--chat-template", TURNS, "-lv", "4")
        files = ("-m", self.made.text, "--mmproj", self.made.towers)
        return (self.made.llama / "llama-mtmd-cli", *files, *QUICK, *budget)

    def _prompt(self) -> str:
        return f"<|turn>user\n{QUESTION}<turn|>\n<|turn>model\n{OPENING[self.made.shape]}"

    def _check_counts(self, case: Case, log: str) -> None:
        tokens = int(number(PROMPT_TOKENS, log))
        later = int(number(r" eval time =.*?/ +(\d+) runs", log))
        check(case, self.name, tokens=tokens, out=later + 1)
