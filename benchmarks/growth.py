"""How do time and memory of a step grow with batch, images, views, queue, bank and dataset?

    python benchmarks/growth.py

Flat where nothing should depend on it (dataset, bank), linear where it must be (batch, pixels,
views, and the share of a queue's keys that are negatives). All cases take turns in one process.
Writes `benchmarks/results/growth.md` and `growth.png`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import torch
from interleaved import Best, best_times
from memory_bank import (
    NEGATIVES,
    Step,
    algorithm_step,
    clocked,
    first_batch,
    highest_rise,
    loop_times,
)
from provenance import write_result

from super_selfish.data import Batch
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import (
    InstanceDiscriminationSupervisor,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
)

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.ticker import LogLocator

HERE = Path(__file__).parent
DATASETS = (1_000, 10_000, 100_000, 1_280_000)


class Axis(NamedTuple):
    """What grows, and a step for each of its values."""

    name: str
    expected: str
    values: tuple[int, ...]
    make: Callable[[int], Step]


def step_on(kind: Any, batch: int, size: int, **more: Any) -> Step:
    """Augmentation, loss and gradient of an algorithm with a narrow network."""
    generator = torch.Generator().manual_seed(0)
    supervisor = kind(backbone=NarrowResNet(3, 8), image_size=size, **more)
    pixels = torch.randint(256, (batch, 3, size, size), generator=generator, dtype=torch.uint8)

    def step() -> None:
        data = supervisor.collate_fn.augment(Batch(pixels, torch.arange(batch)), generator)
        supervisor.zero_grad(set_to_none=True)
        supervisor._forward(data).backward()

    return step


def bank_step(size: int) -> Step:
    """Instance discrimination with a memory of `size` images."""
    return algorithm_step(InstanceDiscriminationSupervisor, size)


def queue_step(size: int) -> Step:
    """MoCo with a queue of `size` keys."""
    return algorithm_step(MomentumContrastSupervisor, None, queue_size=size)


AXES = (
    Axis(
        "images in a batch",
        "linear",
        (16, 32, 64, 128),
        lambda n: step_on(RotateNetSupervisor, n, 32),
    ),
    Axis(
        "pixels a side",
        "quadratic",
        (32, 64, 96, 128),
        lambda n: step_on(RotateNetSupervisor, 16, n),
    ),
    Axis(
        "views an image (RotateNet)",
        "linear",
        (2, 3, 4),
        lambda n: step_on(RotateNetSupervisor, 32, 32, rotations=(0, 180, 90, -90)[:n]),
    ),
    Axis("keys in the queue (MoCo)", "linear, from a base", (4_096, 16_384, 65_536), queue_step),
    Axis("images in the bank", "flat", DATASETS[1:], bank_step),
)


def loop_best(size: int) -> Best:
    """Least milliseconds of a step of `supervise()` on `size` images."""
    times = loop_times(clocked(size), seconds=4)
    return Best(min(t.clock for t in times), min(t.processor for t in times))


def short(count: int) -> str:
    """A number in few characters: 1.28M, 16k, 96."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def draw(rows: dict[str, dict[int, tuple[float, float]]], path: Path) -> None:
    """Time and memory against what grows, both to the first value."""
    figure, panels = pyplot.subplots(2, len(rows), figsize=(2.6 * len(rows), 5), squeeze=False)
    for column, (name, values) in enumerate(rows.items()):
        for row, unit in enumerate(("ms a step", "MB above rest")):
            panel = panels[row][column]
            panel.loglog(list(values), [value[row] for value in values.values()], "o-")
            low, high = panel.get_ylim()
            panel.set_ylim(low / 2, high * 2)  # so that flat looks flat
            panel.set_xticks(list(values), [short(value) for value in values])
            panel.minorticks_off()
            panel.yaxis.set_major_locator(LogLocator(numticks=5, subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.set_ylabel(unit if column == 0 else "")
            panel.set_xlabel(name if row == 1 else "")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures, prints the table, writes it and draws it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "growth.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows: dict[str, dict[int, tuple[float, float]]] = {}
    lines = [
        "# How a step grows",
        "",
        f"Narrow networks, least of {options.repeats} turns; {NEGATIVES} negatives from the bank. "
        "Memory is the highest rise during a step. A thousand images have fewer negatives, 999.",
        "",
        "| what grows | expected | value | ms, clock | ms, processor | times the first | MB |",
        "|---|---|---|---|---|---|---|",
    ]

    def note(name: str, expected: str, times: dict[int, Best], memory: dict[int, float]) -> None:
        rows[name] = {value: (t.processor, memory[value]) for value, t in times.items()}
        first = next(iter(times.values())).processor
        lines.extend(
            f"| {name} | {expected} | {value:,} | {t.clock:.2f} | {t.processor:.2f} "
            f"| {t.processor / first:.2f} | {memory[value]:.1f} |"
            for value, t in times.items()
        )

    for axis in AXES:
        steps = {value: axis.make(value) for value in axis.values}
        best = best_times({str(value): step for value, step in steps.items()}, options.repeats)
        times = {value: best[str(value)] for value in steps}
        memory = {value: highest_rise(step) for value, step in steps.items()}
        note(axis.name, axis.expected, times, memory)
    loops = {size: loop_best(size) for size in DATASETS}
    orders = {size: highest_rise(first_batch(size)) for size in DATASETS}
    note("images in the dataset", "flat; memory: the order of an epoch", loops, orders)
    draw(rows, options.out.with_suffix(".png"))
    write_result(options.out, [*lines, "", "![growth](growth.png)"], "matplotlib")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
