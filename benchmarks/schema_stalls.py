"""How long an answer waits for others that begin with a schema, in one queue.

    python benchmarks/schema_stalls.py --model CHECKPOINT

One client reads an answer without an end, token by token; then others ask with schemas that nobody
has asked with before.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from typing import Any

from endless import copy_without_end
from serving import TINY

from gemma4cli.api import load
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions
from gemma4cli.serving.queued_model import QueuedModel

NUMBER = {"type": "integer"}
POINT = {
    "type": "object",
    "properties": {"x": NUMBER, "label": {"type": "string"}},
    "required": ["x", "label"],
}


def schemas(number: int) -> dict[str, dict[str, Any]]:
    """Schemas that differ by ``number``."""
    keys = {f"key_{number}_{i}": {"type": "string"} for i in range(30)}
    return {
        "400 numbers": {"type": "array", "items": NUMBER, "minItems": 400 + number},
        "100 objects": {"type": "array", "items": POINT, "minItems": 100 + number},
        "400 letters": {"type": "string", "minLength": 400 + number},
        "30 keys": {"type": "object", "properties": keys, "required": list(keys)},
    }


class Reader:
    """Reads an answer in a thread and notes when its tokens came."""

    def __init__(self, model: QueuedModel) -> None:
        self.times: list[float] = []
        inputs = model.processor.prepare([Message(role="user", content="Go on")], [])
        options = GenerateOptions(max_tokens=100_000, temperature=0, repetition_guard=False)
        self.events = model.generate(inputs, options)
        self._thread = Thread(target=self._read)

    def __enter__(self) -> Reader:
        self._thread.start()
        while len(self.times) < 30:
            sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.events.close()
        self._thread.join()

    def _read(self) -> None:
        for _ in self.events:
            self.times.append(perf_counter())

    def worst(self, task: Callable[[], object]) -> tuple[float, float]:
        """Seconds of a task, and the longest time between two tokens meanwhile."""
        count, begin = len(self.times) - 1, perf_counter()
        task()
        seconds = perf_counter() - begin
        while self.times[-1] < begin + seconds:
            sleep(0.001)
        gaps = [b - a for a, b in zip(self.times[count:], self.times[count + 1 :], strict=False)]
        return seconds, max(gaps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=40, help="of each answer by a schema")
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if (folder := arguments.model) is None:
            folder = Path(made) / "tiny"
            copy_without_end(TINY, folder)
        model = QueuedModel.alone(lambda: load(str(folder)), slots=4)
        inputs = model.processor.prepare([Message(role="user", content="What is there?")], [])

        def answer(schema: dict[str, Any]) -> None:
            options = GenerateOptions(schema=json.dumps(schema), max_tokens=20_000)
            events = model.generate(inputs, options)
            for _, event in zip(range(arguments.tokens), events, strict=False):
                assert event is not None
            events.close()

        try:
            with Reader(model) as reader:
                _, usual = reader.worst(lambda: sleep(1))
                print(f"no schema: longest time between tokens {usual * 1e3:.0f} ms")
                _, first = reader.worst(partial(answer, schemas(0)["30 keys"]))
                print(f"the first schema: {first * 1e3:.0f} ms")
                for name in schemas(0):
                    found = [
                        reader.worst(partial(answer, schemas(n)[name]))
                        for n in range(1, 1 + arguments.repeat)
                    ]
                    took, worst = (max(each) for each in zip(*found, strict=True))
                    print(f"{name}: {worst * 1e3:.0f} ms; the answer took {took * 1e3:.0f} ms")
        finally:
            model.queue.close(finish=False)


if __name__ == "__main__":
    main()
