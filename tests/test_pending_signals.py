"""At which moments a signal raises nothing yet."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

import pytest

from gemma4cli.pending_signals import PendingSignals


class Stop(Exception):
    """What the signal raises."""


def stop(number: int) -> NoReturn:
    raise Stop(number)


def test_a_thread_that_is_started_is_known_before_a_signal_raises() -> None:
    starts, joined = threading.Thread.start.__code__, threading.Event()
    thread = threading.Thread(target=joined.wait, args=(10.0,))
    sent: list[int] = []

    def send_once(frame: FrameType, event: str, _: object) -> None:
        if frame.f_back is not None and frame.f_back.f_code is starts and not sent:
            sent.append(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR1)

    pending = PendingSignals(stop)
    before = signal.signal(signal.SIGUSR1, pending.handle)
    try:
        with pytest.raises(Stop):
            sys.setprofile(send_once)
            thread.start()
            sys.setprofile(None)
            assert thread.is_alive()
            joined.wait(5.0)
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGUSR1, before)
        pending.close()
        joined.set()
    assert sent
    thread.join(5.0)
    assert not thread.is_alive()
