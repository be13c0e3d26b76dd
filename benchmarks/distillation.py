"""Does a small network learn more from a larger one than by itself, in the same time?

    python benchmarks/distillation.py --seconds 25 --teacher-seconds 120 --seeds 0 1 2

A narrow ResNet (`--teacher-width`) is pretrained on the training images of CIFAR-10, without
labels, for `--teacher-seconds` of processor time, once. Then for each seed a narrower one
(`--width`) has `--seconds`: alone, by the algorithm that pretrained the teacher, or taught by it.
All, and the untrained twins, are rated by a linear probe and k-NN on 10,000 labelled training
images and the whole test part. Time is that of the processor, one thread, since the clock of a
shared machine says little; augmentation and the teacher's passes count, its training does not.

Runs that are done are kept in `--out`.jsonl, so an interrupted benchmark goes on where it stopped.
Written is `--out`.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load
from kept import keep, of_seeds, stored
from provenance import provenance
from torch import Tensor

from super_selfish.evaluation import evaluate
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import SUPERVISORS, DistillationSupervisor, Supervisor
from super_selfish.training import Callback
from super_selfish.training.callbacks import Step

HERE = Path(__file__).parent
LABELLED = 10_000  # training images whose labels the probe and k-NN see
PROTOCOLS = ("linear", "knn")
TEACHER = "teacher"
ROWS = {
    "teacher": "the teacher, by {algorithm} for {seconds:g} seconds",
    "alone": "the student, by {algorithm}",
    "taught": "the student, taught by the teacher",
    "taught, raw": "the same, `standardize=False`",
    "taught, classes": "the same, with `pseudo_classes=4096`",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "taught": {},
    "taught, raw": {"standardize": False},
    "taught, classes": {"pseudo_classes": 4096},
}


class Until(Callback):
    """Ends a run once this process has computed for so long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.steps = 0
        self._began = 0.0

    def on_step(self, supervisor: Any, step: Step) -> None:
        """Counts, and looks at the processor's clock."""
        self._began = self._began or time.process_time()
        self.steps += 1
        if time.process_time() - self._began >= self.seconds:
            supervisor.run.stop("the time of the processor")


def trained(supervisor: Supervisor, seconds: float, seed: int) -> int:
    """Trains for a time of the processor; the steps that were made."""
    until = Until(seconds)
    supervisor.supervise(
        epochs=1000, batch_size=64, seed=seed, name=None, progress=False, callbacks=[until]
    )
    return until.steps


def drawn(width: int, seed: int) -> NarrowResNet:
    """A network with the first weights of a seed."""
    torch.manual_seed(seed)
    return NarrowResNet(3, width)


def measured(
    row: str, seed: int, images: Tensor, teacher: Supervisor, options: argparse.Namespace
) -> tuple[Supervisor, int]:
    """The student of a row, and its steps."""
    student = drawn(options.width, seed)
    supervisor: Supervisor
    if row == "alone":
        supervisor = SUPERVISORS[options.algorithm](images, student)
    else:
        supervisor = DistillationSupervisor(images, student, teacher=teacher, **SETTINGS[row])
    return supervisor, trained(supervisor, options.seconds, seed)


