"""Does a step cost the same, however many images a memory holds?

    python benchmarks/memory_bank.py

Times the memory part of a step, whole steps of the algorithms that remember every image, and the
training loop itself, for memories of 10^4, 10^5 and 1.28 10^6 images, beside the old way: gathering
negatives image by image from all others. All cases and sizes take turns in one process. The table
is written to `--out`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from super_selfish import __version__
from super_selfish.data import Batch
from super_selfish.data.loaders import EpochBatches
from super_selfish.losses import info_nce
from super_selfish.memory import KeyQueue, MemoryBank
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import (
    ContrastiveMultiviewCodingSupervisor,
    InstanceDiscriminationSupervisor,
    MomentumContrastSupervisor,
    PIRLSupervisor,
    Supervisor,
)
from super_selfish.supervisors.remembering import draw_negatives

HERE = Path(__file__).parent
SIZES = (10_000, 100_000, 1_280_000)
QUEUES = (4_096, 65_536)
BATCH, NEGATIVES, DIM, SIDE, TEMPERATURE = 64, 3136, 128, 32, 0.07

Step = Callable[[], object]


class Moment(NamedTuple):
    """A time, or a difference of two: of the clock, and of the processor for this process."""

    clock: float
    processor: float

    @staticmethod
    def now() -> Moment:
        """Seconds."""
        return Moment(time.perf_counter(), time.process_time())

    def milliseconds_since(self, before: Moment) -> Moment:
        """The difference."""
        return Moment(1e3 * (self.clock - before.clock), 1e3 * (self.processor - before.processor))


@dataclass
class Case:
    """One row of the table: a step for each size, its times in ms, its memory in MB."""

    name: str
    steps: dict[int, Step]
    times: dict[int, list[Moment]] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)


def embeddings(generator: torch.Generator) -> Tensor:
    """What a network would give: `[B, D]` unit vectors that want a gradient."""
    return F.normalize(torch.randn(BATCH, DIM, generator=generator), dim=1).requires_grad_()


def memory_step(bank: MemoryBank) -> Step:
    """Draw, look up, compare, backward, update, as the library does it."""
    generator = torch.Generator().manual_seed(0)
    queries = embeddings(generator)

    def step() -> None:
        queries.grad = None
        index = torch.randint(len(bank.rows), (BATCH,), generator=generator)
        drawn = draw_negatives(len(bank.rows), NEGATIVES, generator)
        own = bank.own_entry_mask(index, drawn)
        loss = info_nce(queries, bank.lookup(index), bank.lookup(drawn), TEMPERATURE, own)
        loss.backward()
        bank.update(index, queries)

    return step


def old_step(bank: MemoryBank) -> Step:
    """The same, image by image: all others are listed, and negatives chosen from the list."""
    generator, chooser = torch.Generator().manual_seed(0), np.random.default_rng(0)
    queries = embeddings(generator)
    rows = bank.rows
    everyone = np.arange(len(rows))

    def step() -> None:
        queries.grad = None
        index = torch.randint(len(rows), (BATCH,), generator=generator)
        chosen = [
            chooser.choice(np.delete(everyone, own), NEGATIVES) for own in index.tolist()
        ]  # the others of each image are listed anew
        negatives = rows[torch.from_numpy(np.stack(chosen))]  # (B, K, D)
        positive = (queries * rows[index]).sum(dim=1, keepdim=True)  # (B, 1)
        negative = torch.einsum("bd,bkd->bk", queries, negatives)
        logits = torch.cat([positive, negative], dim=1) / TEMPERATURE
        F.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.int64)).backward()
        for own, new in zip(index.tolist(), queries.detach(), strict=True):
            rows[own] = F.normalize(bank.momentum * rows[own] + (1 - bank.momentum) * new, dim=0)

    return step


def lookup_step(bank: MemoryBank) -> Step:
    """Draw and look up alone: where a large memory leaves the cache."""
    generator = torch.Generator().manual_seed(0)
    size = len(bank.rows)
    return lambda: bank.lookup(draw_negatives(size, NEGATIVES, generator))


def update_step(bank: MemoryBank) -> Step:
    """Update alone."""
    generator = torch.Generator().manual_seed(0)
    new = embeddings(generator).detach()
    size = len(bank.rows)
    return lambda: bank.update(torch.randint(size, (BATCH,), generator=generator), new)


def algorithm_step(kind: type[Supervisor], num_images: int | None, **more: Any) -> Step:
    """`_forward` and backward of an algorithm with a tiny network, on other entries every time."""
    generator = torch.Generator().manual_seed(0)
    if num_images is not None:
        more = {"num_images": num_images, "num_negatives": NEGATIVES, **more}
    supervisor: Any = kind(backbone=NarrowResNet(3, 8), image_size=SIDE, **more)
    pixels = torch.rand(BATCH, 3, SIDE, SIDE, generator=generator)
    data = supervisor.collate_fn.augment(Batch(pixels, torch.arange(BATCH)), generator)

    def step() -> None:
        batch = data
        if num_images is not None:
            batch = data._replace(
                index=torch.randint(num_images, (BATCH,), generator=generator),
                negatives=draw_negatives(num_images, NEGATIVES, generator),
            )
        supervisor.zero_grad(set_to_none=True)
        supervisor._forward(batch).backward()

    return step


def enqueue_step(size: int) -> Step:
    """Enqueue alone."""
    queue = KeyQueue(size, DIM)
    keys = embeddings(torch.Generator().manual_seed(0)).detach()
    return lambda: queue.enqueue(keys)


class Clocked(InstanceDiscriminationSupervisor):
    """Notes when each update ends."""

    def _update(self, loss: Any, optimizer: Any, lr_scheduler: Any) -> bool:
        moved = super()._update(loss, optimizer, lr_scheduler)
        self.ends.append(Moment.now())
        return moved


def clocked(size: int) -> Clocked:
    """Instance discrimination on a data set of `size` images, which all are the same one."""
    pixels = torch.randint(256, (1, 3, SIDE, SIDE), dtype=torch.uint8)
    backbone = NarrowResNet(3, 8)
    return Clocked(pixels.expand(size, -1, -1, -1), backbone=backbone, num_negatives=NEGATIVES)


def loop_times(supervisor: Clocked, seconds: float) -> list[Moment]:
    """Milliseconds of the steps of `supervise()`, augmentation and optimizer included."""
    supervisor.ends: list[Moment] = []
    supervisor.supervise(
        epochs=1000, batch_size=BATCH, name=None, time_limit=f"{seconds}s", progress=False
    )
    ends = supervisor.ends[2:]  # the first steps warm up
    return [after.milliseconds_since(before) for before, after in pairwise(ends)]


def first_batch(size: int) -> Step:
    """The order of a new epoch: the one thing that grows, once an epoch."""
    return lambda: next(iter(EpochBatches(size, BATCH)))


def highest_rise(step: Step) -> float:
    """Largest memory above that before a step, in MB: of torch's tensors, and of all else."""
    tracemalloc.start()
    step()
    others = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if is_memory(event)]
    if not changes:
        raise RuntimeError("the profiler saw no allocation: this version of torch names them anew")
    height = highest = 0
    for _, change in sorted(changes, key=lambda change: change[0]):
        height += change
        highest = max(highest, height)
    return (highest + others) / 1e6


