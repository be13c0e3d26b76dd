"""What does memory cost on this machine, and what do three ways to keep it bring?

    python benchmarks/allocator.py

Large tensors come from the system page by page, and on many virtual machines a page costs as much
as the arithmetic on it. `supervise()` and everything that computes features keep freed memory on a
CPU (`kept_memory`); two settings of the environment ask for large pages, for any program. Runs
EfficientNet-B0 in fresh processes with each of them, in turns, and prints the line to paste where
one helps. Writes `benchmarks/results/allocator.md`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from provenance import write_result

from super_selfish.training.allocator import kept_memory

HERE = Path(__file__).parent
PLAIN, KEPT = "as it comes", "`kept_memory()`, as in `supervise()` and `evaluate()`"
SETTINGS: dict[str, dict[str, str]] = {  # variables of the environment
    PLAIN: {},
    "THP_MEM_ALLOC_ENABLE": {"THP_MEM_ALLOC_ENABLE": "1"},
    "GLIBC_TUNABLES": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    KEPT: {},
}
WORTH_IT = 1.05


def median_time(call: Callable[[], object], repeats: int) -> float:
    """Seconds of a call, after two to warm up. The median: a page is dear now and then."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def time_here(options: argparse.Namespace) -> str:
    """Seconds of a training step and of a forward pass in this process."""
    from networks import ours, step_of

    torch.set_num_threads(options.threads)
    network = ours()
    images = torch.rand(options.batch, 3, options.size, options.size)

    def forward() -> None:
        with torch.inference_mode():
            network.eval()(images)

    with kept_memory() if options.kept else nullcontext():
        step = step_of(network, options.size, options.batch, fused=True)
        return f"{median_time(step, options.repeats)} {median_time(forward, options.repeats)}"


def time_apart(name: str, options: argparse.Namespace) -> tuple[float, float]:
    """The same in a process with a setting."""
    others = {variable for each in SETTINGS.values() for variable in each}
    environment = {key: value for key, value in os.environ.items() if key not in others}
    command = [sys.executable, __file__, "--inside", *(["--kept"] if name == KEPT else [])]
    for option in ("size", "batch", "repeats", "threads"):
        command += [f"--{option}", str(getattr(options, option))]
    finished = subprocess.run(
        command,
        env={**environment, **SETTINGS[name]},
        capture_output=True,
        text=True,
        check=True,
    )
    step, forward = finished.stdout.split()[-2:]
    return float(step), float(forward)


def main() -> None:
    """Measures, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=225)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5, help="steps in a process")
    parser.add_argument("--turns", type=int, default=3, help="processes a setting")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "allocator.md")
    options = parser.parse_args()
    if options.inside:
        print(time_here(options))
        return
    runs = [{name: time_apart(name, options) for name in SETTINGS} for _ in range(options.turns)]
    times = {
        name: [statistics.median(run[name][kind] for run in runs) for kind in (0, 1)]
        for name in SETTINGS
    }
    plain = times[PLAIN]
    lines = [
        "# What keeping memory brings",
        "",
        f"EfficientNet-B0, {options.size} px, batch {options.batch}, fp32; medians.",
        "",
        "| setting | training, images/s | times as fast | features, images/s | times as fast |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in times.items():
        line = " ".join(f"`{key}={value}`" for key, value in SETTINGS[name].items()) or name
        cells = [
            f"{options.batch / now:.1f} | {before / now:.2f}"
            for before, now in zip(plain, seconds, strict=True)
        ]
        lines.append(f"| {line} | {' | '.join(cells)} |")
    winner = min((name for name in SETTINGS if SETTINGS[name]), key=lambda name: times[name][0])
    if plain[0] / times[winner][0] >= WORTH_IT:
        paste = " ".join(f"{key}={value}" for key, value in SETTINGS[winner].items())
        lines += ["", f"For loops of your own, paste before training: `export {paste}`"]
    else:
        lines += ["", "No variable is worth a line here: leave the environment as it is."]
    write_result(options.out, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
