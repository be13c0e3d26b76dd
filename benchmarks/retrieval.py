"""Does finding an image by an altered copy rank algorithms as accuracy does?

    python benchmarks/retrieval.py                       # 24 algorithms, half an hour of one core
    python benchmarks/retrieval.py --algorithms rotate simclr --minutes 2

Each algorithm pretrains the narrow ResNet of `learning.py` on Fashion-MNIST by the bare two lines,
for `--minutes`. Without labels three things are asked of its features of test images: how often the
nearest of 2,000 images to an altered copy is the one that was altered, once by the mild views that
`health` compares (no algorithm's own), once by noise and a small shift; and `RankMe`. With labels:
k-NN and a linear probe. Beside them stands the untrained network with the same first weights, its
norms' statistics estimated. Written is `--out`.md: the rows, Spearman's rank correlations, and the
place of the untrained network. Runs that are done are kept in `--out`.jsonl.
"""

from __future__ import annotations

import argparse
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Split, load
from kept import keep, stored
from learning import ALGORITHMS
from provenance import write_result
from torch import Tensor, nn
from unlabelled import PROTOCOLS, correlations, places

from super_selfish.augmentations import recipe
from super_selfish.data import ImageSource
from super_selfish.evaluation import evaluate, extract_features
from super_selfish.evaluation.health.measures import rankme
from super_selfish.evaluation.norm_statistics import adapted
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import SUPERVISORS

HERE = Path(__file__).parent
ASKED = 2000  # test images among which a copy looks for its own
LABELLED = 5000
UNTRAINED = "untrained"


def mild(images: Tensor, generator: torch.Generator) -> Tensor:
    """The views that a good backbone should not mind."""
    return recipe("mild", (images.shape[2], images.shape[3]))(images, generator)


def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    """One pixel to the right and down, and noise of a twentieth of the range."""
    moved = F.pad(images, (1, 0, 1, 0), mode="replicate")[:, :, :-1, :-1]
    return (moved + 0.05 * torch.randn(moved.shape, generator=generator)).clamp(0, 1)


ALTERED = {"found by mild views": mild, "found by noise": noisy}
MEASURES = {name: itemgetter(name) for name in (*ALTERED, "RankMe")}


def found_again(features: Tensor, altered: Tensor) -> float:
    """How often the nearest of features `[N, D]` to an altered one is its own, by cosine."""
    own, others = F.normalize(altered, dim=1), F.normalize(features, dim=1)
    nearest = (own @ others.T).argmax(dim=1)
    return float((nearest == torch.arange(len(nearest))).double().mean())


def measured(network: nn.Module, images: Tensor) -> dict[str, float]:
    """What is told of a network without labels, of images `[N, C, H, W]` in [0, 1]."""
    plain = extract_features(network, images).features
    found = {}
    for name, alter in ALTERED.items():
        copies = alter(images, torch.Generator().manual_seed(0))
        found[name] = found_again(plain, extract_features(network, copies).features)
    return found | {"RankMe": rankme(plain)}


def run(name: str, parts: tuple[Split, Split], options: argparse.Namespace) -> dict[str, Any]:
    """An algorithm's row; of `UNTRAINED` that of the network before."""
    (images, labels), (test, test_labels) = parts
    torch.manual_seed(options.seed)
    backbone: nn.Module = NarrowResNet(images.shape[1], width=16)
    steps = 0
    if name == UNTRAINED:
        backbone = adapted(backbone, None, ImageSource(images), None) or backbone
    else:
        supervisor = SUPERVISORS[name](images, backbone)
        supervisor.supervise(
            epochs=1000,
            batch_size=64,
            time_limit=f"{60 * options.minutes:g}s",
            name=None,
            progress=False,
            seed=options.seed,
        )
        backbone = supervisor.get_backbone()
        steps = supervisor.run.global_step if supervisor.run is not None else 0
    rated = evaluate(
        backbone.eval(),
        (images[:LABELLED], labels[:LABELLED]),
        (test, test_labels),
        protocols=PROTOCOLS,
        untrained=None,
        start=None,
        progress=False,
    )
    found = measured(backbone, test[:ASKED].float() / 255)
    return {"algorithm": name, "seed": options.seed, "steps": steps, **found, **rated.pretrained}


def report(rows: list[dict[str, Any]]) -> list[str]:
    """Correlations, the place of the untrained network, and all rows."""
    runs = [{"algorithm": row["algorithm"], "health": row, "accuracy": row} for row in rows]
    trained = [each for each in runs if each["algorithm"] != UNTRAINED]
    untrained = [each for each in runs if each["algorithm"] == UNTRAINED]
    found = correlations(trained, MEASURES)
    placed = places(trained, untrained, MEASURES)
    lines = [
        f"| measure | rank correlation over {len(trained)} algorithms: linear | knn "
        "| place of the untrained network |",
        "|---|---:|---:|---:|",
    ]
    for measure in MEASURES:
        cells = [f"{found[measure, protocol]:+.2f}" for protocol in PROTOCOLS]
        lines.append(f"| {measure} | {' | '.join(cells)} | {placed[measure]} of {len(rows)} |")
    heads = ["algorithm", "steps", *MEASURES, *PROTOCOLS]
    lines += ["", f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in sorted(rows, key=lambda row: -row["knn"]):
        shares = [f"{100 * row[name]:.1f}" for name in ALTERED]
        rated = [f"{100 * row[name]:.1f}" for name in PROTOCOLS]
        cells = [row["algorithm"], f"{row['steps']:,}", *shares, f"{row['RankMe']:.1f}", *rated]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Runs what is not done yet, and writes what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS["fashion"])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "retrieval")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    file = options.out.with_suffix(".jsonl")
    wanted = {"seed": options.seed, "minutes": options.minutes}
    done = {row["algorithm"] for row in stored(file) if wanted.items() <= row.items()}
    missing = [name for name in (UNTRAINED, *options.algorithms) if name not in done]
    if missing:
        parts = load("fashion", options.root)
        for name in missing:
            keep(file, run(name, parts, options) | wanted)
    rows = [row for row in stored(file) if wanted.items() <= row.items()]
    lines = [
        "# An image found by an altered copy, beside accuracy",
        "",
        f"Fashion-MNIST, {options.minutes:g} minutes of one thread a run, one seed; features of "
        f"{ASKED:,} test images without labels; accuracy in percent by {LABELLED:,} labelled "
        "images on the whole test part.",
        "",
        *report(rows),
    ]
    write_result(options.out.with_suffix(".md"), lines, "torchvision", "scipy")


if __name__ == "__main__":
    main()