def is_memory(event: dict[str, Any]) -> bool:
    """Whether an event of a trace is an allocation or a release."""
    return event.get("name") == "[memory]" and "Bytes" in event.get("args", {})


def cases() -> tuple[list[Case], Case]:
    """All rows; the last returned alone, because it happens once an epoch."""
    banks = {size: MemoryBank(size, DIM) for size in SIZES}

    def of_banks(make: Callable[[MemoryBank], Step]) -> dict[int, Step]:
        return {size: make(bank) for size, bank in banks.items()}

    def of_algorithm(kind: type[Supervisor]) -> dict[int, Step]:
        return {size: algorithm_step(kind, size) for size in SIZES}

    moco = {
        size: algorithm_step(MomentumContrastSupervisor, None, queue_size=size) for size in QUEUES
    }
    rows = [
        Case("memory part of a step", of_banks(memory_step)),
        Case("draw and look up alone", of_banks(lookup_step)),
        Case("update alone", of_banks(update_step)),
        Case("the old way: image by image, `np.delete`", of_banks(old_step)),
        Case("Instance Discrimination, step", of_algorithm(InstanceDiscriminationSupervisor)),
        Case("CMC, step (two memories)", of_algorithm(ContrastiveMultiviewCodingSupervisor)),
        Case("PIRL, step", of_algorithm(PIRLSupervisor)),
        Case("MoCo, step (K keys are K negatives)", moco),
        Case("enqueue alone", {size: enqueue_step(size) for size in QUEUES}),
    ]
    return rows, Case("order of an epoch", {size: first_batch(size) for size in SIZES})


