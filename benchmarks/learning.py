"""Does every algorithm learn, and which learns most? All of them, by `compare`, in minutes.

    python benchmarks/learning.py --minutes 2 --seeds 0 1 2
    python benchmarks/learning.py --algorithms rotate moco --data cifar10
    python benchmarks/learning.py --network transformer --data cifar10 --minutes 3

Every run is the two lines of the README, with a narrow network (a ResNet; or, for those made for
it, a transformer of timm with patches of 4 pixels, 4 blocks and 96 features), batches of 64 images
and a limit of time (`--minutes`); all else is what the library chooses (docs/defaults.md). It sees
the training images of a data set without their labels, and is rated by a linear probe and k-NN
(10,000 labelled training images, the whole test part), beside an untrained network with the same
first weights. Runs that are done are kept in `--out`_DATA.jsonl, so an interrupted benchmark goes
on where it stopped, and one of some algorithms keeps the rows of the others. Start it several
times, and the processes share the work:

    for process in 1 2; do python benchmarks/learning.py --threads 1 & done; wait

Written are `--out`.md with a figure for each data set, and `--out`_learning.md.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from datasets import load
from provenance import provenance
from torch import nn

from super_selfish.evaluation.comparison.compare import compare
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.comparison.store import RunStore
from super_selfish.evaluation.comparison.table_cells import number, percent
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import SUPERVISORS

HERE = Path(__file__).parent
NEED_COLOUR = ("cmc", "colorization", "split_brain")
# Objects before a background: clothes on black have none, so what is put into them stands out.
NEED_SCENES = ("motion",)
NEED_TRANSFORMERS = ("mae",)
NEED_A_TEACHER = ("distillation",)  # rated by distillation.py
ELSEWHERE = {*NEED_COLOUR, *NEED_SCENES, *NEED_TRANSFORMERS, *NEED_A_TEACHER}
ALGORITHMS = {
    "fashion": [name for name in SUPERVISORS if name not in ELSEWHERE],
    "cifar10": [*NEED_COLOUR, *NEED_SCENES, "moco"],
}
LABELLED = 10_000  # training images whose labels the probe and k-NN see


def small_transformer(channels: int) -> nn.Module:
    """A vision transformer that a core trains in minutes; small crops may have another grid."""
    import timm

    network: nn.Module = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        patch_size=4,
        embed_dim=96,
        depth=4,
        num_heads=3,
        in_chans=channels,
        num_classes=0,
        global_pool="avg",
        fc_norm=False,
        dynamic_img_size=True,
    )
    return network


def compare_on(data: str, algorithms: list[str], options: argparse.Namespace) -> Comparison:
    """The comparison on one data set."""
    (images, labels), test = load(data, options.root)
    networks: dict[str, Callable[[int], nn.Module]] = {
        "resnet": functools.partial(NarrowResNet, width=options.width),
        "transformer": small_transformer,
    }
    return compare(
        algorithms,
        (images[:LABELLED], labels[:LABELLED]),
        test,
        budget=f"{options.minutes}min",
        backbone=networks[options.network],
        seeds=options.seeds,
        protocols=("linear", "knn"),
        supervise={"batch_size": 64},
        pretrain=images,
        path=store_of(data, options.out),
        progress=False,
    )


def store_of(data: str, out: Path) -> Path:
    """Where the runs on a data set are kept, without the ending."""
    return out.with_name(f"{out.name}_{data}")


def finished(data: str, options: argparse.Namespace) -> list[str]:
    """The algorithms whose runs of all seeds are kept, of this many minutes."""
    seeds: dict[str, set[int]] = {}
    for record in RunStore(store_of(data, options.out)).read().values():
        is_run = record["error"] is None and record["images"] > 0  # others are of baselines
        if is_run and abs(record["minutes"] / options.minutes - 1) < 0.1:
            seeds.setdefault(record["algorithm"], set()).add(record["seed"])
    return [name for name, found in seeds.items() if found >= set(options.seeds)]


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
                f"narrow network for {minutes:g} minutes, without labels; linear probe and k-NN "
                "see 10,000 labelled training images and are read on the whole test part. Twins "
                "have the same first weights; those of jigsaw, cmc and split_brain see images as "
                "their algorithm shows them.",
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
    parser.add_argument("--network", choices=("resnet", "transformer"), default="resnet")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, help="default: results/two_lines, or transformers")
    options = parser.parse_args()
    is_resnet = options.network == "resnet"
    if options.out is None:
        options.out = HERE / "results" / ("two_lines" if is_resnet else "transformers")
    torch.set_num_threads(options.threads)

    comparisons = {}
    for data in ALGORITHMS:
        usual = ALGORITHMS[data] if is_resnet else NEED_TRANSFORMERS
        chosen = list(usual) if data in options.data else []
        if options.algorithms is not None:
            is_asked = options.data == [data]  # else each goes where it fits
            chosen = [n for n in options.algorithms if is_asked or n in chosen]
        chosen = list(dict.fromkeys([*chosen, *finished(data, options)]))
        if chosen:
            comparisons[data] = compare_on(data, chosen, options)
            print(f"{data}\n{comparisons[data]}\n", flush=True)
    write_comparison(options.out.with_suffix(".md"), comparisons)
    learning = options.out.with_name(f"{options.out.name}_learning.md")
    write_learning(learning, comparisons, options.minutes)


if __name__ == "__main__":
    main()
