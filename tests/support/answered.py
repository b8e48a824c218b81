"""Cases that the reference implementation has answered, with their media."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from gemma4cli.engine.model import LoadedModel

from .cases import Case, Row, answer_of

FIXTURES = Path(__file__).parents[2] / "fixtures"


@dataclass(frozen=True, eq=False)
class Answered:
    """A case, its files, and what the reference implementation answers."""

    case: Case
    files: tuple[str, ...]
    reference: str

    def __str__(self) -> str:
        stems = [Path(name).stem for name in self.files]
        return "+".join([*stems, self.case.prompt[:40]]).replace("\n", " ")


def answered(file: Path) -> list[Answered]:
    """The cases of a file that ``fixtures/record_answers.py`` has completed."""

    def media(names: list[str]) -> tuple[bytes, ...]:
        return tuple((file.parent / name).read_bytes() for name in names)

    return [
        Answered(
            case=Case(
                row=raw.get("row", "sample"),
                prompt=raw["prompt"],
                answer=raw["answer"],
                score=raw.get("score", "exact"),
                images=media(raw["images"]),
                clips=media(raw["audio"]),
                videos=media(raw["videos"]),
                budget=raw["budget"],
                before=tuple(raw["before"]),
            ),
            files=(*raw["images"], *raw["audio"], *raw["videos"]),
            reference=raw["reference_text"],
        )
        for raw in json.loads(file.read_bytes())
    ]


@dataclass
class Asked:
    """A model whose answers are kept, so that each case is asked for once."""

    model: LoadedModel
    known: dict[Answered, str] = field(default_factory=dict)

    def answer(self, each: Answered) -> str:
        if each not in self.known:
            self.known[each] = answer_of(self.model, each.case)
        return self.known[each]

    def right_shares(self, cases: list[Answered]) -> dict[str, float]:
        """Of each group of cases the share of words, events or answers that is right.

        A group is the text before the colon of a case's row.
        """
        groups: dict[str, Row] = {}
        for each in cases:
            group = groups.setdefault(each.case.row.split(":")[0], Row())
            group.add(each.case, self.answer(each))
        return {name: 1 - row.wrong / row.total for name, row in groups.items()}
