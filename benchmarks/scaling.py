"""What do more processes cost, and what would they give? Measured on 1, 2 and 4, foretold beyond.

    python benchmarks/scaling.py            # three minutes on two idle cores, ten on busy ones
    python benchmarks/scaling.py --smoke    # does it run?

Processes of one machine share its cores, so the clock says nothing of many machines, nor on a
machine with other work. What is measured is processor time a step of each process: beyond that of
one process alone, it is what communication costs here (copies, sums, the loopback). It is fitted
with the bytes that `supervisors/traffic.py` gives by formula. What holds elsewhere is the formula;
`foretold` puts links and step times of GPUs in the place of this machine's. Writes
`benchmarks/results/scaling.md`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import socket
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from provenance import write_result
from torch import nn

from super_selfish.supervisors import SUPERVISORS, Supervisor
from super_selfish.supervisors.traffic import Traffic, traffic_of
from super_selfish.training import Callback

HERE = Path(__file__).parent
WORLDS, FORETOLD = (1, 2, 4), (8, 64, 512)
MACHINE = 8  # GPUs
BATCH, SIDE, WARM_UP = 8, 96, 4


class Light(nn.Module):
    """Many weights and little to compute, so that what travels is much of a step."""

    def __init__(self, width: int) -> None:
        """Args: width: Features; the weights grow with its square."""
        super().__init__()
        self.num_features = width
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(48, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features `[B, width]` of `[B, 3, H, W]`."""
        features: torch.Tensor = self.layers(images)
        return features


# Of each: the algorithm, the width of its backbone, and options. What travels is gradients of few
# weights or many, or what is gathered, with gradient or without.
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "rotate, 512 features": ("rotate", 512, {}),
    "rotate, 2048 features": ("rotate", 2048, {}),
    "rotate, 4096 features": ("rotate", 4096, {}),
    "MoCo v2, gathers images": ("moco", 256, {"queue_size": 64}),
    "SimCLR, gathers 4096 numbers": ("simclr", 256, {"embedding_size": 4096}),
    "BYOL, 2048 features": ("byol", 2048, {"embedding_size": 256, "hidden_size": 1024}),
}


class Link(NamedTuple):
    """The slowest that a ring of processes passes.

    Between machines one GPU of each sends to the next machine, or with several networks a machine
    has as many rings: so `bandwidth` is that of all networks of a machine together.
    """

    name: str
    bandwidth: float  # bytes a second, each way
    latency: float  # seconds, from one process to the next


class Step(NamedTuple):
    """A step of one GPU alone."""

    name: str
    seconds: float  # forward, backward and update
    traffic: Traffic


REACHED = 0.8  # of what makers say, by rings of NCCL with large messages
INSIDE = Link("NVLink", REACHED * 450e9, 3e-6)  # of a machine with eight GPUs
LINKS = (
    Link("8 x 400 Gb/s, InfiniBand", REACHED * 400e9, 8e-6),
    Link("200 Gb/s, InfiniBand", REACHED * 25e9, 8e-6),
    Link("25 Gb/s, Ethernet", REACHED * 3.125e9, 30e-6),
)
BUCKET = 25e6  # bytes of gradients that torch sends at once
BACKWARD = 2 / 3  # of a step, under which gradients travel
CONTROL = 50e-6  # seconds of a message from host to host by TCP


def foretold(step: Step, link: Link, processes: int) -> float:
    """Seconds of a step in many processes, each with the batch that one alone has.

    Gradients travel under the backward pass, but for the last bucket; what is gathered, and its
    gradients on the way back, are waited for. A collective costs `2 log2(W)` latencies. Numbers on
    which hosts agree go around a ring while the GPU computes, and count where that takes longer.

    Args:
        step: Of one process, with the traffic of so many.
        link: The slowest that all processes share.
        processes: `W`.
    """
    if processes == 1:
        return step.seconds
    ring = 2 * (processes - 1) / processes / link.bandwidth
    latency = 2 * math.log2(processes) * link.latency
    traffic = step.traffic
    buckets = max(1, math.ceil(traffic.gradients / BUCKET))
    gradients = traffic.gradients * ring + buckets * latency
    last = min(traffic.gradients, BUCKET) * ring + latency
    exposed = max(last, gradients - BACKWARD * step.seconds)
    gathered = traffic.gathered * (processes - 1) / link.bandwidth + traffic.returned * ring
    waits = (traffic.gathered > 0) + (traffic.returned > 0)
    control = 2 * (processes - 1) * CONTROL
    return max(step.seconds + exposed + gathered + waits * latency, control)


