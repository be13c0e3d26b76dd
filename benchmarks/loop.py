"""What does `supervise()` cost on top of the networks?

    python benchmarks/loop.py

Against a loop written by hand over the same network, loss, optimiser and ready batches. Both take
turns in one process. Writes `benchmarks/results/loop.md`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from interleaved import Best, best_times
from provenance import write_result
from torch import Tensor, nn

from super_selfish.data.loaders import EpochBatches
from super_selfish.models import CombinedNet, EfficientFeatures, NarrowResNet
from super_selfish.supervisors import Supervisor
from super_selfish.training.acceleration import fused
from super_selfish.training.schedules import build_schedule

HERE = Path(__file__).parent
CLASSES, READY = 10, 4


class ReadyBatches:
    """A loader whose batches are there already."""

    num_workers, dataset = 0, None

    def __init__(self, batches: list[tuple[Tensor, Tensor]], steps: int) -> None:
        self.batches, self.steps = batches, steps
        self.batch_sampler = EpochBatches(steps, 1)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields `steps` batches."""
        return (self.batches[step % len(self.batches)] for step in range(self.steps))


class OnReadyBatches(Supervisor):
    """Reads nothing: what is left is the loop."""

    ready: ReadyBatches

    def _init_data_optimizer(
        self,
        optimizer: Any,
        batch_size: int,
        shuffle: bool,
        num_workers: int,
        collate_fn: Any,
        lr: float,
        lr_scheduler: Any,
    ) -> tuple[Any, Any, Any]:
        """Leaves the loader out."""
        run, _ = self._running()
        run.steps_per_epoch = self.ready.steps
        built = optimizer(self.parameters(), lr=lr)
        return self.ready, built, build_schedule(lr_scheduler, built, run.total_updates)


def efficientnet() -> CombinedNet:
    """EfficientNet-B0 as it comes: total stride 32."""
    return CombinedNet(EfficientFeatures(), nn.Linear(1280, CLASSES))


def small() -> CombinedNet:
    """About 50,000 parameters."""
    backbone = NarrowResNet(3, 6)
    return CombinedNet(backbone, nn.Linear(backbone.num_features, CLASSES))


def by_hand(network: nn.Module, ready: ReadyBatches) -> Callable[[], None]:
    """The loop that one would write, with the same optimiser."""
    parameters = list(network.parameters())
    optimizer = fused(torch.optim.Adam, parameters)(parameters, lr=1e-3)
    network.train()

    def loop() -> None:
        for images, targets in ready:
            loss = F.cross_entropy(network(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return loop


def by_supervise(network: nn.Module, ready: ReadyBatches) -> Callable[[], None]:
    """Ours; its start, once a run, is a part of what is timed."""
    dataset = torch.zeros(2, 3, 8, 8, dtype=torch.uint8).expand(2, -1, -1, -1)
    supervisor = OnReadyBatches(network, dataset, nn.CrossEntropyLoss(), list)
    supervisor.ready = ready

    def loop() -> None:
        supervisor.supervise(epochs=1, name=None)

    return loop


def measure(make: Callable[[], nn.Module], size: int, batch: int, steps: int, repeats: int) -> Any:
    """Least milliseconds a step, by hand and ours."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.rand(batch, 3, size, size, generator=generator),
            torch.randint(CLASSES, (batch,), generator=generator),
        )
        for _ in range(READY)
    ]
    ready = ReadyBatches(batches, steps)
    cases = {"by hand": by_hand(make(), ready), "supervise()": by_supervise(make(), ready)}
    times = best_times(cases, repeats)
    return {name: Best(*(value / steps for value in each)) for name, each in times.items()}


def main() -> None:
    """Measures, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "loop.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    count = sum(parameter.numel() for parameter in small().parameters())
    rows = [
        ("EfficientNet-B0, 64 px, batch 32", efficientnet, 64, 32, 20, 2),
        (f"{count:,} parameters, 32 px, batch 32", small, 32, 32, 100, 5),
    ]
    lines = [
        "# What `supervise()` costs on top of the networks",
        "",
        "Milliseconds a step, least of the turns, over ready batches; a loop written by hand with "
        "the same network, loss and optimiser beside `supervise()`, its start included.",
        "",
        "| network | by hand, ms | ours, ms | slower | by hand, processor | ours, processor "
        "| slower | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, make, size, batch, steps, goal in rows:
        times = measure(make, size, batch, steps, options.repeats)
        hand, ours = times["by hand"], times["supervise()"]
        cells = [
            f"{a:.2f} | {b:.2f} | {100 * (b / a - 1):+.1f} %"
            for a, b in zip(hand, ours, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {goal} % |")
    write_result(options.out, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