def measure(rows: list[Case], repetitions: int) -> None:
    """Times all cases in turn, so that a busy minute of the machine hits all of them."""
    for repetition in range(repetitions + 2):  # two to warm up
        for case in rows:
            sizes = list(case.steps)
            turn = repetition % len(sizes)
            for size in sizes[turn:] + sizes[:turn]:
                started = Moment.now()
                case.steps[size]()
                elapsed = Moment.now().milliseconds_since(started)
                if repetition >= 2:
                    case.times.setdefault(size, []).append(elapsed)
    for case in rows:
        for size, step in case.steps.items():
            case.memory[size] = highest_rise(step)


def measure_loop(seconds: float, turns: int) -> Case:
    """Times `supervise()` in turns."""
    supervisors = {size: clocked(size) for size in SIZES}
    case = Case("`supervise()`, Instance Discrimination, a step", {})
    for _ in range(turns):
        for size, supervisor in supervisors.items():
            case.times.setdefault(size, []).extend(loop_times(supervisor, seconds))
    return case


def table(rows: list[Case], sizes: tuple[int, ...], unit: str) -> str:
    """Times of the clock and of the processor, their ratios to the first size, and memory."""
    lines = [
        f"| | {unit} | best, ms | median, ms | processor, ms | ratio of bests "
        "| ratio of processor | memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in rows:
        first_best, _, first_processor = summary(case.times[sizes[0]])
        for size in sizes:
            best, median, processor = summary(case.times[size])
            cells = [
                case.name if size == sizes[0] else "",
                f"{size:,}",
                *(f"{value:.2f}" for value in (best, median, processor)),
                f"{best / first_best:.2f}",
                f"{processor / first_processor:.2f}",
                f"{case.memory[size]:.1f}" if size in case.memory else "",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(times: list[Moment]) -> tuple[float, float, float]:
    """Best and median of the clock, median of the processor."""
    clock = [moment.clock for moment in times]
    return min(clock), statistics.median(clock), statistics.median(m.processor for m in times)


def report(rows: list[Case], epoch: Case, options: argparse.Namespace) -> str:
    """The tables, and what one needs to repeat them."""
    command = " ".join(["python", os.path.relpath(__file__), *sys.argv[1:]])
    of_queue = [case for case in rows if set(case.times) == set(QUEUES)]
    of_bank = [case for case in rows if case not in of_queue]
    return "\n".join(
        [
            "# A step costs the same, however many images the memory holds",
            "",
            f"Batch {BATCH}, {NEGATIVES} negatives, {DIM} numbers an entry; the algorithms have a "
            f"narrow ResNet (8 channels) at {SIDE} pixels, so that the memory is a large part of "
            "their step. Every step meets other images and other negatives. Cases and sizes took "
            f"turns in one process, {options.repetitions} times each (`supervise()`: "
            f"{options.turns} turns of {options.seconds:g} s). Times are of the clock, best and "
            "median, and of the processor, median, which other work on the machine disturbs less; "
            "ratios are to the smallest size. Memory is the highest rise during "
            "a step above what was there before it (network, memory): that of tensors, by torch's "
            "profiler, and that of numpy and Python, by tracemalloc, added.",
            "",
            table(of_bank, SIZES, "images N"),
            "",
            "What is left of a difference is the cache of the processor: 10,000 rows are 5 MB, "
            "1,280,000 are 655 MB, and rows that are read at random come from main memory.",
            "",
            "The queue of MoCo does not know the size of the data set. Its keys are all negatives "
            "of a step, so similarities, and a copy that backward needs, grow with the queue that "
            "one asks for, as the mathematics wants; putting new keys in does not.",
            "",
            table(of_queue, QUEUES, "keys K"),
            "",
            "Once an epoch, not once a step, the order of the images is drawn:",
            "",
            table([epoch], SIZES, "images N"),
            "",
            f"Command: `{command}`. Date: {datetime.date.today()}. super-selfish {__version__}, "
            f"torch {torch.__version__}, numpy {np.__version__}, Python "
            f"{platform.python_version()}, {platform.platform()}, {processor_name()}, "
            f"{torch.get_num_threads()} thread(s).",
            "",
        ]
    )


def processor_name() -> str:
    """Name of the processor."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Measures, prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn of supervise()")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory_bank.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows, epoch = cases()
    measure([*rows, epoch], options.repetitions)
    loop = measure_loop(options.seconds, options.turns)
    rows.insert([case.name for case in rows].index("MoCo, step (K keys are K negatives)"), loop)
    text = report(rows, epoch, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
