"""``python -m tests.load``: many clients of all kinds at once, against a real ``g4 serve``.

    python -m tests.load                               64 clients for five minutes
    python -m tests.load --clients 16 --seconds 20

They ask about texts, pictures and speech, by schemas and with functions; a fifth of them leave in
mid-answer, others read or send slowly, or send what is too long, broken off, wrong or not theirs to
send. Then the server is told to end while answers run. A run fails if a request gets neither an
answer nor an error in the form of OpenAI's API; if the server fails (status 500, or a traceback),
does not end as told, or leaves a file or a process; if, in a run of two minutes or more, its memory
in the second half is more than 1.1 times that of the quarter before it and 16 MB; or if, when all
clients have gone, more than four descriptors or threads are left of them, or a prompt in its queue.
Linux only.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from .exchange import REFUSED_FOR_NOW, Exchange, Fault, Outcome
from .kinds import KINDS, Address, Kind, last_answer, metrics
from .process import ServerProcess, growth, rested, running

_LONGEST_PAUSE = 1.0
"""Seconds that a refused client waits, whatever it is told, so that load does not sink."""
_LEAST_SECONDS = 120.0
"""In which a server has kept all the prompts that it may; before that, memory does grow."""
_REST_SECONDS = 20.0
_END_SECONDS = 40.0
_LAST_CLIENTS = 16


@dataclass
class Tally:
    """What came of the requests of a kind."""

    outcomes: list[Outcome] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Load:
    """Clients in threads, and what comes of them."""

    def __init__(self, address: Address, seed: int) -> None:
        self.tallies = {kind.name: Tally() for kind in KINDS}
        self._address = address
        self._seed = seed

    def run(self, clients: int, seconds: float) -> None:
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=self._client, args=(number, until)) for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, until: float) -> None:
        rng = Random(f"{self._seed}/{number}")
        weights = [kind.weight for kind in KINDS]
        while time.monotonic() < until:
            (kind,) = rng.choices(KINDS, weights)
            outcome = self._request(kind, rng)
            if outcome is not None and outcome.status == REFUSED_FOR_NOW:
                time.sleep(min(outcome.retry_after, _LONGEST_PAUSE))

    def _request(self, kind: Kind, rng: Random) -> Outcome | None:
        tally = self.tallies[kind.name]
        try:
            outcome = kind.run(self._address, rng)
        except (Fault, OSError) as exc:
            tally.faults.append(str(exc) or repr(exc))
            return None
        tally.outcomes.append(outcome)
        return outcome


def table(tallies: dict[str, Tally]) -> list[str]:
    """A line for each kind of client."""
    lines = [
        f"{'client':14} {'requests':>8} {'first s':>9} {'whole s':>9} {'at most':>8}  statuses"
    ]
    for name, tally in tallies.items():
        seen = Counter(str(each.status or "closed") for each in tally.outcomes)
        seen["FAULT"] = len(tally.faults)
        done = [each for each in tally.outcomes if each.status != REFUSED_FOR_NOW]
        firsts, wholes = sorted(each.first for each in done), sorted(each.seconds for each in done)
        counts = ", ".join(f"{count} x {each}" for each, count in seen.most_common() if count)
        lines.append(
            f"{name:14} {len(tally.outcomes) + len(tally.faults):8} {_middle(firsts):9.2f} "
            f"{_middle(wholes):9.2f} {wholes[-1] if wholes else 0:8.2f}  {counts}"
        )
    return lines


def _middle(numbers: Sequence[float]) -> float:
    return numbers[len(numbers) // 2] if numbers else 0.0


def _wait_for_rest(server: ServerProcess) -> list[str]:
    """Faults of a server whose clients have gone: prompts that it still has."""
    until = time.monotonic() + _REST_SECONDS
    while True:
        counts = metrics(server.address)
        left = counts["g4_running"] + counts["g4_waiting"]
        if not left:
            ended = sum(counts[f"g4_{name}_total"] for name in ("finished", "cancelled", "failed"))
            accepted = counts["g4_accepted_total"]
            print(
                f"prompts: {accepted:.0f} accepted, {counts['g4_cancelled_total']:.0f} left by "
                f"their clients, {counts['g4_failed_total']:.0f} failed; "
                f"{counts['g4_generated_tokens_total']:.0f} tokens generated"
            )
            return [] if ended == accepted else [f"{accepted - ended:.0f} prompts are not counted"]
        if time.monotonic() > until:
            return [f"{left:.0f} prompts are still answered, for nobody"]
        time.sleep(0.1)


def _end(server: ServerProcess, seed: int) -> list[str]:
    """Tell the server to end while it answers; what is wrong with that."""
    faults: list[str] = []
    outcomes: list[Outcome] = []
    begun = threading.Semaphore(0)

    def client(number: int) -> None:
        try:
            rng = Random(f"{seed}/last/{number}")
            outcomes.append(last_answer(server.address, rng, lambda: begun.release()))
        except (Fault, OSError) as exc:
            faults.append(f"at the end: {str(exc) or repr(exc)}")
            begun.release()

    threads = [threading.Thread(target=client, args=(each,)) for each in range(_LAST_CLIENTS)]
    with Exchange(server.address):  # sends nothing, and keeps nobody from ending
        for thread in threads:
            thread.start()
        for _ in threads:
            begun.acquire()
        time.sleep(0.3)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        status = server.wait(_END_SECONDS)
        for thread in threads:
            thread.join()
    if status != 128 + signal.SIGTERM:
        faults.append(f"exit status {status} after SIGTERM, not {128 + signal.SIGTERM}")
    seen = Counter(each.status for each in outcomes)
    answers = ", ".join(f"{count} x {each}" for each, count in seen.most_common())
    print(f"SIGTERM in mid-answer: ended in {time.monotonic() - start:.1f} s; {answers}")
    return faults + [f"left: {each}" for each in server.leftovers()]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the status is 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description="Load g4 serve.")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--queue", type=int, help="--queue of the server: 3/4 of the clients")
    given = parser.parse_args(args)
    queue = given.queue or max(given.clients * 3 // 4, _LAST_CLIENTS)
    with (
        TemporaryDirectory(prefix="g4-load-") as temporary,
        running(Path(temporary), "--queue", str(queue)) as server,
    ):
        before = server.held()
        load = Load(server.address, given.seed)
        start = time.monotonic()
        load.run(given.clients, given.seconds)
        seconds = time.monotonic() - start
        samples = list(server.samples)
        print("\n".join(table(load.tallies)))
        total = sum(len(each.outcomes) for each in load.tallies.values())
        print(f"{total} requests of {given.clients} clients in {seconds:.0f} s")
        faults = [
            f"{name}: {each}" for name, tally in load.tallies.items() for each in tally.faults
        ]
        faults += _wait_for_rest(server)
        after = server.held()
        line, grew = growth(samples)
        print(line)
        if given.seconds >= _LEAST_SECONDS:
            faults += grew
        if before is not None and after is not None:
            faults += rested(before, after)
        faults += _end(server, given.seed)
        faults += [f"said: {line.strip()}" for line in server.said if "Traceback" in line]
        faults += [f"said: {line.strip()}" for line in server.said if " 500 " in line]
    for fault, count in Counter(faults).most_common(20):
        print(f"{count} x {fault}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
