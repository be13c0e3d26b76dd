"""Does every algorithm learn? Each one, pretrained for minutes, beside an untrained twin.

    python benchmarks/learning.py --minutes 2 --seeds 3
    python benchmarks/learning.py --algorithms rotate moco --data cifar10

Every run pretrains a narrow network for `--minutes` on the training images of a data set, without
their labels, and is rated by a linear probe and k-NN (10,000 labelled training images, the whole
test part). Runs that are done are kept in `--out`.jsonl, so an interrupted benchmark goes on where
it stopped, and several processes may share the work (`--seeds 0 1` and `--seeds 2`). The table is
written to `--out`.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torchvision
from datasets import load
from torch import nn

from super_selfish import __version__
from super_selfish.evaluation import evaluate
from super_selfish.models import ImageDecoder, NarrowResNet
from super_selfish.models.bottlenecks import ChannelwiseLinear
from super_selfish.models.discriminators import (
    DiscriminatorFeatures,
    ImageDiscriminator,
    PairDiscriminator,
)
from super_selfish.supervisors import SUPERVISORS

HERE = Path(__file__).parent
NEED_COLOUR = {"cmc", "split_brain"}
UNTRAINED = "untrained"
LABELLED = 10_000  # training images whose labels the probe and k-NN see

# Where the library's default is made for days on a GPU: what minutes on a core want instead. The
# mathematics stays; these are sizes, rates and lengths of memory.
CONSTRUCTOR: dict[str, dict[str, Any]] = {
    "moco": {"momentum": 0.99},
    "byol": {"momentum": 0.96},
    "instance": {"augmentation": "paper"},
    "pirl": {"augmentation": "paper"},
    "cmc": {"augmentation": "paper"},
}
SUPERVISE: dict[str, dict[str, Any]] = {}
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
        decoder = ImageDecoder(32, channels, widths, size=size, map_size=grid)
        features = DiscriminatorFeatures(channels, size, widths[::-1], norm=False)
        return {
            "generator": nn.Sequential(decoder, nn.Sigmoid()),
            "discriminator": PairDiscriminator(features, features.num_features, 128, (128, 64)),
        }
    return {}


def run(algorithm: str, data: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Pretrains once and rates the backbone; `"untrained"` rates one that has learned nothing."""
    (train, labels), test = load(data, options.root)
    torch.manual_seed(seed)
    backbone = NarrowResNet(train.shape[1], options.width)
    labelled = (train[:LABELLED], labels[:LABELLED])
    result = {
        "algorithm": algorithm,
        "data": data,
        "seed": seed,
        "minutes": 0.0 if algorithm == UNTRAINED else options.minutes,
        "width": options.width,
    }
    if algorithm == UNTRAINED:
        return {**result, "accuracy": evaluate(backbone, labelled, test, untrained=None).pretrained}
    supervisor = SUPERVISORS[algorithm](
        train[: IMAGES.get(algorithm)],
        backbone=backbone,
        **narrow_parts(algorithm, options.width, train.shape[1]),
        **CONSTRUCTOR.get(algorithm, {}),
    )
    settings = {"lr": 1e-3, "batch_size": 64, **SUPERVISE.get(algorithm, {})}
    supervisor.supervise(
        **settings, epochs=1000, name=None, seed=seed, time_limit=f"{options.minutes}min"
    )
    result["steps"] = supervisor.run.global_step
    if isinstance(supervisor.preprocess, nn.Identity):
        rated = evaluate(supervisor, labelled, test, untrained=None)
        return {**result, "accuracy": rated.pretrained}
    # What sees images in another way, as gray ones, has a twin that sees them in the same way.
    torch.manual_seed(seed)
    same = NarrowResNet(train.shape[1], options.width)
    rated = evaluate(supervisor, labelled, test, untrained=same)
    return {**result, "accuracy": rated.pretrained, "untrained": rated.untrained}


def table(runs: Iterable[dict[str, Any]]) -> str:
    """Mean and spread over seeds, a row for each algorithm and data set."""
    untrained = {}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in runs:
        if result["algorithm"] == UNTRAINED:
            untrained[twin(result)] = result
        else:
            groups.setdefault((result["data"], result["algorithm"]), []).append(result)
    lines = [
        "| data | algorithm | seeds | steps | probe untrained | probe pretrained | difference "
        "| k-NN untrained | k-NN pretrained | difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (data, algorithm), group in sorted(groups.items()):
        cells = [data, algorithm, str(len(group))]
        cells.append(f"{statistics.mean(result['steps'] for result in group):.0f}")
        for protocol in ("linear", "knn"):
            before = [
                100 * result.get("untrained", untrained[twin(result)]["accuracy"])[protocol]
                for result in group
            ]
            after = [100 * result["accuracy"][protocol] for result in group]
            gain = [b - a for a, b in zip(before, after, strict=True)]
            cells += [spread(before), spread(after), f"**{spread(gain, signed=True)}**"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def twin(result: dict[str, Any]) -> tuple[Any, ...]:
    """What a run shares with that of its untrained twin: the very same first weights."""
    return tuple(result[name] for name in ("data", "seed", "width"))


def spread(values: list[float], signed: bool = False) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{'+' if signed else ''}.1f} ± {deviation:.1f}"


def report(runs: list[dict[str, Any]], command: str) -> str:
    """The table with what one needs to repeat it."""
    minutes = sorted({result["minutes"] for result in runs} - {0.0})
    return "\n".join(
        [
            "# Every algorithm beside an untrained twin",
            "",
            "Accuracy in percent, mean and standard deviation over seeds. Each run pretrains a "
            f"narrow ResNet for {', '.join(str(m) for m in minutes)} minutes on one core, "
            "without labels; linear probe and k-NN see 10,000 labelled training images and are "
            "read on the whole test part.",
            "",
            table(runs),
            "",
            f"Command: `{command}`. Date: {datetime.date.today()}. "
            f"super-selfish {__version__}, torch {torch.__version__}, "
            f"torchvision {torchvision.__version__}, Python {platform.python_version()}, "
            f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} thread(s).",
            "",
        ]
    )


def main() -> None:
    """Does what is not done yet, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--algorithms", nargs="+", default=sorted(SUPERVISORS))
    parser.add_argument("--data", nargs="+", default=["fashion", "cifar10"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "learning")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    store = options.out.with_suffix(".jsonl")

    for seed in options.seeds:
        for data in options.data:
            for algorithm in [UNTRAINED, *options.algorithms]:
                if algorithm in NEED_COLOUR and data == "fashion":
                    continue
                minutes = 0.0 if algorithm == UNTRAINED else options.minutes
                key = (algorithm, data, seed, minutes, options.width)
                if key in {identity(result) for result in read(store)}:
                    continue
                result = run(algorithm, data, seed, options)
                with store.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print(json.dumps(result), flush=True)
    command = " ".join(["python", os.path.relpath(__file__), *sys.argv[1:]])
    text = report(read(store), command)
    options.out.with_suffix(".md").write_text(text)
    print(text)


def identity(result: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a run the same run."""
    return tuple(result[name] for name in ("algorithm", "data", "seed", "minutes", "width"))


def read(store: Path) -> list[dict[str, Any]]:
    """The runs that are done."""
    if not store.is_file():
        return []
    return [json.loads(line) for line in store.read_text().splitlines()]


if __name__ == "__main__":
    main()
