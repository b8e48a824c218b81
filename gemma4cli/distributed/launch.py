"""How ``mlx.launch`` or ``mpirun`` has started this process, from the variables that they set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import OptionError

Backend = Literal["ring", "jaccl", "nccl", "mpi"]

_MPI = (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One of ``count`` processes; ``hosts`` are addresses of the first one, if they are known.

    ``ring`` is where each process listens, if MLX's ring connects them.
    """

    backend: Backend
    rank: int
    count: int
    hosts: tuple[str, ...] = ()
    ring: tuple[tuple[str, int], ...] = ()


def processes(variables: Mapping[str, str]) -> int:
    """How many processes compute together."""
    found = launched(variables)
    return 1 if found is None else found.count


def require_one(variables: Mapping[str, str], command: str) -> None:
    """Raise OptionError if several processes run a command that is for one."""
    if processes(variables) > 1:
        raise OptionError(f"{command} runs in one process: start it without the others")


def launched(variables: Mapping[str, str]) -> Launch | None:
    """What the variables say; None for a process that is alone."""
    rank = _number(variables.get("MLX_RANK"))
    found = None
    if rank is not None and variables.get("MLX_HOSTFILE"):
        nodes = _list_in(variables["MLX_HOSTFILE"])
        first = nodes[0] if nodes and isinstance(nodes[0], list) else []
        hosts = tuple(str(each).rpartition(":")[0] for each in first)
        ring = tuple(filter(None, map(_address, nodes)))
        found = Launch(backend="ring", rank=rank, count=len(nodes), hosts=hosts, ring=ring)
    elif rank is not None and variables.get("MLX_IBV_DEVICES"):
        count = len(_list_in(variables["MLX_IBV_DEVICES"]))
        host = variables.get("MLX_JACCL_COORDINATOR", "").rpartition(":")[0]
        found = Launch(backend="jaccl", rank=rank, count=count, hosts=(host,) if host else ())
    elif rank is not None and "NCCL_HOST_IP" in variables:
        count = _number(variables.get("MLX_WORLD_SIZE")) or 1
        host = variables["NCCL_HOST_IP"]
        found = Launch(backend="nccl", rank=rank, count=count, hosts=(host,))
    else:
        for name, size in _MPI:
            rank, count = _number(variables.get(name)), _number(variables.get(size)) or 1
            if rank is not None:
                found = Launch(backend="mpi", rank=rank, count=count)
    return found if found is not None and 0 <= found.rank < found.count > 1 else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _address(node: object) -> tuple[str, int] | None:
    """The first address of a process in a file of hosts; None for what MLX will not understand."""
    first = node[0] if isinstance(node, list) and node else None
    host, _, port = first.rpartition(":") if isinstance(first, str) else ("", "", "")
    number = _number(port)
    return None if not host or number is None else (host, number)


def _list_in(path: str) -> list[object]:
    """The list in a file of hosts; empty for one that MLX will not understand either."""
    import json

    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return []
    return content if isinstance(content, list) else []
