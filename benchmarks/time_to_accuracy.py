"""How long until MoCo v2 on CIFAR-10 reaches a k-NN accuracy?

    python benchmarks/time_to_accuracy.py --device cuda --precision bf16          # a GPU: minutes
    python benchmarks/time_to_accuracy.py --images 2000 --epochs 2 --every 1      # does it run?

ResNet-18 with a 3x3 stem, the settings of the authors' CIFAR recipe: batch 512, SGD, cosine,
symmetric loss, momentum 0.99, queue 4096, temperature 0.1, k-NN over 50,000 training images with
200 neighbours. The images lie on the device. The time of the measurements does not count. Writes
`benchmarks/results/time_to_accuracy.md`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Split, load
from provenance import write_result

from super_selfish.evaluation import extract_features, knn_accuracy
from super_selfish.models import build_backbone
from super_selfish.supervisors import MomentumContrastSupervisor
from super_selfish.training.callbacks import Callback
from super_selfish.training.history import Row

HERE = Path(__file__).parent
NEIGHBOURS, TEMPERATURE = 200, 0.1


class Mark(NamedTuple):
    """A measurement."""

    epoch: int
    minutes: float  # trained until then
    knn: float


class Stopwatch(Callback):
    """Notes k-NN accuracy in the history every so many epochs, and ends the run at a goal."""

    def __init__(self, train: Split, test: Split, every: int, goal: float) -> None:
        """Takes labelled images, epochs between two measurements, and the accuracy wanted."""
        self.train, self.test, self.every, self.goal = train, test, every, goal

    def on_epoch(self, supervisor: Any, row: Row) -> None:
        """Measures."""
        run = supervisor.run
        if run.epoch % self.every and not run.is_over():
            return
        backbone = supervisor.get_backbone()
        known, asked = (
            extract_features(backbone, images, batch_size=1024).features
            for images, _ in (self.train, self.test)
        )
        accuracy = knn_accuracy(known, self.train[1], asked, self.test[1], NEIGHBOURS, TEMPERATURE)
        row["knn"] = accuracy
        print(f"epoch {run.epoch}: k-NN {accuracy:.4f}", flush=True)
        if accuracy >= self.goal:
            run.stop(f"k-NN {self.goal}")


def train_to(options: argparse.Namespace, name: str | None = None) -> list[Mark]:
    """Trains until the goal, the last epoch or `time_limit`; goes on where `name` stopped.

    Args:
        options: Of the command line.
        name: Of the checkpoint; None keeps none.

    Returns:
        What was measured.
    """
    torch.manual_seed(0)
    (images, labels), test = load("cifar10", options.root)
    train = images[: options.images], labels[: options.images]
    supervisor = MomentumContrastSupervisor(
        train[0],
        build_backbone(options.network, 3, (32, 32)),
        queue_size=min(4096, options.images // 2),
        momentum=0.99,
        temperature=0.1,
        symmetric=True,
    ).to(options.device)
    supervisor.supervise(
        lr=options.lr,
        optimizer=partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4),
        lr_scheduler="cosine",
        epochs=options.epochs,
        batch_size=options.batch,
        precision=options.precision,
        dataset_on_device=True,
        compile=options.compile,
        name=name,
        resume=name is not None,
        time_limit=options.time_limit,
        callbacks=Stopwatch(train, test, options.every, options.goal),
    )
    return marks_of(supervisor.history)


def marks_of(history: Iterable[Mapping[str, float]]) -> list[Mark]:
    """The measurements in a history, against the time trained until then."""
    marks, seconds = [], 0.0
    for number, row in enumerate(history, 1):
        seconds += row["seconds"]
        if "knn" in row:
            marks.append(Mark(number, seconds / 60, row["knn"]))
    return marks


def verdict_on(marks: list[Mark], goal: float) -> str:
    """When the goal was reached, in words."""
    reached = next((mark for mark in marks if mark.knn >= goal), None)
    if reached is None:
        best = max((mark.knn for mark in marks), default=math.nan)
        return f"k-NN {goal} was not reached; the best was {best:.4f}"
    return f"k-NN {goal} was reached in epoch {reached.epoch}, after {reached.minutes:.1f} minutes"


def table_of(marks: list[Mark]) -> list[str]:
    """All measurements, as lines of Markdown."""
    rows = (f"| {mark.epoch} | {mark.minutes:.2f} | {mark.knn:.4f} |" for mark in marks)
    return ["| epoch | minutes | k-NN |", "|---|---|---|", *rows]


def parser_of_options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--goal", type=float, default=0.86)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=0.06)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--time-limit", help="such as 10min")
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "time_to_accuracy.md")
    return parser


def main() -> None:
    """Trains, and writes how long it took."""
    options = parser_of_options().parse_args()
    marks = train_to(options)
    verdict = verdict_on(marks, options.goal)
    heading = (
        f"MoCo v2 on {options.images} images of CIFAR-10, {options.device}, {options.precision}: "
        f"{verdict}."
    )
    lines = ["# Time to accuracy", "", heading, "", *table_of(marks)]
    write_result(options.out, lines, "torchvision")
    print(verdict)


if __name__ == "__main__":
    main()
