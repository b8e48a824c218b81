"""Which variables say that a process is one of several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma4cli.distributed.launch import Launch, launched, processes, require_one
from gemma4cli.errors import OptionError


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps([["10.0.0.1:32323", "10.1.0.1:32324"], ["10.0.0.2:32325"]]))
    return str(path)


def test_a_ring_has_a_file_of_addresses(hosts: str) -> None:
    found = launched({"MLX_RANK": "1", "MLX_HOSTFILE": hosts})
    assert found == Launch(
        backend="ring",
        rank=1,
        count=2,
        hosts=("10.0.0.1", "10.1.0.1"),
        ring=(("10.0.0.1", 32323), ("10.0.0.2", 32325)),
    )


def test_jaccl_has_a_file_of_devices(tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    path.write_text(json.dumps([[None, "rdma_en5"], ["rdma_en5", None]]))
    variables = {
        "MLX_RANK": "0",
        "MLX_IBV_DEVICES": str(path),
        "MLX_JACCL_COORDINATOR": "192.168.1.2:32323",
    }
    found = launched(variables)
    assert found == Launch(backend="jaccl", rank=0, count=2, hosts=("192.168.1.2",))


def test_nccl_has_the_address_of_the_first_one() -> None:
    variables = {"MLX_RANK": "3", "NCCL_HOST_IP": "10.0.0.1", "MLX_WORLD_SIZE": "4"}
    found = launched(variables)
    assert found == Launch(backend="nccl", rank=3, count=4, hosts=("10.0.0.1",))


def test_mpi_says_rank_and_size() -> None:
    found = launched({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"})
    assert found == Launch(backend="mpi", rank=1, count=2)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"MLX_RANK": "0"},
        {"MLX_RANK": "0", "MLX_HOSTFILE": "nothing.json"},
        {"MLX_RANK": "x", "MLX_HOSTFILE": "hosts.json"},
        {"MLX_RANK": "0", "NCCL_HOST_IP": "10.0.0.1", "MLX_WORLD_SIZE": "1"},
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
        {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "2"},
    ],
)
def test_other_processes_are_alone(variables: dict[str, str]) -> None:
    assert launched(variables) is None
    assert processes(variables) == 1


def test_what_changes_a_model_runs_in_one_process(hosts: str) -> None:
    with pytest.raises(OptionError, match="g4 tune runs in one process"):
        require_one({"MLX_RANK": "0", "MLX_HOSTFILE": hosts}, "g4 tune")
    require_one({}, "g4 tune")
