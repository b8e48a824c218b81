"""The folder of a tuning: the adapter, its curve, and what a run needs to go on.

adapter_model.safetensors, adapter_config.json    the adapter, for g4 and PEFT; or
adapters.safetensors                              for g4 and mlx-lm
curve.jsonl, curve.svg                            the losses
tuning.json                                       what was tuned, from what, and the result
unfinished/                                       until it is finished: checkpoint, soft tokens,
                                                  the model's own answers and states
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bounded import read_bounded
from ..checked_json import JsonError, parse
from ..errors import TuningError
from ..hub.adapter_names import WEIGHTS
from ..leftovers import remove_leftovers
from ..locks import Lock, lock
from ..own_files import shared_mode, whole_file

RECORD = "tuning.json"
_UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningFolder:
    """A folder that no other process tunes into at the same time; see ``opened``."""

    path: Path

    @property
    def unfinished(self) -> Path:
        return self.path / _UNFINISHED

    @property
    def media(self) -> Path:
        """Where soft tokens are kept."""
        return self.unfinished / "media"

    @property
    def answers(self) -> Path:
        """Where the model's own answers are kept."""
        return self.unfinished / "answers"

    @property
    def states(self) -> Path:
        """Where hidden states before the first step are kept."""
        return self.unfinished / "states"

    def begin(self, job: Mapping[str, Any]) -> bool:
        """Take up a job; returns whether it is finished already.

        Raises TuningError if the folder has another one, or an adapter that is of none.
        """
        known = self._record()
        if known is None:
            if any((self.path / name).exists() for name in WEIGHTS):
                raise TuningError(
                    f"{self.path}: has an adapter of something else: name another folder with -o"
                )
            self.write({"job": job})
            return False
        found = known.get("job")
        if found != _plain(job):
            raise TuningError(
                f"{self.path}: is of another tuning ({_difference(found, _plain(job))}): name "
                "another folder with -o, or begin again with --restart"
            )
        return "result" in known

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the record. Raises OSError."""
        with whole_file(self.path / RECORD, mode=shared_mode()) as file:
            file.write(json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")

    def finish(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Note the result and remove what only an unfinished tuning needs. Raises OSError."""
        self.write({"job": job, "result": result})
        self.remove_unfinished()

    def remove_unfinished(self) -> None:
        """Remove what only an unfinished tuning needs; a finished one computes some of it again."""
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def result(self) -> Mapping[str, Any]:
        """That of a finished tuning."""
        found = (self._record() or {}).get("result")
        return found if isinstance(found, Mapping) else {}

    def _record(self) -> Mapping[str, Any] | None:
        path = self.path / RECORD
        try:
            record = parse(read_bounded(path).decode("utf-8", "replace"))
        except FileNotFoundError:
            return None
        except (OSError, JsonError) as exc:
            raise TuningError(f"{path}: cannot be read ({exc}): use --restart") from exc
        return record if isinstance(record, dict) else {}


@contextmanager
def opened(path: Path, *, restart: bool) -> Iterator[TuningFolder]:
    """The folder, made if need be and locked; with ``restart``, without an earlier tuning.

    Raises TuningError if it cannot be made or another process has it, and for an OSError in the
    block: data that cannot be read are Faults, so what fails there is writing, to a full disk too.
    """
    folder = TuningFolder(path=path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise TuningError(f"{path}: cannot be written ({exc.strerror or exc})") from exc
    try:
        if lock(handle) is Lock.TAKEN:
            raise TuningError(f"{path}: another process is tuning into it")
        remove_leftovers(path)
        if restart and (path / RECORD).exists():
            (path / RECORD).unlink(missing_ok=True)
            for name in WEIGHTS:
                (path / name).unlink(missing_ok=True)
            shutil.rmtree(folder.unfinished, ignore_errors=True)
        folder.unfinished.mkdir(exist_ok=True)
        remove_leftovers(folder.unfinished)
        yield folder
    except BrokenPipeError:  # of who reads the messages, not of the folder
        raise
    except OSError as exc:
        raise TuningError(
            f"{path}: cannot be written ({exc.strerror or exc}); once it can, the same command "
            "goes on from what is saved"
        ) from exc
    finally:
        os.close(handle)


def _plain(job: Mapping[str, Any]) -> Any:
    """A job as it is read from a file."""
    return json.loads(json.dumps(job))


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    """The first thing in which two jobs differ."""
    if isinstance(found, Mapping):
        for key, value in wanted.items():
            if found.get(key) != value:
                if key in ("model", "examples"):
                    return "of other examples" if key == "examples" else "of another model"
                return f"{key} {found.get(key)}, not {value}"
    return "made otherwise"
