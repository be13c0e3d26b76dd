"""Does finding an image by an altered copy rank algorithms as accuracy does?

    python benchmarks/retrieval.py                       # an hour of one core a seed
    python benchmarks/retrieval.py --data cifar10 --algorithms rotate simclr --minutes 2

Each algorithm pretrains the narrow ResNet of `learning.py` on Fashion-MNIST (24 of them) and on
CIFAR-10 (28) by the bare two lines, for `--minutes`. Without labels three things are asked of its
features of test images: how often the nearest of 2,000 images to an altered copy is the one that
was altered, once by the mild views that `health` compares (no algorithm's own), once by noise and a
small shift; and `RankMe`. With labels: k-NN and a linear probe. Beside them stands the untrained
network with the same first weights, its norms' statistics estimated. Written is `--out`.md: for
each data set Spearman's rank correlations over algorithms, the place of the untrained network, what
a choice among the default candidates of `choose` would gain and lose, and the rows. Runs that are
done are kept in `--out`.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Split, load
from kept import by_algorithm, keep, stored
from learning import ALGORITHMS as FITTING
from learning import NEED_COLOUR, NEED_SCENES
from provenance import write_result
from torch import Tensor, nn
from unlabelled import PROTOCOLS, correlations, places

from super_selfish.augmentations import recipe
from super_selfish.data import ImageSource
from super_selfish.evaluation import evaluate, extract_features
from super_selfish.evaluation.health.measures import rankme, retrieval
from super_selfish.evaluation.norm_statistics import adapted
from super_selfish.models import NarrowResNet
from super_selfish.pretraining import rules
from super_selfish.supervisors import SUPERVISORS

HERE = Path(__file__).parent
ASKED = 2000  # test images among which a copy looks for its own
LABELLED = 5000
UNTRAINED = "untrained"
NAMES = {"fashion": "Fashion-MNIST", "cifar10": "CIFAR-10"}
ALGORITHMS = {
    "fashion": FITTING["fashion"],
    "cifar10": [*FITTING["fashion"], *NEED_COLOUR, *NEED_SCENES],
}


def mild(images: Tensor, generator: torch.Generator) -> Tensor:
    """The views that a good backbone should not mind."""
    return recipe("mild", (images.shape[2], images.shape[3]))(images, generator)


def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """One pixel to the right and down, and noise of a twentieth of the range."""
    moved = F.pad(images, (1, 0, 1, 0), mode="replicate")[:, :, :-1, :-1]
    return (moved + 0.05 * torch.randn(moved.shape, generator=generator)).clamp(0, 1)


ALTERED = {"found by mild views": mild, "found by noise": noisy}
MEASURES = {name: itemgetter(name) for name in (*ALTERED, "RankMe")}


def measured(network: Any, images: Tensor) -> dict[str, float]:
    """What is told of a network or supervisor without labels, of bytes `[N, C, H, W]`."""
    plain = extract_features(network, images).features
    found = {}
    for name, alter in ALTERED.items():
        copies = alter(images.float() / 255, torch.Generator().manual_seed(0))
        altered = (255 * copies).round().clamp(0, 255).to(torch.uint8)
        found[name] = retrieval(plain, extract_features(network, altered).features)
    return found | {"RankMe": rankme(plain)}


def run(name: str, seed: int, parts: tuple[Split, Split], minutes: float) -> dict[str, Any]:
    """An algorithm's row; of `UNTRAINED` that of the network before."""
    (images, labels), (test, test_labels) = parts
    torch.manual_seed(seed)
    backbone: nn.Module = NarrowResNet(images.shape[1], width=16)
    network: Any
    steps = 0
    if name == UNTRAINED:
        network = adapted(backbone, None, ImageSource(images), None) or backbone
        network.eval()
    else:
        network = supervisor = SUPERVISORS[name](images, backbone)
        supervisor.supervise(
            epochs=1000,
            batch_size=64,
            time_limit=f"{60 * minutes:g}s",
            name=None,
            progress=False,
            seed=seed,
        )
        steps = supervisor.run.global_step if supervisor.run is not None else 0
    rated = evaluate(
        network,
        (images[:LABELLED], labels[:LABELLED]),
        (test, test_labels),
        protocols=PROTOCOLS,
        untrained=None,
        start=None,
        progress=False,
    )
    found = measured(network, test[:ASKED])
    return {"algorithm": name, "seed": seed, "steps": steps, **found, **rated.pretrained}


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row an algorithm: the mean over its seeds."""
    return [
        {"algorithm": name, "seeds": len(group)}
        | {key: fmean(row[key] for row in group) for key in ("steps", *MEASURES, *PROTOCOLS)}
        for name, group in by_algorithm(rows).items()
    ]


def chosen(rows: list[dict[str, Any]], names: Sequence[str], measure: str) -> list[float]:
    """Points of probe and k-NN (their mean) that a choice by a measure gains, seed by seed.

    Args:
        rows: Of runs on a data set.
        names: Among which is chosen.
        measure: By which.

    Returns:
        Of the algorithm with the largest measure over the mean of all; over `simclr`, that trains
        where nobody chooses; and over the best of them (so never above 0). Means over seeds.
    """
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        runs = {row["algorithm"]: row for row in rows if row["seed"] == seed}
        if not set(names) <= set(runs):
            continue
        rated = {name: 100 * fmean(runs[name][p] for p in PROTOCOLS) for name in names}
        first = rated[max(names, key=lambda name: runs[name][measure])]
        found.append(
            [first - fmean(rated.values()), first - rated["simclr"], first - max(rated.values())]
        )
    return [fmean(column) for column in zip(*found, strict=True)]


def report(rows: list[dict[str, Any]], candidates: Sequence[str]) -> list[str]:
    """Correlations, the place of the untrained network, what a choice gains, and all rows.

    Args:
        rows: Of runs on a data set.
        candidates: Among which `choose` chooses by default.
    """
    averages = means(rows)
    runs = [{"algorithm": row["algorithm"], "health": row, "accuracy": row} for row in averages]
    trained = [each for each in runs if each["algorithm"] != UNTRAINED]
    untrained = [each for each in runs if each["algorithm"] == UNTRAINED]
    found = correlations(trained, MEASURES)
    placed = places(trained, untrained, MEASURES)
    lines = [
        f"| measure | rank correlation over {len(trained)} algorithms: linear | knn "
        "| place of the untrained network | the chosen one over the mean of candidates "
        "| over simclr | over the best |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for measure in MEASURES:
        cells = [f"{found[measure, protocol]:+.2f}" for protocol in PROTOCOLS]
        cells.append(f"{placed[measure]} of {len(runs)}")
        cells += [f"{points:+.1f}" for points in chosen(rows, candidates, measure)]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    heads = ["algorithm", "seeds", "steps", *MEASURES, *PROTOCOLS]
    lines += ["", f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in sorted(averages, key=lambda row: -row["knn"]):
        shares = [f"{100 * row[name]:.1f}" for name in ALTERED]
        rated = [f"{100 * row[name]:.1f}" for name in PROTOCOLS]
        cells = [row["algorithm"], str(row["seeds"]), f"{row['steps']:,.0f}"]
        cells += [*shares, f"{row['RankMe']:.1f}", *rated]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Runs what is not done yet, and writes what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--algorithms", nargs="+", help="default: all that the images fit")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "retrieval")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    file = options.out.with_suffix(".jsonl")
    for data in options.data:
        parts = load(data, options.root)
        for seed in options.seeds:
            wanted = {"data": data, "seed": seed, "minutes": options.minutes}
            done = {row["algorithm"] for row in stored(file) if wanted.items() <= row.items()}
            for name in (UNTRAINED, *(options.algorithms or ALGORITHMS[data])):
                if name not in done:
                    keep(file, run(name, seed, parts, options.minutes) | wanted)
    rows = [row for row in stored(file) if row["minutes"] == options.minutes]
    lines = [
        "# An image found by an altered copy, beside accuracy",
        "",
        f"{options.minutes:g} minutes of one thread a run; features of {ASKED:,} test images "
        f"without labels; accuracy in percent by {LABELLED:,} labelled images on the whole test "
        "part; means over seeds. Candidates are those of `choose`; what a choice among them gains "
        "is told in points of the mean of both protocols.",
    ]
    for data, name in NAMES.items():
        of_data = [row for row in rows if row["data"] == data]
        if of_data:
            is_coloured = data == "cifar10"
            names = rules.candidates(is_coloured=is_coloured)
            lines += ["", f"## {name}", "", *report(of_data, names)]
    write_result(options.out.with_suffix(".md"), lines, "torchvision", "scipy")


if __name__ == "__main__":
    main()
