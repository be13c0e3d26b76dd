"""What other libraries publish for small images, trained here with their settings, row by row.

    python benchmarks/published.py --setting lightly-cifar10 --list     # rows, shortest first
    python benchmarks/published.py --setting lightly-cifar10 --rows 1   # the shortest one
    python benchmarks/published.py --setting solo-cifar100 --methods moco byol --data FOLDER
    python benchmarks/published.py --smoke     # each method of each table, tiny, in a minute

The settings are in `published_settings.py`. After every epoch (`--every`) k-NN with k = 200 and
T = 0.1 tells what features of the test part are worth; beside the published number, which is the
maximum over epochs for lightly's tables, stand ours of the last epoch and our maximum, which looks
at the test part and flatters as theirs does. At the end a linear head on frozen features, whose
penalty is chosen on training images. With images/s and minutes of training alone.

A run that was stopped goes on when it is called again, from its last checkpoint in `--out`/; rows
that are done are kept in `--out`.jsonl. `--data` holds `cifar-10-batches-py` (or the sheets that
`datasets.py` knows), `cifar-100-python`, `imagenette2-160/train` and `/val`.

These rows take hours of a GPU. On a CPU it measures a few steps, says how long they would take, and
stops, unless `--anyway`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import load
from provenance import write_result
from published_settings import recipe_of
from published_tables import SETTINGS, Row, rows_of
from torch import Tensor, nn

from super_selfish.data import ImageSource, photographs
from super_selfish.evaluation import extract_features, knn_accuracy, linear_probe
from super_selfish.models import NarrowResNet, TorchvisionFeatures
from super_selfish.training import Callback
from super_selfish.training.checkpoint import checkpoint_path

HERE = Path(__file__).parent
NEIGHBOURS, TEMPERATURE = 200, 0.1
SMOKE_EPOCHS = 1
PROBED = 3  # steps by which a CPU is measured
EXPECTED = {
    "cifar10": "cifar-10-batches-py (or cifar10/*.webp)",
    "cifar100": "cifar-100-python, with train and test",
    "imagenette": "imagenette2-160, with train and val",
}


class Data(NamedTuple):
    """A data set, and how large its images are."""

    train: ImageSource
    train_labels: Tensor
    test: ImageSource
    test_labels: Tensor
    size: int


def open_data(row: Row, root: Path) -> Data:
    """The data set of a row; ends in words where it is missing."""
    setting = SETTINGS[row.setting]
    try:
        if setting.data == "imagenette":
            parts = [ImageSource(root / "imagenette2-160" / p, 128, 3) for p in ("train", "val")]
            pairs = [(part, part.items.labels) for part in parts]
        else:
            splits = load(setting.data, root)
            pairs = [(ImageSource(images), labels) for images, labels in splits]
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"{row.setting} needs {setting.data}: give the folder that holds "
            f"{EXPECTED[setting.data]} as --data, which is {root} now ({error})"
        ) from error
    (train, train_labels), (test, test_labels) = pairs
    return Data(train, train_labels, test, test_labels, setting.size)


def smoke_data() -> Data:
    """Some patches of photographs in place of any data set."""
    parts = [photographs(32, split=part, per_photograph=5) for part in ("train", "test")]
    train, test = ((ImageSource(part.images), part.labels) for part in parts)
    return Data(*train, *test, 32)


def backbone_of(row: Row, *, tiny: bool) -> nn.Module:
    """ResNet-18, for images of 32 pixels with a first convolution of 3x3 and no pooling."""
    if tiny:
        return NarrowResNet(width=8)
    size = SETTINGS[row.setting].size
    return TorchvisionFeatures("resnet18", 3, (size, size))


class Watch(Callback):
    """Adds the k-NN accuracy of the test part to epochs; nothing is chosen by it."""

    def __init__(self, data: Data, every: int, epochs: int) -> None:
        """Takes the data, and after how many epochs to look; the last is always looked at."""
        self.data, self.every, self.epochs = data, every, epochs

    def on_epoch(self, supervisor: Any, row: dict[str, Any]) -> None:
        """Measures."""
        if int(row["epoch"]) % self.every and int(row["epoch"]) < self.epochs:
            return
        train, test = features_of(supervisor, self.data)
        row["knn_test"] = knn_accuracy(
            train,
            self.data.train_labels,
            test,
            self.data.test_labels,
            k=min(NEIGHBOURS, len(train) // 2),
            temperature=TEMPERATURE,
        )


def features_of(supervisor: Any, data: Data) -> tuple[Tensor, Tensor]:
    """Features of both parts, where the network is."""
    device = next(supervisor.get_backbone().parameters()).device
    train, test = (
        extract_features(supervisor, part).features.to(device) for part in (data.train, data.test)
    )
    return train, test


def run(row: Row, data: Data, options: argparse.Namespace, device: str) -> dict[str, Any]:
    """Trains a row, or goes on with it, and says what it reached."""
    asked = dataclasses.replace(row, epochs=SMOKE_EPOCHS, batch=16) if options.smoke else row
    network = backbone_of(row, tiny=options.smoke)
    recipe = recipe_of(asked, data.size, len(data.train), network.num_features)
    torch.manual_seed(options.seed)
    supervisor = recipe.build(data.train, network).to(device)
    name = options.out / row.key
    supervisor.supervise(
        lr=recipe.lr,
        optimizer=recipe.optimizer,
        lr_scheduler=recipe.schedule,
        epochs=asked.epochs,
        batch_size=asked.batch,
        num_workers=options.workers,
        name=name,
        resume=checkpoint_path(name).is_file(),
        precision=options.precision,
        callbacks=[Watch(data, options.every, asked.epochs)],
        progress=not options.smoke,
        seed=options.seed,
    )
    rows = supervisor.history
    if len(rows) < asked.epochs:
        raise SystemExit(f"{row.key} stopped in epoch {len(rows) + 1}: call again to go on")
    seen = {int(r["epoch"]): float(r["knn_test"]) for r in rows if r.get("knn_test") is not None}
    train, test = features_of(supervisor, data)
    probe = linear_probe(train, data.train_labels, test, data.test_labels)
    seconds = sum(float(r["seconds"]) for r in rows)
    best = max(seen, key=lambda epoch: seen[epoch])
    return {
        "key": row.key,
        "knn": seen[max(seen)],
        "best_knn": seen[best],
        "best_epoch": best,
        "linear": probe.accuracy,
        "images_per_second": len(data.train) * len(rows) / seconds,
        "minutes": seconds / 60,
        "epochs": len(rows),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "date": datetime.date.today().isoformat(),
    }


def estimate(row: Row, data: Data) -> float:
    """Hours that a row would take here, by a few steps of a small batch; without the k-NN."""
    setting = SETTINGS[row.setting]
    network = backbone_of(row, tiny=False)
    some = data.train.subset(list(range(16 * PROBED)))
    supervisor = recipe_of(row, setting.size, len(data.train), network.num_features).build(
        some, network
    )
    options = {"batch_size": 16, "name": None, "progress": False}
    supervisor.supervise(epochs=1, **options)  # the first steps are slow
    start = time.perf_counter()
    supervisor.supervise(epochs=1, **options)
    return (time.perf_counter() - start) / len(some) * setting.images * row.epochs / 3600


def refuse_cpu(rows: list[Row], data: Data) -> None:
    """Says how long the first row would take, and ends."""
    hours = estimate(rows[0], data)
    raise SystemExit(
        f"{rows[0].key} would take about {hours:,.0f} hours ({hours / 24:,.0f} days) on this CPU "
        f"({torch.get_num_threads()} thread(s)), and {len(rows) - 1} more rows at least as much "
        "each: run it where there is a GPU, or give --anyway, or --smoke to see that it works"
    )


def done_before(path: Path) -> dict[str, dict[str, Any]]:
    """What each row reached that was done before, by its key."""
    if not path.is_file():
        return {}
    records = (json.loads(line) for line in path.read_text().splitlines())
    return {record["key"]: record for record in records}


def page(rows: list[Row], records: dict[str, dict[str, Any]], *, smoke: bool) -> list[str]:
    """The table, and what is not as published."""
    lines = ["# Published tables, trained here", ""]
    if smoke:
        lines += ["**Not the real thing**: tiny networks on a few patches, for one epoch.", ""]
    header = ["table", "method", "batch", "epochs", "published", "figure", "k-NN, last epoch"]
    header += ["k-NN, best epoch", "linear, last epoch", "images/s", "minutes", "their minutes"]
    lines += ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] * len(header)) + " |"]
    for row in rows:
        figure = SETTINGS[row.setting].figure
        cells = [row.setting, row.method, row.batch, row.epochs, f"{100 * row.published:.1f}"]
        cells.append("best k-NN" if figure == "knn" else "online linear")
        found = records.get(row.key)
        if found is None:
            cells += ["", "", "", "", ""]
        else:
            cells += [f"{100 * found['knn']:.1f}"]
            cells += [f"{100 * found['best_knn']:.1f} ({found['best_epoch']})"]
            cells += [f"{100 * found['linear']:.1f}", f"{found['images_per_second']:,.0f}"]
            cells.append(f"{found['minutes']:,.1f}")
        cells.append("" if row.minutes is None else f"{row.minutes:,.0f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        "Accuracies in %. Their minutes: of an A6000, k-NN included. Not as published:",
        "",
    ]
    names = dict.fromkeys(row.setting for row in rows)
    lines += [f"- {name}: {text}" for name in names for text in SETTINGS[name].differs]
    told = dict.fromkeys((row.method, row.differs) for row in rows if row.differs)
    lines += [f"- {method}: {text}" for method, text in told]
    return lines


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--setting", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", default=[], help="only these")
    parser.add_argument("--rows", type=int, help="so many rows, the shortest first; default: all")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "datasets")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "published")
    parser.add_argument("--every", type=int, default=1, help="epochs from k-NN to k-NN")
    parser.add_argument("--workers", type=int, default=8, help="processes that load images")
    parser.add_argument("--precision", default="fp32", help="as for supervise(); solo-learn: fp16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="say which rows there are, and end")
    parser.add_argument("--anyway", action="store_true", help="also on a CPU")
    parser.add_argument("--smoke", action="store_true", help="a tiny network, one epoch a row")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    """Trains the rows that are not done yet, and writes the table after each."""
    options = arguments(given)
    rows = [row for name in options.setting for row in rows_of(name, options.methods)]
    if options.smoke:  # one of each method; batch and epochs are no others then
        first: dict[tuple[str, str], Row] = {}
        for row in rows:
            first.setdefault((row.setting, row.method), row)
        rows = list(first.values())
    rows = rows[: options.rows]
    if not rows:
        raise SystemExit(f"no row has such methods: {', '.join(options.methods)}")
    if options.list:
        print("\n".join(f"{r.key}: {100 * r.published:.1f} % published" for r in rows))
        return
    if options.smoke:
        options.workers = 0
        with tempfile.TemporaryDirectory() as folder:
            if options.out == HERE / "results" / "published":
                options.out = Path(folder) / "published"
            train_all(rows, options)
        return
    train_all(rows, options)


def train_all(rows: list[Row], options: argparse.Namespace) -> None:
    """Trains the rows that are not done yet, and writes the table after each."""
    device = "cuda" if torch.cuda.is_available() and not options.smoke else "cpu"
    kept = options.out.with_name(options.out.name + ".jsonl")
    kept.parent.mkdir(parents=True, exist_ok=True)
    records = done_before(kept)
    known: dict[str, Data] = {}
    for row in rows:
        if row.key in records:
            print(f"{row.key}: done before")
            continue
        if row.setting not in known:
            known[row.setting] = smoke_data() if options.smoke else open_data(row, options.data)
        if device == "cpu" and not (options.smoke or options.anyway):
            refuse_cpu([r for r in rows if r.key not in records], known[row.setting])
        records[row.key] = run(row, known[row.setting], options, device)
        with kept.open("a") as file:
            file.write(json.dumps(records[row.key]) + "\n")
        write_result(kept.with_suffix(".md"), page(rows, records, smoke=options.smoke))
        found = records[row.key]
        print(
            f"{row.key}: k-NN {100 * found['knn']:.1f} % (best {100 * found['best_knn']:.1f}), "
            f"linear {100 * found['linear']:.1f} %, published {100 * row.published:.1f} %"
        )
    print("\n".join(page(rows, records, smoke=options.smoke)))


if __name__ == "__main__":
    main()
