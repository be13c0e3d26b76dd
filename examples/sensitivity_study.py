"""How much does what a task teaches depend on the number of images? The study of Macar and Liu.

    python examples/sensitivity_study.py --smoke            # a minute, to see that it works
    python examples/sensitivity_study.py --seeds 0          # an hour a seed on two CPU cores
    for n in 1 2; do python examples/sensitivity_study.py --threads 1 & done; wait  # faster so

AlexNet learns from base sets of several sizes by each task, by their labels and not at all; then it
is frozen up to its third convolution, and the rest learns Fashion-MNIST, CIFAR-10 and Imagenette.
`--data` is a folder with `FashionMNIST/raw/*.gz`, `cifar10/*.webp` with `labels.npz`, and
`imagenette/imagenette_128.tar`; a set that is not there is left out. Runs that are done are kept in
`--out`.jsonl: called again it goes on, and several processes share the runs. Written are a table,
`--out`.md and .csv, and a figure, `--out`.png.
"""

from __future__ import annotations

import argparse
import gzip
import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from super_selfish.evaluation import compare
from super_selfish.models import build_backbone

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "datasets"  # beside the repository
TASKS = ("rotate", "counting", "jigsaw", "context_prediction", "colorization", "supervised")
OPTIONS = {"rotate": {"crop": False}, "context_prediction": {"patch_fraction": 0.375}}  # of 32 px
SMOKE = ["--base-sizes", "32", "64", "--labelled", "60", "--tested", "60", "--seeds", "0"]
SMOKE += ["--epochs", "1", "--protocols", "linear"]
Labelled = tuple[Tensor, Tensor]  # images uint8, labels


def cifar10(folder: Path, part: str) -> Labelled:
    """All images `[N, 3, 32, 32]` and labels of the part `"train"` or `"test"`."""
    names = ["test_batch"] if part == "test" else [f"data_batch_{n}" for n in range(1, 6)]
    paths = [folder / "cifar10" / f"{name}.webp" for name in names]
    sheets = [np.asarray(Image.open(path, formats=["WEBP"])) for path in paths]
    tiles = [sheet.reshape(100, 32, 100, 32, 3).swapaxes(1, 2) for sheet in sheets]
    images = torch.from_numpy(np.concatenate(tiles).reshape(-1, 32, 32, 3)).permute(0, 3, 1, 2)
    known = np.load(folder / "cifar10" / "labels.npz")
    labels = np.concatenate([known[f"{name}_labels"] for name in names])
    return images, torch.from_numpy(labels).long()


def fashion(folder: Path, part: str) -> Labelled:
    """Of Fashion-MNIST `[N, 1, 28, 28]`."""
    start = folder / "FashionMNIST" / "raw" / ("t10k" if part == "test" else "train")
    numbers = [
        np.frombuffer(gzip.open(f"{start}-{kind}-ubyte.gz").read(), np.uint8, offset=offset).copy()
        for kind, offset in (("images-idx3", 16), ("labels-idx1", 8))
    ]
    images, labels = map(torch.from_numpy, numbers)
    return images.view(-1, 1, 28, 28), labels.long()


def imagenette(folder: Path, part: str) -> Labelled:
    """Of Imagenette `[N, 3, 64, 64]`."""
    with tarfile.open(folder / "imagenette" / "imagenette_128.tar") as tar:
        wanted = f"{'val' if part == 'test' else 'train'}/"
        files = [m for m in tar if m.isfile() and m.name.removeprefix("./").startswith(wanted)]
        stored: list[Any] = [tar.extractfile(file) for file in files]
        read = [io.BytesIO(file.read()) for file in stored]
        opened = [Image.open(file, formats=["JPEG"]) for file in read]
        images = np.stack([np.asarray(image.convert("RGB").resize((64, 64))) for image in opened])
    classes = [file.name.split("/")[-2] for file in files]
    labels = torch.tensor([sorted(set(classes)).index(name) for name in classes])
    return torch.from_numpy(images).permute(0, 3, 1, 2), labels


SETS: dict[str, Callable[[Path, str], Labelled]] = {
    "cifar10": cifar10,
    "fashion": fashion,
    "imagenette": imagenette,
}


def drawn(part: Labelled, number: int, *, last: bool = False) -> Labelled:
    """As many of the images at random, from the beginning or the end of one and the same order."""
    order = torch.randperm(len(part[1]), generator=torch.Generator().manual_seed(0))
    chosen = order[-number:] if last else order[:number]
    return part[0][chosen].contiguous(), part[1][chosen]


def alexnet(channels: int, side: int, stem: str) -> nn.Module:
    """The backbone of all tasks."""
    return build_backbone("alexnet-bn", channels, (side, side), stem)


def main() -> None:
    """Opens the sets, compares, writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the data sets")
    parser.add_argument("--base", default="cifar10", choices=["cifar10", "imagenette"])
    parser.add_argument("--base-sizes", nargs="+", type=int, default=[2000, 4000, 8000])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=1.0, help="of pretraining, a run")
    parser.add_argument("--epochs", type=int, help="of pretraining, instead of minutes")
    parser.add_argument("--labelled", type=int, default=2000, help="images to learn each set from")
    parser.add_argument("--tested", type=int, default=2000, help="images to test each set on")
    parser.add_argument("--protocols", nargs="+", default=["finetune-from-blocks.3"])
    parser.add_argument("--side", type=int, default=32, help="of the images, pixels")
    parser.add_argument("--stem", default="medium", help="small: better maps, a quarter as fast")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", default="sensitivity_study")
    parser.add_argument("--smoke", action="store_true", help="a minute instead of hours")
    options = parser.parse_args()
    if options.smoke:
        options = parser.parse_args(SMOKE, argparse.Namespace(data=options.data, out=options.out))

    torch.set_num_threads(options.threads)
    parts = {}
    for name, read in SETS.items():
        try:
            parts[name] = read(options.data, "train"), read(options.data, "test")
        except FileNotFoundError as error:
            print(f"{name} is left out: there is no {error.filename}")
    if options.base not in parts:
        raise SystemExit(f"skipped: the study needs {options.base}, see --help for --data")
    # The labelled images of a set are none of those that networks were pretrained on.
    downstream = {
        name: (drawn(train, options.labelled, last=True), drawn(test, options.tested))
        for name, (train, test) in parts.items()
    }
    study = compare(
        options.tasks,
        drawn(parts[options.base][0], max(options.base_sizes)),
        budget=None if options.epochs else f"{60 * options.minutes}s",
        epochs=options.epochs,
        backbone=partial(alexnet, side=options.side, stem=options.stem),
        seeds=options.seeds,
        protocols=options.protocols,
        options={name: OPTIONS[name] for name in options.tasks if name in OPTIONS},
        supervise={"batch_size": options.batch_size},
        base_sizes=options.base_sizes,
        downstream=downstream,
        image_size=options.side,
        path=options.out,
    )
    print(study)
    study.to_markdown(f"{options.out}.md")
    study.to_csv(f"{options.out}.csv")
    study.plot(f"{options.out}.png")


if __name__ == "__main__":
    main()
