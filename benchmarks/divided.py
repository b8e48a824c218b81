"""One process of this machine against several that divide a model: speed, and memory of each.

    python benchmarks/divided.py -m /tmp/e2b-random
    python benchmarks/divided.py -m /tmp/e2b-random --count 3 --prompt 64 --decode 8

The processes are started as the program is (``MLX_RANK``, ``MLX_HOSTFILE``), with MLX's ring
between them: first one alone, then ``--count`` together. Speeds are medians of ``--repeat`` runs
after one that is not counted. Memory is what is resident of each process, pages of mapped weights
included: after loading, at the end of decoding, and at most. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--count", type=int, default=2, help="processes")
    parser.add_argument("--prompt", type=int, default=512, help="tokens to read")
    parser.add_argument("--decode", type=int, default=32, help="tokens to write")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    rows = [measured(count, sys.argv[1:]) for count in (1, options.count)]
    alone, together = rows
    print(f"{'':<28}{'one':>10}{options.count:>10}{'ratio':>8}")
    for label in ("load, s", "prefill, tokens/s", "decode, tokens/s"):
        one, several = alone[label], together[label]
        print(f"{label:<28}{one:10.2f}{several:10.2f}{several / one:8.2f}")
    for label in ("loaded, MB", "decoding, MB", "at most, MB"):
        (one,), several = alone[label], together[label]
        each = " ".join(f"{value:.0f} ({value / one:.2f})" for value in several)
        print(f"{label:<28}{one:10.0f}  {each}")
    print(json.dumps(rows))


def measured(count: int, words: list[str]) -> Row:
    """What the first of ``count`` processes measures, with the memory of all."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        hosts = Path(folder) / "hosts.json"
        hosts.write_text(json.dumps(free_addresses(count)))
        found = []
        for rank in range(count):
            several = {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)} if count > 1 else {}
            process = subprocess.Popen(
                [sys.executable, __file__, "--worker", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **several},
            )
            found.append(running.enter_context(process))
            running.callback(process.kill)
        first = found[0]
        assert first.stdin is not None and first.stdout is not None
        row: Row = {"processes": count}
        for line in first.stdout:
            row |= json.loads(line)
            label = row.pop("memory", None)
            if label is not None:
                row[label] = [resident(each.pid, "Rss") for each in found]
                row["at most, MB"] = [resident(each.pid, "VmHWM") for each in found]
                first.stdin.write("\n")
                first.stdin.flush()
        if first.wait() or "decode, tokens/s" not in row:
            sys.exit(f"{count} processes ended with status {first.returncode}")
        return row


def free_addresses(count: int) -> list[list[str]]:
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [[f"127.0.0.1:{each.getsockname()[1]}"] for each in taken]


def resident(process: int, field: str) -> float:
    """MB of a process; Linux only."""
    file = "status" if field.startswith("Vm") else "smaps_rollup"
    text = Path(f"/proc/{process}/{file}").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1e3


def worker(options: argparse.Namespace) -> None:
    from gemma4cli.distributed.launch import launched

    launch = launched(os.environ)
    if launch is None:
        measure(options)
        return
    from gemma4cli.cli.environment import Environment
    from gemma4cli.cli.together import run_together

    run_together(Environment.of_process(), launch, partial(measure, options))


def measure(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    from gemma4cli.api import load
    from gemma4cli.engine.decode import decode_tokens
    from gemma4cli.engine.prefill import Prefill
    from gemma4cli.engine.sampling import make_sampler
    from gemma4cli.machine.backend import on_cpu

    model = load(options.model)
    say({"load, s": time.perf_counter() - started})
    memory("loaded, MB")

    import mlx.core as mx

    text = model.network.language_model
    ids = [2] + [1000 % model.network.config.text.vocab_size] * (options.prompt - 1)

    def read() -> Any:
        cache = text.make_cache()
        run = Prefill(network=model.network, ids=ids, spans=(), soft_tokens=(), step=512)
        *_, hidden = run.run(cache)
        logits = text.logits(hidden)[0, -1]
        mx.eval(logits)
        return cache, logits

    say({"prefill, tokens/s": options.prompt / median(read, options.repeat)})
    greedy = make_sampler(temperature=0, top_p=1, top_k=0)
    steps = decode_tokens(model.network, *read(), greedy, lookahead=not on_cpu())
    took = median(lambda: list(islice(steps, options.decode)), options.repeat)
    say({"decode, tokens/s": options.decode / took})
    memory("decoding, MB")


def median(work: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def say(row: Row) -> None:
    print(json.dumps(row), flush=True)


def memory(label: str) -> None:
    """Let the memory of all processes be read, and wait until that is done."""
    say({"memory": label})
    sys.stdin.readline()


if __name__ == "__main__":
    main()
