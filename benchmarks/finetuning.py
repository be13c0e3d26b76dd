"""Does pretraining help a network that learns from a few labels afterwards, as a whole?

    python benchmarks/finetuning.py --algorithm mae --minutes 3 --seeds 0 1 2

The paper of MAE judges by fine-tuning, since its features are poor for a linear probe. Here a small
transformer of timm (patches of 4 pixels, 4 blocks, 96 features; `learning.py --network transformer`
has the same) is pretrained for `--minutes` on the training images of CIFAR-10, without labels.
Then it, and the network that it began as, are trained on `--labelled` labelled images, each with
the better of two learning rates on images held out, and asked about the whole test part.

Runs that are done are kept in `--out`.jsonl, so an interrupted benchmark goes on where it stopped.
Written is `--out`.md.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load
from kept import keep, of_seeds, stored
from learning import small_transformer
from provenance import write_result

from super_selfish.evaluation import evaluate, intervals
from super_selfish.evaluation.protocols import PROTOCOLS, rate_finetune
from super_selfish.supervisors import SUPERVISORS

HERE = Path(__file__).parent
LRS = (1e-3, 5e-3)  # of the head; that of the network is three tenths of it


def run_of(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Pretrains with a seed, and fine-tunes what came of it and its beginning."""
    (images, labels), test = load("cifar10", options.root)
    torch.manual_seed(seed)
    supervisor = SUPERVISORS[options.algorithm](images, small_transformer(images.shape[1]))
    supervisor.supervise(
        epochs=1000,
        time_limit=f"{options.minutes:g}min",
        batch_size=64,
        seed=seed,
        name=None,
        progress=False,
    )
    found = evaluate(
        supervisor,
        (images[: options.labelled], labels[: options.labelled]),
        test,
        protocols=("finetune",),
        seed=seed,
        progress=False,
    )
    assert found.untrained is not None  # noqa: S101
    accuracy = {"untrained": found.untrained, "pretrained": found.pretrained}
    assert supervisor.run is not None  # noqa: S101
    return {
        "algorithm": options.algorithm,
        "seed": seed,
        "minutes": options.minutes,
        "labelled": options.labelled,
        "steps": supervisor.run.updates,
        "date": time.strftime("%F"),
        **{name: 100 * each["finetune"] for name, each in accuracy.items()},
    }


def table(runs: list[dict[str, Any]]) -> str:
    """A line for each algorithm, with the interval of the mean difference over seeds."""
    lines = [
        "| algorithm | labels | minutes | seeds | steps "
        "| from random weights | pretrained | gain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys((run["algorithm"], run["labelled"], run["minutes"]) for run in runs)
    for kind in kinds:
        same = [run for run in runs if (run["algorithm"], run["labelled"], run["minutes"]) == kind]
        cells = [kind[0], f"{kind[1]:,}", f"{kind[2]:g}", str(len(same))]
        cells.append(f"{statistics.mean(run['steps'] for run in same):,.0f}")
        cells += [of_seeds([run[name] for run in same]) for name in ("untrained", "pretrained")]
        gains = [run["pretrained"] - run["untrained"] for run in same]
        gain = f"{statistics.mean(gains):+.1f}"
        if len(gains) > 1:
            reach = intervals.of_seeds(statistics.stdev(gains), len(gains))
            mean = statistics.mean(gains)
            gain += f" [{mean - reach:+.1f}, {mean + reach:+.1f}]"
        lines.append(f"| {' | '.join([*cells, gain])} |")
    return "\n".join(lines)


def write(options: argparse.Namespace) -> None:
    """Writes the table of what is done."""
    text = [
        "# Fine-tuned on a few labels, after pretraining and from random weights",
        "",
        "Accuracy in percent on the test part of CIFAR-10, mean and standard deviation over seeds; "
        "in brackets the 95 % interval of the mean gain over seeds (Student's t). A transformer of "
        "timm with patches of 4 pixels, 4 blocks and 96 features; batches of 64 images, one "
        f"thread. Both networks are fine-tuned alike: {options.updates} updates of 32 images at "
        "most, the better of two learning rates on a fifth of the labelled images.",
        "",
        table(stored(options.out.with_suffix(".jsonl"))),
    ]
    write_result(options.out.with_suffix(".md"), text, "torchvision", "timm")


def main() -> None:
    """Does what is not done yet, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--algorithm", default="mae", choices=SUPERVISORS)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--labelled", type=int, default=1000)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "finetuning")
    options = parser.parse_args()
    torch.set_num_threads(1)
    PROTOCOLS["finetune"] = functools.partial(rate_finetune, lrs=LRS, max_updates=options.updates)
    store = options.out.with_suffix(".jsonl")
    kept = ("algorithm", "seed", "minutes", "labelled")
    done = [[run[name] for name in kept] for run in stored(store)]
    for seed in options.seeds:
        if [options.algorithm, seed, options.minutes, options.labelled] in done:
            continue
        keep(store, run_of(seed, options))
        write(options)
    write(options)


if __name__ == "__main__":
    main()
