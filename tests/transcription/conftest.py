"""A model that says what a test wants."""

from __future__ import annotations

import pytest
from scripted import Says, Script, answer

from gemma4cli.engine import answering
from gemma4cli.events import Finished


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    def script(*answers: Finished | Exception | str) -> Script:
        prepared = Script([answer(each) if isinstance(each, str) else each for each in answers])
        monkeypatch.setattr(answering, "generate_batch", prepared.generate_batch)
        return prepared

    return script
