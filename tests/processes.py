"""Processes that a test starts together, and that end in time."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import torch

from tests.several import context

SECONDS = 500.0  # for all of them together, on a machine that does much else


def free_port() -> int:
    """A port at which they may meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def run_together(work: Callable[..., None], number: int, *arguments: Any) -> None:
    """Runs a function in several new processes.

    Args:
        work: Called in each with its number and the arguments.
        number: Of processes.
        *arguments: Of all of them.

    Raises:
        TimeoutError: If they do not end; then they are killed.
        torch.multiprocessing.ProcessRaisedException: What one of them raises.
    """
    context()  # which imports everything once
    started = torch.multiprocessing.start_processes(
        work, arguments, nprocs=number, start_method="forkserver", join=False
    )
    deadline = time.monotonic() + SECONDS
    while not started.join(timeout=1.0):
        if time.monotonic() > deadline:
            hanging = [each for each, p in enumerate(started.processes) if p.is_alive()]
            for process in started.processes:
                process.kill()
            raise TimeoutError(f"of {number} processes, {hanging} did not end in {SECONDS:g} s")
