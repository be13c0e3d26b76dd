"""Thousands of steps, ended at random: is a step lost, a loss another one, a file left over?

    python benchmarks/soak.py --steps 20000 --kills 20

trains a small MoCo twice: once undisturbed, and once while SIGKILL, SIGTERM and SIGINT end it at
random moments and it goes on with `resume=True`. Prints steps that were done again, steps that are
missing, losses that differ, growth of memory, and files left. 20,000 steps take about ten minutes
on one core; `--minutes` ends it in any case. Exit status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.supervisors import MomentumContrastSupervisor

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
STEPS_PER_EPOCH = 100
BATCH = 8
EXPECTED = {"base.pt", "base-previous.pt", "base.csv", "base.lock", "log", "memory", "errors"}


class Soaked(MomentumContrastSupervisor):
    """Writes the loss of every step, and now and then the memory of its process."""

    folder: Path

    def _forward(self, data: Any) -> Any:
        loss = super()._forward(data)
        step = 0 if self.run is None else self.run.global_step
        with (self.folder / "log").open("a") as file:
            file.write(f"{step} {float(loss.detach()).hex()}\n")
        if step % 100 == 0:
            with (self.folder / "memory").open("a") as file:
                file.write(f"{step} {resident()}\n")
        return loss


def resident() -> int:
    """Memory of this process in bytes, where the system tells it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def build_backbone() -> nn.Module:
    """A few thousand weights with batch norm."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    )


def pictures() -> Tensor:
    """Smooth images of 32x32."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(STEPS_PER_EPOCH * BATCH, 3, 4, 4, generator=generator)
    return (nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)


def train(folder: Path, steps: int, workers: int) -> None:
    """Trains, or goes on, in this process."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stderr = (folder / "errors").open("a")
    torch.manual_seed(0)
    supervisor = Soaked(
        pictures(), build_backbone(), nn.Linear(16, 8), embedding_size=8, queue_size=64
    )
    supervisor.folder = folder
    supervisor.supervise(
        epochs=-(-steps // STEPS_PER_EPOCH),
        batch_size=BATCH,
        num_workers=workers,
        name=folder / "base",
        resume=True,
        checkpoint_every="1s",
        progress=False,
    )


def start(folder: Path, args: argparse.Namespace) -> BaseProcess:
    """Trains in a process of its own."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=train, args=(folder, args.steps, args.workers))
    process.start()
    return process


def losses(folder: Path) -> dict[int, list[str]]:
    """Losses by step, in the order in which they came."""
    found: dict[int, list[str]] = {}
    log = folder / "log"
    for line in log.read_text().splitlines() if log.exists() else []:
        step, _, loss = line.partition(" ")
        if loss:  # a kill may cut a line
            found.setdefault(int(step), []).append(loss)
    return found


def disturbed(folder: Path, args: argparse.Namespace, deadline: float) -> int:
    """Trains to the end with kills on the way. Returns their number."""
    draw, kills = random.Random(args.seed), 0
    while time.monotonic() < deadline:
        done = len(losses(folder))
        process = start(folder, args)
        wanted = done + draw.randint(1, max(1, 2 * args.steps // (args.kills + 1)))
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
            if kills < args.kills and len(losses(folder)) >= wanted and process.pid is not None:
                time.sleep(draw.random())
                number = getattr(signal, draw.choice(SIGNALS))
                if process.is_alive():
                    os.kill(process.pid, number)
                    if number == signal.SIGINT and draw.random() < 0.5:
                        os.kill(process.pid, number)
                    kills += 1
                process.join(30)
        if process.is_alive():
            process.kill()
        process.join()
        if process.exitcode == 0:
            break
    return kills


def main() -> int:
    """Runs both, and prints what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="at most so long")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name, "whole"), Path(name, "killed")
        for folder in (whole, killed):
            folder.mkdir()
        process = start(whole, args)
        kills = disturbed(killed, args, deadline)
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        return report(whole, killed, kills, args)


def report(whole: Path, killed: Path, kills: int, args: argparse.Namespace) -> int:
    """Prints the outcome.

    Args:
        whole: Folder of the undisturbed run.
        killed: Folder of the other one.
        kills: How often it was ended.
        args: Of the command line.

    Returns:
        0, or 1 if anything is wrong.
    """
    expected, found = losses(whole), losses(killed)
    steps = -(-args.steps // STEPS_PER_EPOCH) * STEPS_PER_EPOCH
    common = expected.keys() & found.keys()
    wrong = sum(set(found[step]) != set(expected[step]) for step in common)
    missing = [step for step in range(max(found, default=-1) + 1) if step not in found]
    again = sum(len(each) - 1 for each in found.values())
    is_over = len(found) == len(expected) == steps
    # Where time is up, the last kill is followed by no run that would tidy up.
    left = {path.name for path in killed.iterdir()} - EXPECTED if is_over else set()
    memory = [int(line.split()[1]) for line in (whole / "memory").read_text().splitlines()]
    growth = (memory[-1] - memory[len(memory) // 10]) / 1e6
    print(f"steps: {len(found)} of {steps}, undisturbed {len(expected)}; ended {kills} times")
    print(f"steps lost: {len(missing)}; done again after a kill: {again}")
    print(f"wrong losses: {wrong} of {len(common)} compared")
    print(f"growth of memory from a tenth of the run to its end: {growth:+.1f} MB")
    print(f"files left: {sorted(left) or 'none'}")
    if not is_over:
        print(f"not finished in {args.minutes} minutes")
    return int(bool(wrong or missing or left or not common))


if __name__ == "__main__":
    sys.exit(main())
