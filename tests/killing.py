"""Runs in processes of their own, which are ended in many ways."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.supervisors import MomentumContrastSupervisor
from super_selfish.training import checkpoint
from tests.conftest import TinyBackbone
from tests.several import context


def pictures(count: int = 22) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return (nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)


class Noted(MomentumContrastSupervisor):
    """Writes the loss of every step into a file, and may do something in a step."""

    log: Path
    act: Callable[[int], object]

    def _forward(self, data: Any) -> Any:
        loss = super()._forward(data)  # the queue and batch norm have moved
        assert self.run is not None
        with self.log.open("a") as file:
            file.write(f"{self.run.global_step} {float(loss.detach()).hex()}\n")
        self.act(self.run.global_step)
        return loss


def train(folder: Path, act: Callable[[int], object], **settings: Any) -> None:
    """Trains, or goes on, in this process."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # workers are forks of this process
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stderr = open(os.devnull, "w")  # its traceback is expected
    torch.manual_seed(0)
    supervisor = Noted(
        pictures(), TinyBackbone(), nn.Linear(16, 8), embedding_size=8, queue_size=10
    )
    supervisor.log, supervisor.act = folder / "log", act
    given = {"epochs": 3, "batch_size": 6, "checkpoint_every": 2, "lr": 0.01, "progress": False}
    supervisor.supervise(**{**given, **settings}, name=folder / "base", resume=True)


def nothing(step: int) -> None:
    """Lets a step be."""


def end_in_step(folder: Path, number: int, times: int, workers: int) -> None:
    """Sends a signal in the sixth step, of which the queue has moved already."""

    def act(step: int) -> None:
        if step == 5:
            for _ in range(times):
                os.kill(os.getpid(), number)

    train(folder, act, num_workers=workers)


def kill_in_write(folder: Path, place: str, workers: int) -> None:
    """Is killed while the second checkpoint is written, or takes its place."""
    if place == "write":
        write, calls = checkpoint.write_archive, [0]

        def killing(file: Any, value: Any) -> None:
            calls[0] += 1
            write(file, value)
            if calls[0] == 3:  # after the trial and the first file
                file.truncate(file.tell() // 2)
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.write_archive = killing
    else:
        replace = os.replace

        def renaming(source: Any, target: Any) -> None:
            is_former = str(target).endswith("-previous.pt")
            if is_former if place == "former" else str(target).endswith("base.pt"):
                if Path(folder, "base.pt").exists():
                    os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        checkpoint.os.replace = renaming  # type: ignore[assignment]
    train(folder, nothing, num_workers=workers)


def whole(folder: Path, workers: int = 0) -> None:
    """Trains to the end."""
    train(folder, nothing, num_workers=workers)


def run(target: Callable[..., object], *args: Any) -> int | None:
    """Calls a function in a process of its own, and returns its exit status."""
    process = context().Process(target=target, args=args)
    process.start()
    process.join(120)
    return process.exitcode


def noted(folder: Path) -> dict[int, set[str]]:
    """The losses of every step; more than one where a step was done twice with another result."""
    found: dict[int, set[str]] = {}
    for line in (folder / "log").read_text().splitlines():
        step, loss = line.split()
        found.setdefault(int(step), set()).add(loss)
    return found
