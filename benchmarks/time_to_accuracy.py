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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Split, load
from provenance import write_result

from super_selfish.evaluation import extract_features, knn_accuracy
from super_selfish.models import build_backbone
from super_selfish.supervisors import MomentumContrastSupervisor

HERE = Path(__file__).parent
NEIGHBOURS, TEMPERATURE = 200, 0.1


class Stopwatch:
    """A monitor that notes k-NN accuracy against the time trained."""

    def __init__(self, train: Split, test: Split, every: int) -> None:
        """Takes labelled images, and how many epochs lie between two measurements."""
        self.train, self.test, self.every = train, test, every
        self.marks: list[tuple[int, float, float]] = []  # epoch, minutes, accuracy

    def start(self, supervisor: Any) -> None:
        """Forgets what was."""
        self.marks.clear()

    def after_epoch(self, supervisor: Any, row: dict[str, float]) -> None:
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
        minutes = sum(each["seconds"] for each in run.history.rows) / 60
        self.marks.append((run.epoch, minutes, accuracy))
        print(f"epoch {run.epoch}: {minutes:.2f} min, k-NN {accuracy:.4f}", flush=True)


def main() -> None:
    """Trains, and writes how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--goal", type=float, default=0.86)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=0.06)
    parser.add_argument("--images", type=int, default=50_000)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "time_to_accuracy.md")
    options = parser.parse_args()
    torch.manual_seed(0)
    (images, labels), test = load("cifar10", options.root)
    train = images[: options.images], labels[: options.images]
    watch = Stopwatch(train, test, options.every)
    supervisor = MomentumContrastSupervisor(
        train[0],
        build_backbone("resnet18", 3, (32, 32)),
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
        name=None,
        monitor=watch,
    )
    reached = next((mark for mark in watch.marks if mark[2] >= options.goal), None)
    verdict = f"k-NN {options.goal} was not reached"
    if reached is not None:
        epoch, minutes, _ = reached
        verdict = f"k-NN {options.goal} was reached in epoch {epoch}, after {minutes:.1f} minutes"
    lines = [
        "# Time to accuracy",
        "",
        f"MoCo v2 on {options.images} images of CIFAR-10, {options.device}, {options.precision}: "
        f"{verdict}.",
        "",
        "| epoch | minutes | k-NN |",
        "|---|---|---|",
        *(f"| {epoch} | {minutes:.2f} | {knn:.4f} |" for epoch, minutes, knn in watch.marks),
    ]
    write_result(options.out, lines, "torchvision")
    print(verdict)


if __name__ == "__main__":
    main()