class Clock(Callback):
    """Processor seconds of this process, all its threads, at the end of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step(self, supervisor: Any, step: Any) -> None:
        """Notes the time."""
        self.times.append(time.process_time())

    @property
    def step(self) -> float:
        """Of a step, once the run is under way."""
        later = self.times[WARM_UP:]
        return statistics.median(b - a for a, b in itertools.pairwise(later))


def built(case: str, images: torch.Tensor) -> Supervisor:
    """The supervisor of a case, the same in every process."""
    algorithm, width, options = CASES[case]
    torch.manual_seed(0)
    supervisor: Supervisor = SUPERVISORS[algorithm](images, Light(width), device="cpu", **options)
    return supervisor


def in_a_process(number: int, world: int, port: int, steps: int, folder: str) -> None:
    """Times every case; `torchrun` would set the environment."""
    if world > 1:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": world}
        os.environ.update(where, **{name: str(value) for name, value in place.items()})
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of batches so small
    generator = torch.Generator().manual_seed(0)
    shape = (steps * world * BATCH, 3, SIDE, SIDE)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    found = {}
    for case in CASES:
        clock = Clock()
        settings: dict[str, Any] = {"name": None, "progress": False, "optimizer": torch.optim.SGD}
        supervisor = built(case, images)
        supervisor.supervise(
            lr=1e-3, epochs=1, batch_size=BATCH, callbacks=clock, monitor=None, **settings
        )
        found[case] = clock.step
    Path(folder, f"{number}.json").write_text(json.dumps(found))


def measured(world: int, steps: int) -> dict[str, float]:
    """Processor seconds a step and process, by case, the mean over processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world, port, steps, folder)
        torch.multiprocessing.start_processes(
            in_a_process, arguments, nprocs=world, start_method="spawn"
        )
        told = [json.loads(each.read_text()) for each in Path(folder).iterdir()]
    return {case: statistics.mean(each[case] for each in told) for case in CASES}


class Fit(NamedTuple):
    """Processor time that communication costs here."""

    of_byte: float  # seconds, of a byte sent
    of_step: float  # seconds, whatever is sent

    def seconds(self, sent: float) -> float:
        """Of a step in which each process sends so many bytes."""
        return self.of_step + self.of_byte * sent


def fitted(points: list[tuple[float, float]]) -> Fit:
    """The line through (bytes sent, seconds) with the least squares of relative errors."""
    sent, seconds = np.array(points).T
    weights = 1 / np.maximum(seconds, 1e-4)
    columns = np.stack([sent, np.ones_like(sent)], axis=1) * weights[:, None]
    (of_byte, of_step), *_ = np.linalg.lstsq(columns, seconds * weights, rcond=None)
    return Fit(float(of_byte), float(of_step))


def left_out_errors(points: dict[tuple[str, int], tuple[float, float]]) -> dict[str, float]:
    """For each case what a line through the others says of it, relative to what was measured."""
    errors = {}
    for case in CASES:
        line = fitted([each for (name, _), each in points.items() if name != case])
        own = [each for (name, _), each in points.items() if name == case]
        errors[case] = statistics.mean(line.seconds(sent) / seconds - 1 for sent, seconds in own)
    return errors


