"""Which algorithm should `pretrain` take where nobody names one? By `pretrain` itself.

    python benchmarks/defaults.py                  # three quarters of an hour of one core a seed
    python benchmarks/defaults.py --data imagenette --algorithms simclr moco --minutes 10

Each algorithm has the same call: `pretrain(images, time=...)` on one thread, with everything else
left to the rules, so that a costly step pays for itself by fewer updates or smaller images. Rated
is what the call rates: k-NN and linear probe on test images of the set, beside an untrained
network. Written is `--out`.md; calls that are done are kept in `--out`.jsonl.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from kept import by_algorithm, keep, of_seeds, stored
from learning import HERE
from provenance import write_result
from recipes import opened

from super_selfish import pretrain

# Those that stood best in `results/two_lines.md` and `results/retrieval.md`, one of each family,
# and the one that the rules name.
ALGORITHMS = ("simclr", "lejepa", "pirl", "exemplar", "vicreg", "rotate")
NAMES = {"cifar10": "CIFAR-10", "imagenette": "Imagenette, 128 pixels"}
IMAGES, TESTED = 10_000, 2000
PROTOCOLS = ("knn", "linear")


def run(data: str, name: str, seed: int, minutes: float, root: Path) -> dict[str, Any]:
    """What one call came to."""
    (images, labels), (test, test_labels) = opened(data, root, 128)
    with tempfile.TemporaryDirectory() as folder:
        outcome = pretrain(
            (images[:IMAGES], labels[:IMAGES]),
            folder,
            time=f"{60 * minutes:g}s",
            test=(test[:TESTED], test_labels[:TESTED]),
            algorithm=name,
            seed=seed,
            device="cpu",
            progress=False,
        )
    done, rated = outcome.supervisor.run, outcome.evaluation
    assert done is not None and rated is not None  # noqa: S101
    height, width = outcome.choices.image_size
    return {
        "data": data,
        "algorithm": name,
        "seed": seed,
        "minutes": minutes,
        "network": f"{outcome.choices.backbone} at {height}x{width}",
        "steps": done.global_step,
        "pretrained": rated.pretrained,
        "untrained": rated.untrained,
    }


def report(rows: list[dict[str, Any]]) -> list[str]:
    """A row for each algorithm, the one that gained most first."""
    heads = ["algorithm", "network", "steps", *PROTOCOLS, *(f"{p} gained" for p in PROTOCOLS)]
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 2)]
    by_gain = sorted(by_algorithm(rows).items(), key=lambda each: -fmean(map(gain, each[1])))
    for name, group in by_gain:
        cells = [name, ", ".join(dict.fromkeys(row["network"] for row in group))]
        cells.append(f"{fmean(row['steps'] for row in group):,.0f}")
        cells += [of_seeds([100 * row["pretrained"][p] for row in group]) for p in PROTOCOLS]
        cells += [of_seeds([100 * gain(row, p) for row in group]) for p in PROTOCOLS]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def gain(row: dict[str, Any], *protocols: str) -> float:
    """What an algorithm gained over the untrained network, the mean over protocols."""
    return fmean(row["pretrained"][p] - row["untrained"][p] for p in protocols or PROTOCOLS)


def main() -> None:
    """Makes the calls that are not made yet, and writes what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=NAMES, default=["imagenette", "cifar10"])
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "defaults")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    file = options.out.with_suffix(".jsonl")
    keys = ("data", "seed", "algorithm", "minutes")
    for seed in options.seeds:
        for data in options.data:
            for name in options.algorithms:
                done = [tuple(row[key] for key in keys) for row in stored(file)]
                if (data, seed, name, options.minutes) not in done:
                    keep(file, run(data, name, seed, options.minutes, options.root))
    rows = [row for row in stored(file) if row["minutes"] == options.minutes]
    lines = [
        "# Which algorithm should `pretrain` take?",
        "",
        f"The same call for each, `pretrain(images, time=...)` of {options.minutes:g} minutes of "
        f"one thread, rating included. In percent on {TESTED:,} test images, mean and standard "
        "deviation over seeds; gained: over the untrained network, in points.",
    ]
    for data, title in NAMES.items():
        of_data = [row for row in rows if row["data"] == data]
        if of_data:
            lines += ["", f"## {title}", "", *report(of_data)]
    write_result(options.out.with_suffix(".md"), lines, "torchvision")


if __name__ == "__main__":
    main()
