"""Every algorithm at work, in one picture: what its network saw, and what it had to say.

    python examples/all_algorithms.py                          # photographs that scikit-image ships
    python examples/all_algorithms.py --data FOLDER            # images of your own
    python examples/all_algorithms.py --algorithms rotate cmc  # some of them
    python examples/all_algorithms.py --steps 1000             # better answers

About six minutes on two CPU cores. Each starts to learn the same fourteen
images, one of each photograph, by heart; --out is a picture with a row for each: some views, and
what the network has to say. That is no test of what was learnt: `examples/quickstart.py` has one.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from super_selfish.data import ImageSource, photographs
from super_selfish.evaluation import plot_exhibits, show_algorithm
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import SUPERVISORS, HealthWarning

# In the order of the picture: those that name something, that paint something, that compare.
ORDER = (
    *("rotate", "jigsaw", "context_prediction", "counting", "aet", "exemplar", "cpc"),
    *("denoise", "context", "mae", "colorization", "split_brain", "motion", "bigan"),
    *("instance", "pirl", "cmc", "moco", "byol", "simclr", "nnclr", "simsiam"),
    *("barlow_twins", "vicreg", "lejepa", "swav", "deep_cluster", "dino", "distillation"),
    "multi_task",
)
SHOWN = ("astronaut", "coffee", "chelsea", "motorcycle_left")
PLACES = {"astronaut": 26, "coffee": 26}  # of 30 patches those with a face and a cup; else the 28th

# Settings of the papers, for weeks of training, that would stand still in minutes.
OPTIONS: dict[str, dict[str, Any]] = {
    "moco": {"momentum": 0.98},
    "byol": {"momentum": 0.9},
    "rotate": {"crop": False},  # no black bars beside images of this size
    "mae": {"backbone": None},  # takes transformers alone
    "distillation": {"teacher": NarrowResNet(width=48)},  # untrained: nothing is fetched
}
LR = {"bigan": 2e-4}  # as in its paper


def open_images(name: str, size: int) -> tuple[ImageSource, list[int] | None]:
    """Images to train on, and which of them to show."""
    if name != "photographs":
        return ImageSource(name, image_size=size), None
    # Patches of twice the size, halved: they hold more of what a photograph shows.
    patches = photographs(2 * size, split="all", per_photograph=30)
    one_of_each = [
        patches.images[patches.labels == label][PLACES.get(photograph, 28)]
        for label, photograph in enumerate(patches.classes)
    ]
    images = F.avg_pool2d(torch.stack(one_of_each).float(), 2).round().to(torch.uint8)
    return ImageSource(images), [patches.classes.index(photograph) for photograph in SHOWN]


def main() -> None:
    """Trains each, asks each, draws."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="photographs", help="photographs, or a folder")
    parser.add_argument("--algorithms", nargs="+", default=ORDER, choices=ORDER, metavar="NAME")
    parser.add_argument("--backbone", default="narrow-resnet")
    parser.add_argument("--size", type=int, default=48, help="side of the images in pixels")
    parser.add_argument("--steps", type=int, default=120, help="of each algorithm, at least")
    parser.add_argument("--batch-size", type=int, default=14)
    parser.add_argument("--out", default="all_algorithms.png", type=Path)
    options = parser.parse_args()

    warnings.simplefilter("ignore", HealthWarning)  # minutes are too short for a verdict
    images, shown = open_images(options.data, options.size)
    epochs = -(-options.steps * options.batch_size // len(images))
    exhibits = []
    for name in options.algorithms:
        began = time.perf_counter()
        torch.manual_seed(0)
        settings = {"backbone": options.backbone, **OPTIONS.get(name, {})}
        supervisor = SUPERVISORS[name](images, **settings)
        supervisor.supervise(
            lr=LR.get(name, 1e-3),
            lr_scheduler="cosine",
            epochs=epochs,
            batch_size=options.batch_size,
            name=None,
            progress=False,
        )
        exhibits.append(show_algorithm(supervisor, shown))
        losses = [row["loss"] for row in supervisor.history]
        seconds = time.perf_counter() - began
        print(f"{name:12} loss {losses[0]:7.3f} -> {losses[-1]:7.3f}, {seconds:4.0f} s", flush=True)
    steps = epochs * -(-len(images) // options.batch_size)
    heading = f"What each network saw and said, after {steps} steps on {len(images)} images"
    plot_exhibits(exhibits, options.out, heading)
    print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