def run_seed(seed: int, store: Path, options: argparse.Namespace) -> None:
    """Does what is not done yet of a seed."""
    done = {each["row"] for each in stored(store) if each["seed"] == seed or each["row"] == TEACHER}
    wanted = [row for row in options.rows if row not in done]
    if not wanted:
        return
    (images, labels), test = load("cifar10", options.root)
    labelled = (images[:LABELLED], labels[:LABELLED])
    kind = SUPERVISORS[options.algorithm]
    teacher: Supervisor = kind(images, drawn(options.teacher_width, 0))
    steps = 0
    if options.teacher.with_suffix(".pt").exists():
        teacher.load(options.teacher)
    else:
        steps = trained(teacher, options.teacher_seconds, 0)
        teacher.save(options.teacher)
    for row in wanted:
        rated, made = (
            (teacher, steps) if row == TEACHER else measured(row, seed, images, teacher, options)
        )
        # The untrained twin of all students is one.
        has_twin = row in (TEACHER, "alone")
        twin = {} if has_twin else {"untrained": None}
        found = evaluate(rated, labelled, test, protocols=PROTOCOLS, progress=False, **twin)
        accuracy = {f"pretrained {p}": found.pretrained[p] for p in PROTOCOLS}
        if has_twin and found.untrained is not None:
            accuracy |= {f"untrained {p}": found.untrained[p] for p in PROTOCOLS}
        run = {"row": row, "seed": seed, "steps": made, "date": time.strftime("%F"), **accuracy}
        keep(store, run)


def table(runs: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """A line for each row, mean and deviation over seeds."""
    lines = [
        "| network | seeds | steps | probe untrained | probe | k-NN untrained | k-NN |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, words in ROWS.items():
        of_row = [run for run in runs if run["row"] == row]
        if not of_row:
            continue
        cells = [
            words.format(seconds=options.teacher_seconds, algorithm=options.algorithm),
            str(len(of_row)),
            f"{statistics.mean(run['steps'] for run in of_row):.0f}",
        ]
        for protocol in PROTOCOLS:
            for network in ("untrained", "pretrained"):
                key = f"{network} {protocol}"
                values = [100 * run[key] for run in of_row if key in run]
                if not values:
                    cells.append("as above")
                    continue
                cells.append(of_seeds(values))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(runs: list[dict[str, Any]]) -> str:
    """By how much those that were taught are better than alone, seed by seed."""
    by = {(run["row"], run["seed"]): run for run in runs}
    lines = []
    for row in SETTINGS:
        seeds = sorted(seed for name, seed in by if name == row and ("alone", seed) in by)
        if not seeds:
            continue
        parts = []
        for protocol, words in zip(PROTOCOLS, ("probe", "k-NN"), strict=True):
            key = f"pretrained {protocol}"
            gains = [100 * (by[row, s][key] - by["alone", s][key]) for s in seeds]
            parts.append(f"{words} {', '.join(f'{gain:+.1f}' for gain in gains)}")
        lines.append(f"- {row}: {'; '.join(parts)} points (seeds {', '.join(map(str, seeds))})")
    return "\n".join(lines)


def main() -> None:
    """Does what is not done yet, and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=25.0, help="of the processor, a student")
    parser.add_argument("--teacher-seconds", type=float, default=120.0)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=[TEACHER, "alone", "taught"])
    parser.add_argument("--algorithm", default="simclr", choices=SUPERVISORS)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--teacher-width", type=int, default=16)
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "distillation")
    parser.add_argument("--teacher", type=Path, default=Path("store/distillation-teacher"))
    options = parser.parse_args()
    torch.set_num_threads(1)

    store = options.out.with_suffix(".jsonl")
    for seed in options.seeds:
        run_seed(seed, store, options)
    runs = stored(store)
    if not runs:
        return
    options.out.with_suffix(".md").write_text(
        "\n".join(
            [
                "# A small network taught by a larger one, beside itself alone",
                "",
                "Accuracy in percent on CIFAR-10, mean and standard deviation over seeds; linear "
                "probe and k-NN on 10,000 labelled training images and the whole test part. "
                f"Students are narrow ResNets of width {options.width}, each for "
                f"{options.seconds:g} seconds of processor time, batches of 64, one thread; the "
                f"teacher, one for all, is one of width {options.teacher_width}, whose "
                f"{options.teacher_seconds:g} seconds came before.",
                "",
                table(runs, options),
                "",
                "By how much the taught ones are better than the one alone, seed by seed:",
                "",
                differences(runs),
                "",
                provenance("torchvision"),
                "",
            ]
        )
    )


if __name__ == "__main__":
    main()
