"""Several processes that share a stage: each has its own data, and gradients are averaged.

torchrun --nproc-per-node 2 -m training.language.stage WORK
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def join() -> None:
    """Meet the other processes, if torchrun started any."""
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")


def rank() -> int:
    """The number of this process; 0 where it is alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(jobs: Sequence[T]) -> Sequence[T]:
    """Every process's part of jobs that do not need each other."""
    return jobs[rank() :: count()]


def average_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Give every process the mean of all gradients. A parameter without one counts as zero."""
    if not distributed.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
    distributed.all_reduce(flat)
    flat /= count()
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, mean in zip(parameters, flat.split(sizes), strict=True):
        parameter.grad.copy_(mean.view_as(parameter))
