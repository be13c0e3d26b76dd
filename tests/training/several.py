"""Several processes on one CPU for a test: all end in time, or the test fails and says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from super_selfish.training.distributed import join_processes
from tests.processes import free_port
from tests.several import context

SECONDS = 900.0  # for all of them together, on a machine that does much else


def started(work: Callable[..., Any], number: int, folder: Path) -> list[Any]:
    """What processes find that are started together.

    Args:
        work: Called in each with its number and the folder; returns plain values and tensors.
        number: Of processes.
        folder: Empty.

    Returns:
        What each has found, in the order of their numbers; None of one that was killed.

    Raises:
        TimeoutError: If one does not end.
    """
    port = free_port()
    processes = [
        context().Process(target=_joined, args=(work, each, number, port, folder))
        for each in range(number)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    hanging = [each for each, process in enumerate(processes) if process.is_alive()]
    for each in hanging:
        processes[each].kill()
    if hanging:
        raise TimeoutError(f"of {number} processes, {hanging} did not end within {SECONDS:g} s")
    files = [folder / f"{each}.pt" for each in range(number)]
    return [torch.load(file, weights_only=True) if file.is_file() else None for file in files]


def _joined(work: Callable[..., Any], rank: int, world: int, port: int, folder: Path) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    join_processes(torch.device("cpu"))
    torch.save(work(rank, folder), folder / f"{rank}.pt")
    dist.barrier()
