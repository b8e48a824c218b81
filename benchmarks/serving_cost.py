"""What HTTP costs: tokens per second of ``g4 serve`` beside those of the batch it runs.

    python benchmarks/serving_cost.py --clients 1 4 16

The same prompts, once through engine/running_batch.py in this process, once over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from endless import copy_without_end
from serving import TINY, burst, prompt
from serving_client import ask
from serving_process import Paths, g4, serving

from gemma4cli.api import load
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.running_batch import RunningBatch
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions


def alone(model: LocalModel, clients: int, tokens: int, words: int, number: int) -> float:
    """Tokens per second of a batch in this process."""
    options = GenerateOptions(max_tokens=tokens, temperature=0)
    begin = perf_counter()
    batch = RunningBatch(model)
    for i in range(clients):
        chat = Chat(model)
        for _ in chat.load([Message(role="user", content=prompt(number + i, words))]):
            pass
        batch.add(Prompt(inputs=chat.prompt(options), options=options))
    while batch.rows:
        batch.step()
    return clients * tokens / (perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--words", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if (folder := arguments.model) is None:
            folder = Path(made) / "tiny"
            copy_without_end(TINY, folder)
        paths = Paths(model=folder.resolve(), mlx=None, llama=None, gguf=None)
        model = load(str(paths.model))
        command = g4(paths)
        assert command is not None
        print("| clients | batch, tokens/s | over HTTP, tokens/s | cost |\n|-|-|-|-|")
        with serving("g4 serve", command, paths) as server:
            asyncio.run(ask(server, prompt(0, 8), 2))
            number = 1
            for clients in arguments.clients:
                inside, outside = [], []
                for _ in range(arguments.repeat):
                    rest = (clients, arguments.tokens, arguments.words, number)
                    inside.append(alone(model, *rest))
                    outside.append(asyncio.run(burst(server, *rest)).rate)
                    number += clients
                one, other = median(inside), median(outside)
                print(f"| {clients} | {one:,.0f} | {other:,.0f} | {1 - other / one:.0%} |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
