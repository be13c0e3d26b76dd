"""What does one GPU give? Every question that only a GPU can answer, in the order of worth.

    python benchmarks/gpu.py                  # one data-centre GPU: at most fifteen minutes
    python benchmarks/gpu.py --minutes 9      # stops before its time is up; call again to go on
    python benchmarks/gpu.py --smoke          # a CPU, a minute: does it run?

Each answer is kept in `--out`.jsonl as soon as it is known, and `--out`.md is written anew, so that
a call goes on where the last one stopped. What failed is told with its error, is tried again by
the next call, and ends this one with exit status 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bare_step
import time_to_accuracy
import torch
from provenance import write_result

HERE = Path(__file__).parent
SHARE, SPEED, GOAL, MINUTES = 0.95, 1750, 0.86, 12  # what one large GPU should reach
LARGE = {"size": 224, "batch": 256, "count": 10_000, "repeat": 2}
SMALL = {"size": 32, "batch": 512, "count": 20_000, "repeat": 3}
STEPS = 20  # of a run whose synchronisations are counted; another has twice as many
# What a part may raise, memory that does not suffice included; the other parts go on.
FAULTS = (RuntimeError, ValueError, ImportError, OSError, subprocess.SubprocessError)

Answer = dict[str, Any]


@dataclass
class Question:
    """Something to measure.

    Attributes:
        part: The heading under which its answer stands.
        what: Its row.
        minutes: About what it takes on a data-centre GPU.
        ask: Measures.
    """

    part: str
    what: str
    minutes: float
    ask: Callable[[], Answer]

    @property
    def key(self) -> str:
        """By which its answer is found again."""
        return f"{self.part}: {self.what}"


def questions(options: argparse.Namespace, folder: Path) -> Iterator[Question]:
    """All of them, in the order of worth.

    Args:
        options: Of the command line.
        folder: For files of this call.
    """
    yield Question("Tests of the GPU", "pytest -m gpu", 2.0, lambda: run_tests(options))
    large = {"smoke": ["narrow-resnet"]}.get(options.mode, ["resnet50", "efficientnet-b0"])
    small = {"smoke": []}.get(options.mode, ["resnet18"])
    for networks, settings in ((large, LARGE), (small, SMALL)):
        stepping = step_options(options, settings)
        for network in networks:
            yield from speeds(network, stepping, folder)
            yield Question(
                "Memory and waiting",
                f"{network}, {stepping.size} px",
                0.5,
                lambda n=network, o=stepping: {**peak_memory(n, o), **synchronisations(n, o)},
            )
        if settings is LARGE:
            yield Question("Time to accuracy", "CIFAR-10", 6.0, lambda: accuracy(options))


def step_options(options: argparse.Namespace, settings: Mapping[str, int]) -> argparse.Namespace:
    """What `bare_step` wants to know."""
    wanted: Answer = {**settings, "epochs": 2, "seconds": 8.0, "paths": options.paths}
    if options.mode == "smoke":
        wanted |= {"size": 32, "batch": 8, "count": 64, "seconds": 0.2}
    common = {name: getattr(options, name) for name in ("device", "precision", "workers", "root")}
    return argparse.Namespace(**wanted, **common)


def speeds(network: str, options: argparse.Namespace, folder: Path) -> Iterator[Question]:
    """Images per second of every way to feed a network."""
    place = folder / f"{network}-{options.size}"
    place.mkdir()
    paths = (options.paths * options.repeat)[: options.count]
    for way, measure in bare_step.ways(network, paths, options, place).items():

        def ask(way: str = way, measure: Callable[[], float] = measure) -> Answer:
            package = bare_step.missing(way)
            return {"missing": package} if package else {"images_per_second": measure()}

        yield Question(f"Speed, {network}, {options.size} px, batch {options.batch}", way, 0.4, ask)


def run_tests(options: argparse.Namespace) -> Answer:
    """The last line of the tests marked `gpu`."""
    tests = "tests/augmentations/test_devices.py" if options.mode == "smoke" else "tests"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", tests]
    done = subprocess.run(
        command, cwd=HERE.parent, capture_output=True, text=True, timeout=400, check=False
    )
    if done.returncode not in (0, 5):  # 5: none was chosen
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-500:])
    return {"said": done.stdout.strip().splitlines()[-1].strip("= ")}


def accuracy(options: argparse.Namespace) -> Answer:
    """Minutes of MoCo v2 on CIFAR-10 to a k-NN accuracy; goes on where the last call stopped."""
    command = ["--device", options.device, "--precision", options.precision]
    if options.mode == "smoke":
        command += ["--network", "narrow-resnet", "--images", "512", "--batch", "64"]
        command += ["--epochs", "2", "--every", "1"]
    wanted = time_to_accuracy.parser_of_options().parse_args(command)
    wanted.root = options.root
    wanted.time_limit = f"{max(1.0, 60 * options.left()):.0f}s"
    marks = time_to_accuracy.train_to(wanted, f"{options.out}-accuracy")
    verdict = time_to_accuracy.verdict_on(marks, wanted.goal)
    is_done = marks and (marks[-1].knn >= wanted.goal or marks[-1].epoch >= wanted.epochs)
    return {"said": verdict, "marks": [list(mark) for mark in marks], "is_part": not is_done}


def trained(network: str, options: argparse.Namespace, steps: int) -> None:
    """A run of so many steps of images that lie on the device."""
    images = torch.randint(0, 256, (options.batch, 3, options.size, options.size)).byte()
    supervisor = bare_step.supervisor_of(network, images, options)
    supervisor.supervise(
        epochs=steps,
        batch_size=options.batch,
        precision=options.precision,
        dataset_on_device=True,
        name=None,
        progress=False,
    )


def peak_memory(network: str, options: argparse.Namespace) -> Answer:
    """GB that a step of ours allocates at most."""
    if torch.device(options.device).type != "cuda":
        return {"peak_gb": None}  # a CPU does not tell
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trained(network, options, 3)
    return {"peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def synchronisations(network: str, options: argparse.Namespace) -> Answer:
    """How often a step waits for the GPU: what a longer run waits more than a shorter one.

    Epochs of one step each, so that what is done once an epoch counts too.
    """
    if torch.device(options.device).type != "cuda":
        return {"waits_per_step": None}  # nothing runs ahead
    counts = []
    for steps in (STEPS, 2 * STEPS):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                trained(network, options, steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchronizing" in str(each.message) for each in caught))
    return {"waits_per_step": (counts[1] - counts[0]) / STEPS}


class Answers:
    """What is known, in a file of lines."""

    def __init__(self, file: Path) -> None:
        """Reads what earlier calls have found."""
        self._file = file
        lines = file.read_text().splitlines() if file.is_file() else []
        self.known: dict[str, Answer] = {each["key"]: each for each in map(json.loads, lines)}

    def is_answered(self, question: Question) -> bool:
        """Whether nothing is left to ask."""
        answer = self.known.get(question.key, {"error": ""})
        return "error" not in answer and not answer.get("is_part")

    def add(self, question: Question, answer: Answer) -> None:
        """Keeps an answer."""
        whole = {"key": question.key, "part": question.part, "what": question.what, **answer}
        self.known[question.key] = whole
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as lines:
            lines.write(json.dumps(whole) + "\n")


def page(answers: Mapping[str, Answer]) -> list[str]:
    """All that is known, as Markdown."""
    lines = ["# One GPU", "", *goals(answers)]
    parts = dict.fromkeys(answer["part"] for answer in answers.values())
    for part in parts:
        rows = [answer for answer in answers.values() if answer["part"] == part]
        lines += ["", f"## {part}", ""]
        if part.startswith("Speed"):
            lines += speed_table(rows)
        elif part.startswith("Memory"):
            lines += ["| network | peak, GB | waits for the GPU a step |", "|---|---|---|"]
            lines += [
                f"| {row['what']} | {shown(row, 'peak_gb')} | {shown(row, 'waits_per_step')} |"
                for row in rows
            ]
        else:
            for row in rows:
                lines.append(f"{row['what']}: {row.get('said', row.get('error'))}")
                marks = [time_to_accuracy.Mark(*mark) for mark in row.get("marks", [])]
                lines += ["", *time_to_accuracy.table_of(marks)] if marks else []
    return lines


def shown(row: Answer, name: str) -> str:
    """A number of an answer; what failed says so."""
    if "error" in row:
        return f"failed: {row['error'].splitlines()[-1]}"
    return "-" if row[name] is None else f"{row[name]:.1f}"


def speed_table(rows: list[Answer]) -> list[str]:
    """Images per second, and what share of the bare step."""
    bare = next(
        (row.get("images_per_second") for row in rows if row["what"] == bare_step.BARE), None
    )
    lines = ["| way | images/s | share of the bare step |", "|---|---|---|"]
    for row in rows:
        speed = row.get("images_per_second")
        if speed is None:
            why = f"{row['missing']} is not installed" if "missing" in row else shown(row, "")
            lines.append(f"| {row['what']} | {why} | |")
        else:
            share = "-" if bare is None else f"{speed / bare:.0%}"
            lines.append(f"| {row['what']} | {speed:.0f} | {share} |")
    return lines


def goals(answers: Mapping[str, Answer]) -> list[str]:
    """What one large GPU should reach, beside what it did."""
    lines = ["| goal | asked | reached |", "|---|---|---|"]
    for part in dict.fromkeys(a["part"] for a in answers.values() if a["part"].startswith("Speed")):
        speed_of = {
            answer["what"]: answer.get("images_per_second")
            for answer in answers.values()
            if answer["part"] == part
        }
        bare, cached = speed_of.get(bare_step.BARE), speed_of.get("supervise(), cache")
        if bare and cached:
            lines.append(
                f"| {part}: share of the bare step, cache | {SHARE:.0%} | {cached / bare:.0%} |"
            )
            if "224" in part:
                lines.append(f"| {part}: images/s, cache | {SPEED:,} | {cached:,.0f} |")
    for answer in answers.values():
        if answer.get("waits_per_step") is not None:
            lines.append(f"| waits a step, {answer['what']} | 0 | {answer['waits_per_step']:.1f} |")
        if answer["part"] == "Time to accuracy":
            asked = f"k-NN {GOAL} within {MINUTES} minutes"
            lines.append(f"| CIFAR-10 | {asked} | {answer.get('said', 'failed')} |")
    return lines


def main() -> int:
    """Asks what is not answered yet."""
    began = time.monotonic()
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--precision", default="bf16" if has_gpu else "fp32")
    parser.add_argument("--workers", type=int, default=14 if has_gpu else 0)
    parser.add_argument("--minutes", type=float, default=15.0, help="at most, of this call")
    parser.add_argument("--images", type=Path, help="a folder of JPEG files; default: Imagenette")
    default_root = HERE.parent.parent / "shared" / "datasets"
    parser.add_argument("--root", type=Path, default=default_root)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu")
    parser.add_argument(
        "--smoke", dest="mode", action="store_const", const="smoke", default="whole"
    )
    options = parser.parse_args()
    options.left = lambda: options.minutes - (time.monotonic() - began) / 60
    answers = Answers(options.out.with_suffix(".jsonl"))
    left_over = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        options.paths = bare_step.files_of(options.images, options.root, Path(folder) / "jpeg")
        for question in questions(options, Path(folder)):
            if answers.is_answered(question):
                continue
            if options.left() < min(question.minutes, 1.0) and options.mode != "smoke":
                left_over += 1
                continue
            try:
                answer = question.ask()
            except FAULTS as error:  # told, kept, and tried again by the next call
                answer = {"error": f"{type(error).__name__}: {error}"}
                failed += 1
            answers.add(question, answer)
            print(question.key, json.dumps(answer)[:200], flush=True)
            lines = page(answers.known)
            write_result(options.out.with_suffix(".md"), lines, "torchvision")
    print(f"{failed} failed, {left_over} left for the next call")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
