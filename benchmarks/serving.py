"""Servers on the same work, in turn: g4 serve, mlx_lm.server, mlx_vlm.server and llama-server.

    python benchmarks/serving.py --mlx PYTHON                       # a small model: a minute
    python benchmarks/serving.py --mlx PYTHON --model E2B --tokens 4 --clients 1 2 --words 4

``--mlx`` is the Python of an environment with mlx-lm and mlx-vlm, such as ``peers`` makes;
``--llama`` and ``--gguf`` are llama-server and the model's weights for it. Every client sends a
prompt of its own at the same moment and streams the answer. Then a long prompt joins three answers
that have begun. Tables, and as the last line one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from endless import copy_without_end
from serving_client import Answer, WrongWorkError, ask
from serving_process import COMMANDS, Paths, Server, serving

TINY = Path(__file__).parents[1] / "gemma4cli" / "builtin" / "tiny"
RUNNING = 3
"""Answers that run when the long prompt comes."""
WORDS = [
    "lamp",
    "door",
    "river",
    "stone",
    "letter",
    "storm",
    "boat",
    "light",
    "woman",
    "bottle",
    "sea",
    "night",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """Clients that asked at once.

    Attributes:
        rate: Tokens of all per second, from the first request to the last token.
        first: Seconds to the first token: median, least and most of the clients.
        each: Tokens per second of a client after its first: median, least and most.
    """

    clients: int
    rate: float
    first: tuple[float, float, float]
    each: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Join:
    """A long prompt that came while others were being answered.

    Attributes:
        first: Seconds to its first token.
        gap: The longest time, in seconds, that any of the others waited for a token meanwhile.
        usual: The median time between two tokens of theirs before it came.
    """

    tokens: int
    first: float
    gap: float
    usual: float


def prompt(number: int, words: int) -> str:
    """Words that begin differently for each number, so that no server can reuse another's."""
    return " ".join(WORDS[(number * 7 + i * (1 + number % 5)) % len(WORDS)] for i in range(words))


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


async def burst(server: Server, clients: int, tokens: int, words: int, number: int) -> Burst:
    """``clients`` at once. Raises WrongWorkError unless each gets ``tokens``."""
    texts = [prompt(number + i, words) for i in range(clients)]
    answers = await asyncio.gather(*(ask(server, text, tokens) for text in texts))
    wall = max(answer.end for answer in answers) - min(answer.begin for answer in answers)
    return Burst(
        clients=clients,
        rate=sum(answer.tokens for answer in answers) / wall,
        first=spread([answer.first for answer in answers]),
        each=spread([answer.rate for answer in answers]),
    )


async def join(server: Server, tokens: int, words: int, long: int, number: int) -> Join:
    """Start answers, then send a prompt of ``long`` words once all of them have begun."""
    begun = [asyncio.Event() for _ in range(RUNNING)]
    tasks = [
        asyncio.create_task(ask(server, prompt(number + i, words), tokens, begun=each))
        for i, each in enumerate(begun)
    ]
    await asyncio.gather(*(each.wait() for each in begun))
    late = await ask(server, prompt(number + RUNNING, long), 2)
    running: list[Answer] = await asyncio.gather(*tasks)
    gaps = [gap for each in running for gap in each.gaps(late.begin, late.begin + late.first)]
    before = [gap for each in running for gap in each.gaps(0, late.begin)]
    return Join(
        tokens=late.prompt_tokens,
        first=late.first,
        gap=max(gaps, default=float("nan")),
        usual=median(before) if before else float("nan"),
    )


def middle(bursts: Sequence[Burst]) -> Burst:
    """The one with the median rate."""
    return sorted(bursts, key=lambda each: each.rate)[len(bursts) // 2]


async def measure(server: Server, arguments: argparse.Namespace) -> tuple[list[Burst], Join | None]:
    words: int = arguments.words
    await ask(server, prompt(0, words), 2)
    found, number = [], 1
    for clients in arguments.clients:
        runs = []
        for _ in range(arguments.repeat):
            runs.append(await burst(server, clients, arguments.tokens, words, number))
            number += clients
        found.append(middle(runs))
        print(f"{server.engine}, {clients} clients: {found[-1].rate:.1f} tokens/s", file=sys.stderr)
    if not arguments.long:
        return found, None
    return found, await join(server, arguments.during, words, arguments.long, number)


def cells(values: tuple[float, float, float], unit: float = 1) -> str:
    return f"{values[0] * unit:,.3g} ({values[1] * unit:,.3g} to {values[2] * unit:,.3g})"


def report(bursts: dict[str, list[Burst]], joins: dict[str, Join]) -> None:
    print("| clients | server | tokens/s of all | first token, ms | tokens/s of each |")
    print("|-|-|-|-|-|")
    for row in zip(*bursts.values(), strict=True):
        for engine, one in zip(bursts, row, strict=True):
            each = f"{cells(one.first, 1000)} | {cells(one.each)}"
            print(f"| {one.clients} | {engine} | {one.rate:,.3g} | {each} |")
    if not joins:
        return
    print(
        "\n| server | long prompt, tokens | its first token, s | longest gap of the others, ms |",
        end="",
    )
    print(" their usual gap, ms |\n|-|-|-|-|-|")
    for engine, one in joins.items():
        gaps = f"{one.gap * 1000:,.3g} | {one.usual * 1000:,.3g}"
        print(f"| {engine} | {one.tokens:,} | {one.first:.3g} | {gaps} |")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--words", type=int, default=24, help="of each prompt")
    parser.add_argument("--long", type=int, default=1400, help="words of the long prompt, or 0")
    parser.add_argument("--during", type=int, default=100, help="tokens of answers it joins")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument(
        "--model",
        type=Path,
        help="folder; default: g4's own, made endless",
    )
    parser.add_argument("--mlx", type=Path, help="Python with mlx-lm and mlx-vlm")
    parser.add_argument("--llama", type=Path, help="llama-server")
    parser.add_argument("--gguf", type=Path, help="the same weights for it")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        if (model := arguments.model) is None:
            model = Path(folder) / "tiny"
            copy_without_end(TINY, model)
        compare(arguments, model.resolve())


def compare(arguments: argparse.Namespace, model: Path) -> None:
    paths = Paths(
        model=model,
        mlx=arguments.mlx,
        llama=arguments.llama,
        gguf=arguments.gguf,
    )
    bursts: dict[str, list[Burst]] = {}
    joins: dict[str, Join] = {}
    for engine in arguments.engines:
        if (command := COMMANDS[engine](paths)) is None:
            print(f"{engine}: left out; --help says what it needs", file=sys.stderr)
            continue
        try:
            with serving(engine, command, paths) as server:
                bursts[engine], joined = asyncio.run(measure(server, arguments))
        except WrongWorkError as error:
            raise SystemExit(f"{engine}: {error}") from None
        if joined is not None:
            joins[engine] = joined
    report(bursts, joins)
    document = {
        "model": str(arguments.model or "tiny"),
        "tokens": arguments.tokens,
        "bursts": {name: [asdict(one) for one in found] for name, found in bursts.items()},
        "joins": {name: asdict(found) for name, found in joins.items()},
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