def large_steps(rate: float, batch: int, worlds: tuple[int, ...]) -> list[dict[int, Step]]:
    """Steps of a ResNet-50 at 224 pixels, by processes, for GPUs of so many images a second."""
    made: list[tuple[str, str, dict[str, Any]]] = [
        ("rotate", "rotate", {}),
        ("MoCo v2", "moco", {"queue_size": 4096}),
        ("SimCLR", "simclr", {"embedding_size": 128}),
        ("Barlow Twins", "barlow_twins", {"embedding_size": 8192, "hidden_size": 8192}),
        ("BYOL", "byol", {}),
    ]
    found = []
    for name, algorithm, options in made:
        supervisor = SUPERVISORS[algorithm](None, "resnet50", image_size=224, **options)
        told = {world: traffic_of(supervisor, world, batch) for world in worlds}
        found.append({world: Step(name, batch / rate, each) for world, each in told.items()})
    return found


def main() -> None:
    """Measures, fits, foretells, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1000.0, help="images a second of one GPU")
    parser.add_argument("--batch", type=int, default=64, help="images of one GPU, foretold")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scaling.md")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    if given.smoke:
        given.steps, given.rounds = WARM_UP + 4, 1
    best: dict[tuple[str, int], float] = {}
    for turn in range(given.rounds):  # in turns, so that a busy minute hits all
        for world in WORLDS[turn % len(WORLDS) :] + WORLDS[: turn % len(WORLDS)]:
            for case, seconds in measured(world, given.steps).items():
                best[case, world] = min(seconds, best.get((case, world), math.inf))
            print(f"round {turn + 1}, {world} process(es)", flush=True)
    several = WORLDS[1:]
    sent = {
        (case, world): traffic_of(built(case, torch.zeros(64, 3, SIDE, SIDE)), world, BATCH).sent
        for case in CASES
        for world in several
    }
    points = {key: (sent[key], best[key] - best[key[0], 1]) for key in sent}
    line = fitted(list(points.values()))
    errors = left_out_errors(points)
    lines = [
        "# What more processes cost",
        "",
        f"Processor milliseconds a step and process, {BATCH} images of {SIDE} pixels each, gloo on "
        f"one machine with {os.cpu_count()} cores; the least of {given.rounds} rounds in turns, of "
        f"each the median of {given.steps - WARM_UP - 1} steps. The machine had other work: what "
        "the clock said is not given.",
        "",
        "| case | 1 process | 2 | 4 | MB that each of 2 sends | of 4 | error if left out |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        times = " | ".join(f"{1e3 * best[case, world]:.1f}" for world in WORLDS)
        bytes_sent = " | ".join(f"{sent[case, world] / 1e6:.2f}" for world in several)
        lines.append(f"| {case} | {times} | {bytes_sent} | {100 * errors[case]:+.0f} % |")
    lines += [
        "",
        f"Fit: {1e9 * line.of_byte:.2f} ns a byte that a process sends, and "
        f"{1e3 * line.of_step:.1f} ms a step, beyond that of one process alone. The last column is "
        "by how much a line through the other cases misses that one.",
        "",
        "# What GPUs would give",
        "",
        f"Efficiency, in % of that of one GPU, of a ResNet-50 at 224 pixels with {given.batch} "
        f"images a GPU, if one GPU sees {given.rate:,.0f} images a second alone: a model, "
        "`foretold` of this file, and no measurement. It knows no slow process, no input, and "
        "nothing of what a loss over all images costs itself.",
        "",
        "| algorithm | network of a machine | 8 GPUs, by NVLink | 64 | 512 |",
        "|---|---|---|---|---|",
    ]
    for steps in large_steps(given.rate, given.batch, FORETOLD):
        for link in LINKS:
            passed = {world: INSIDE if world <= MACHINE else link for world in steps}
            shares = [each.seconds / foretold(each, passed[w], w) for w, each in steps.items()]
            cells = " | ".join(f"{100 * share:.0f}" for share in shares)
            lines.append(f"| {steps[MACHINE].name} | {link.name} | {cells} |")
    write_result(given.out, lines, "numpy")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
