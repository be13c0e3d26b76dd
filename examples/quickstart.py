"""Pretrains a backbone on real photographs, and shows that it helped.

    python examples/quickstart.py                        # photographs that scikit-image ships
    python examples/quickstart.py --data FOLDER          # images of your own, in any sub-folders
    python examples/quickstart.py --data cifar10         # through torchvision, into --root

About three minutes on two CPU cores. Prints the accuracy of a k-NN classifier and of a linear probe
on the pretrained features and on those of an untrained twin, and writes into --out what the network
saw, the loss, and the nearest neighbours of some images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.utils.data import Dataset, Subset
from torchvision.datasets import CIFAR10

from super_selfish.data import ImageSource, photographs
from super_selfish.evaluation import (
    evaluate,
    extract_features,
    plot_history,
    plot_neighbours,
    plot_views,
    seen_views,
)
from super_selfish.supervisors import SUPERVISORS

TITLES = {  # of the columns of the sheet of views
    "rotate": ["turned by 0", "90", "180", "-90 degrees"],
    "denoise": ["noised", "clean"],
    "moco": ["one view", "another view"],
}
# The paper's 0.999 is for weeks of training.
SETTINGS: dict[str, dict[str, float]] = {"moco": {"momentum": 0.99}}


def open_data(name: str, root: str, size: int) -> tuple[Dataset, Dataset]:
    """Images for training and for the test."""
    if name == "photographs":
        # Patches of twice the size: one can see what is on them.
        return photographs(2 * size, split="train"), photographs(2 * size, split="test")
    if name == "cifar10":
        return CIFAR10(root, train=True, download=True), CIFAR10(root, train=False)
    images = ImageSource(name, image_size=size)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    cut = len(order) // 5
    return Subset(images, order[cut:]), Subset(images, order[:cut])


def main() -> None:
    """Pretrains, evaluates, draws."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="photographs", help="photographs, cifar10, or a folder")
    parser.add_argument("--root", default="data", help="where torchvision keeps data sets")
    parser.add_argument("--algorithm", default="moco", choices=sorted(TITLES))
    parser.add_argument("--backbone", default="narrow-resnet")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", default="quickstart", type=Path)
    options = parser.parse_args()

    torch.manual_seed(0)
    train, test = open_data(options.data, options.root, options.size)

    algorithm, settings = SUPERVISORS[options.algorithm], SETTINGS.get(options.algorithm, {})
    supervisor = algorithm(train, backbone=options.backbone, image_size=options.size, **settings)
    supervisor.supervise(
        lr=1e-3, epochs=options.epochs, batch_size=64, name=options.out / options.algorithm
    )

    options.out.mkdir(parents=True, exist_ok=True)
    plot_views(
        seen_views(supervisor),
        options.out / "views.png",
        TITLES[options.algorithm],
        caption=supervisor.collate_fn.note,
    )
    plot_history(supervisor, options.out / "loss.png")
    images = ImageSource(test, supervisor.image_size, supervisor.in_channels)
    found = extract_features(supervisor.get_backbone(), images, preprocess=supervisor.preprocess)
    shown = ImageSource(test)  # as they are, larger than the network sees them
    names = getattr(test, "names", None)
    plot_neighbours(
        found.features,
        shown,
        options.out / "neighbours.png",
        names=None if names is None else [names[label] for label in test.labels],
    )
    print(f"pictures and checkpoint: {options.out}/")
    if found.labels is None:
        print("no labels (sub-folders named by class would give some): no accuracy")
    else:
        print(evaluate(supervisor, train, test))


if __name__ == "__main__":
    main()
