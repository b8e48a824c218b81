"""``python -m tests.load``: many clients of all kinds at once, against a real ``g4 serve``.

    python -m tests.load                               64 clients for five minutes
    python -m tests.load --clients 16 --seconds 20

They ask about texts, pictures and speech, by schemas and with functions; a fifth of them leave in
mid-answer, others read or send slowly, or send what is too long, broken off, wrong or not theirs to
send. Those that are refused for now wait as long as they are told, and ask again. After each third
of the time all clients go, and the server rests. In the end it is told to end while answers run.

A run fails if a request gets neither an answer nor an error in the form of OpenAI's API, or a good
one no answer; if the server fails (status 500, or a traceback), does not end as told, or leaves a
file or a process; or if, when all clients have gone, more than four descriptors or two threads are
left of them, or a prompt in its queue.

It also fails if memory is not flat, unless the run takes less than two minutes: if the last third
takes more than the one before it (1.1 times, and 4 MB), or the server at rest (1.02 times, and 4
MB). That cannot be what it may keep, of which it has as much as it may from the first third on: of
prompts 8 MB, and of media, of which there are few. Linux only.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from .bodies import head
from .exchange import PATIENCE, REFUSED_FOR_NOW, Exchange, Fault, Outcome
from .kinds import KINDS, Address, Kind, last_answer, metrics
from .process import KEPT_MB, Held, ServerProcess, described, grown, rested, running
from .tally import Tally, table

_PARTS = 3
_LEAST_SECONDS = 120.0
"""In which the first third fills what may be kept."""
_FULL = 0.75
_REST_SECONDS = 30.0
_QUIET_SECONDS = 2.0
"""After which a server without prompts has given back what it can of its memory."""
_SETTLE_SECONDS = 11.0
"""After which the server's threads for short work end, when the next such work comes."""
_END_SECONDS = 40.0
_LAST_CLIENTS = 16


class Load:
    """Clients in threads, and what comes of them."""

    def __init__(self, address: Address, seed: int) -> None:
        self.tallies = {kind: Tally() for kind in KINDS}
        self._address = address
        self._seed = seed
        self._is_over = threading.Event()
        self._runs = 0

    def run(self, clients: int, seconds: float) -> None:
        """Let clients ask for a while, others in each run; then wait for their last answers."""
        self._is_over.clear()
        self._runs += 1
        threads = [
            threading.Thread(target=self._client, args=(f"{self._runs}/{number}",), daemon=True)
            for number in range(clients)
        ]
        try:
            for thread in threads:
                thread.start()
            self._is_over.wait(seconds)
        finally:
            self._is_over.set()
        for thread in threads:
            thread.join()

    def warm_up(self) -> None:
        """Make a request of each kind that asks the model: libraries start threads for them."""
        rng = Random(f"{self._seed}/warm")
        for kind in self.tallies:
            if kind.asks:
                kind.run(self._address, rng)

    def _client(self, number: str) -> None:
        rng = Random(f"{self._seed}/{number}")
        weights = [kind.weight for kind in KINDS]
        while not self._is_over.is_set():
            (kind,) = rng.choices(KINDS, weights)
            self._request(kind, rng)

    def _request(self, kind: Kind, rng: Random) -> None:
        """Make a request, again if it is refused for now."""
        tally, same, begun = self.tallies[kind], rng.getstate(), time.monotonic()
        try:
            while (outcome := kind.run(self._address, rng)).status == REFUSED_FOR_NOW:
                tally.refusals += 1
                if time.monotonic() - begun > PATIENCE:
                    raise Fault(f"refused again and again for {PATIENCE:.0f} s")
                time.sleep(outcome.retry_after)
                rng.setstate(same)
            tally.outcomes.append(outcome)
        except (Fault, OSError) as exc:
            tally.faults.append(str(exc) or repr(exc))


def _rest(server: ServerProcess) -> list[str]:
    """Wait until no prompt is left of clients who have gone; faults if some are."""
    until = time.monotonic() + _REST_SECONDS
    while True:
        counts = metrics(server.address)
        left = counts["g4_running"] + counts["g4_waiting"]
        ended = sum(counts[f"g4_{name}_total"] for name in ("finished", "cancelled", "failed"))
        accepted = counts["g4_accepted_total"]
        if not left:
            return [] if ended == accepted else [f"{accepted - ended:.0f} prompts are not counted"]
        if time.monotonic() > until:
            return [f"{left:.0f} prompts are still answered, for nobody"]
        time.sleep(0.1)


def _settled(server: ServerProcess) -> Held | None:
    """What it has when threads for short work have ended, which they do as the next one comes."""
    time.sleep(_SETTLE_SECONDS)
    for _ in range(2):
        with Exchange(server.address) as exchange:
            exchange.send(head("POST", "/v1/chat/completions", 2) + b"{}")
            exchange.rest()
        time.sleep(0.5)
    return server.held()


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


class Run:
    """A run against a server, and what is wrong with it."""

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self.faults: list[str] = []
        self._server = server
        self._load = Load(server.address, seed)
        self._parts: list[list[Held]] = []
        self._rests: list[Held] = []

    def whole(self, clients: int, seconds: float) -> None:
        """All parts, and what is to be said of them."""
        count = _PARTS if seconds >= _LEAST_SECONDS else 1
        self._load.warm_up()
        before = self._server.held()
        for number in range(count):
            self._part(clients, seconds / count)
            if count > 1 and not number:
                self._check_fullness()
        print("\n".join(table(self._load.tallies)))
        for kind, tally in self._load.tallies.items():
            self.faults += [f"{kind.name}: {each}" for each in tally.faults]
        if count > 1:
            self.faults += grown(self._parts, self._rests)
            after = _settled(self._server)
            assert before is not None and after is not None
            self.faults += rested(before, after)

    def _part(self, clients: int, seconds: float) -> None:
        first, start = len(self._server.samples), time.monotonic()
        self._load.run(clients, seconds)
        part = self._server.samples[first:]
        self.faults += _rest(self._server)
        time.sleep(_QUIET_SECONDS)
        rest, counts = self._server.held(), metrics(self._server.address)
        assert rest is not None
        self._parts.append(part)
        self._rests.append(rest)
        print(f"{clients} clients for {time.monotonic() - start:.0f} s: {described(part, rest)}")
        print(
            f"  until now {counts['g4_accepted_total']:.0f} prompts accepted, "
            f"{counts['g4_cancelled_total']:.0f} left by their clients, "
            f"{counts['g4_failed_total']:.0f} failed, "
            f"{counts['g4_generated_tokens_total']:.0f} tokens; "
            f"{counts['g4_kept_bytes'] / 1e6:.1f} MB of prompts kept",
            flush=True,
        )

    def _check_fullness(self) -> None:
        kept = metrics(self._server.address)["g4_kept_bytes"]
        if not _FULL * (KEPT_MB << 20) <= kept <= KEPT_MB << 20:
            self.faults.append(f"{kept / 1e6:.1f} MB of prompts are kept after the first third")


def main(args: Sequence[str] | None = None) -> int:
    """Run; the status is 1 if anything failed."""
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
        print(f"process {server.process.pid} serves at {server.address}", flush=True)
        run = Run(server, given.seed)
        run.whole(given.clients, given.seconds)
        faults = run.faults + _end(server, given.seed)
        faults += [f"said: {line.strip()}" for line in server.said if "Traceback" in line]
        faults += [f"said: {line.strip()}" for line in server.said if " 500 " in line]
    for fault, count in Counter(faults).most_common(20):
        print(f"{count} x {fault}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
