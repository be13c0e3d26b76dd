"""Does every algorithm learn, and which learns most? All of them, by `compare`, in minutes.

    python benchmarks/learning.py --minutes 2 --seeds 0 1 2
    python benchmarks/learning.py --algorithms rotate moco --data cifar10

Every run pretrains a narrow network for `--minutes` on the training images of a data set, without
their labels, and is rated by a linear probe and k-NN (10,000 labelled training images, the whole
test part), beside an untrained network with the same first weights. Runs that are done are kept in
`--out`.jsonl, so an interrupted benchmark goes on where it stopped. Start it several times, and the
processes share the work:

    for process in 1 2; do python benchmarks/learning.py --threads 1 & done; wait

Written are `--out`.md with a figure for each data set, and `--out`_learning.md.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import load
from provenance import provenance
from torch import nn

from super_selfish.evaluation.comparison.compare import compare
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.table_cells import number, percent
from super_selfish.models import ImageDecoder, NarrowResNet, Normalize
from super_selfish.models.bottlenecks import ChannelwiseLinear
from super_selfish.models.discriminators import ImageDiscriminator, PairDiscriminator
from super_selfish.supervisors import SUPERVISORS

HERE = Path(__file__).parent
NEED_COLOUR = ("cmc", "colorization", "split_brain")
# Objects before a background: clothes on black have none, so what is put into them stands out.
NEED_SCENES = ("motion",)
ALGORITHMS = {
    "fashion": [name for name in SUPERVISORS if name not in (*NEED_COLOUR, *NEED_SCENES)],
    "cifar10": [*NEED_COLOUR, *NEED_SCENES, "moco"],
}
LABELLED = 10_000  # training images whose labels the probe and k-NN see

# Where the library's default is made for days on a GPU: what minutes on a core want instead. The
# mathematics stays; these are sizes, rates and lengths of memory.
CONSTRUCTOR: dict[str, dict[str, Any]] = {
    "moco": {"momentum": 0.99},
    "byol": {"momentum": 0.96},
    "swav": {"num_prototypes": 64, "frozen_updates": 100, "epsilon": 0.02, "num_small": 2},
    "instance": {"augmentation": "paper"},
    "pirl": {"augmentation": "paper"},
    "cmc": {"augmentation": "paper"},
    "bigan": {"latent_channels": 50, "latent_grid": 1},  # as in the paper for MNIST
}
SUPERVISE: dict[str, dict[str, Any]] = {
    "bigan": {"lr": 3e-4},  # the paper: 2e-4
    "counting": {"lr": 2e-4},  # the paper: 1e-4
}
IMAGES = {"instance": 5000, "pirl": 5000, "cmc": 5000, "exemplar": 500}  # else all: many epochs


def narrow_parts(algorithm: str, width: int, channels: int) -> dict[str, nn.Module]:
    """Decoders and discriminators as narrow as the backbone, whose map is 2 x 2 at 32 pixels."""
    size, grid, widths = (32, 32), (2, 2), (4 * width, 2 * width, width)
    if algorithm in ("denoise", "context"):
        decoder: nn.Module = ImageDecoder(
            8 * width, channels, widths, size=size, map_size=grid, start=0.5
        )
        if algorithm == "denoise":
            return {"predictor": decoder}
        return {
            "predictor": nn.Sequential(ChannelwiseLinear(8 * width, grid), nn.ReLU(), decoder),
            "discriminator": ImageDiscriminator(channels, size, widths[::-1]),
        }
    if algorithm == "bigan":
        return fully_connected_players((channels, *size), CONSTRUCTOR["bigan"]["latent_channels"])
    return {}


def fully_connected_players(shape: tuple[int, int, int], latents: int) -> dict[str, nn.Module]:
    """Generator and discriminator of BiGAN as the paper has them for MNIST."""
    pixels = math.prod(shape)
    generator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(latents, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, 512, bias=False),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Linear(512, pixels),
        nn.Sigmoid(),
        nn.Unflatten(1, shape),
    )
    half = [0.5] * shape[0]
    centred = nn.Sequential(Normalize(half, half), nn.Flatten())  # pixels in [-1, 1]
    return {
        "generator": generator,
        "discriminator": PairDiscriminator(centred, pixels, latents, (512, 256)),
    }


def constructor(algorithm: str, width: int, channels: int) -> dict[str, Any]:
    """Keywords of an algorithm, with parts of its own for each run."""
    return {**narrow_parts(algorithm, width, channels), **CONSTRUCTOR.get(algorithm, {})}


def compare_on(data: str, algorithms: list[str], options: argparse.Namespace) -> Comparison:
    """The comparison on one data set."""
    (images, labels), test = load(data, options.root)
    return compare(
        algorithms,
        (images[:LABELLED], labels[:LABELLED]),
        test,
        budget=f"{options.minutes}min",
        backbone=functools.partial(NarrowResNet, width=options.width),
        seeds=options.seeds,
        protocols=("linear", "knn"),
        options={name: functools.partial(constructor, name, options.width) for name in algorithms},
        supervise={"batch_size": 64, **{n: s for n, s in SUPERVISE.items() if n in algorithms}},
        pretrain=images,
        images={name: count for name, count in IMAGES.items() if name in algorithms},
        path=options.out,
        progress=False,
    )


def learning_table(comparisons: Mapping[str, Comparison]) -> str:
    """Untrained, pretrained and difference, a row for each data set and algorithm."""
    lines = [
        "| data | algorithm | seeds | steps | probe untrained | probe pretrained | difference "
        "| k-NN untrained | k-NN pretrained | difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data, comparison in comparisons.items():
        for entry in sorted(comparison.leaderboard, key=lambda entry: entry.algorithm):
            cells = [data, entry.algorithm, str(len(entry.seeds)), number(entry.steps)]
            for protocol in ("linear", "knn"):
                gain = percent(entry.gain.get(protocol), signed=True)
                cells += [
                    percent(entry.untrained.get(protocol)),
                    percent(entry.accuracy.get(protocol)),
                    f"**{gain}**",
                ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def where_and_when(comparisons: Mapping[str, Comparison]) -> str:
    """On which machines the runs were done, and on which days: a benchmark may go on elsewhere."""
    runs = [run for comparison in comparisons.values() for run in comparison.runs]
    days: dict[str, list[str]] = {}
    for run in runs:
        days.setdefault(run["machine"]["device"], []).append(run["date"][:10])
    parts = [
        f"{len(each)} on {device} ({', '.join(sorted(set(each)))})" for device, each in days.items()
    ]
    return f"Runs: {'; '.join(parts)}."


def write_learning(path: Path, comparisons: Mapping[str, Comparison], minutes: float) -> None:
    """Does each beat its untrained twin?"""
    path.write_text(
        "\n".join(
            [
                "# Every algorithm beside an untrained twin",
                "",
                "Accuracy in percent, mean and standard deviation over seeds. Each run pretrains a "
                f"narrow ResNet for {minutes:g} minutes, without labels; linear probe and k-NN see "
                "10,000 labelled training images and are read on the whole test part. Twins have "
                "the same first weights; those of jigsaw, cmc and split_brain see images as their "
                "algorithm shows them.",
                "",
                learning_table(comparisons),
                "",
                where_and_when(comparisons),
                provenance("torchvision"),
                "",
            ]
        )
    )


def write_comparison(path: Path, comparisons: Mapping[str, Comparison]) -> None:
    """The leaderboards, each with its figure."""
    parts = ["# All algorithms under the same conditions", ""]
    for data, comparison in comparisons.items():
        figure = path.with_name(f"{path.stem}_{data}.png")
        comparison.plot(figure)
        parts += [
            f"## {data}",
            "",
            f"![from untrained to pretrained, on {data}]({figure.name})",
            "",
            comparison.to_markdown(),
        ]
    notes = [where_and_when(comparisons), provenance("torchvision")]
    path.write_text("\n".join([*parts, *notes, ""]))


def main() -> None:
    """Does what is not done yet, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--algorithms", nargs="+", choices=SUPERVISORS, help="default: all")
    parser.add_argument("--data", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "comparison")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    comparisons = {}
    for data in options.data:
        chosen = ALGORITHMS[data]
        if options.algorithms is not None:
            is_asked = len(options.data) == 1  # else each goes where it fits
            chosen = [n for n in options.algorithms if is_asked or n in chosen]
        if chosen:
            comparisons[data] = compare_on(data, chosen, options)
            print(f"{data}\n{comparisons[data]}\n", flush=True)
    write_comparison(options.out.with_suffix(".md"), comparisons)
    learning = options.out.with_name(f"{options.out.name}_learning.md")
    write_learning(learning, comparisons, options.minutes)


if __name__ == "__main__":
    main()
