"""How much faster is training on this machine with large pages?

    python benchmarks/allocator.py

Large tensors come from the system page by page, and on many virtual machines a page costs as much
as the arithmetic on it. Runs a training step of EfficientNet-B0 in fresh processes with and without
two settings of Linux, in turns, and prints the line to paste. Writes
`benchmarks/results/allocator.md`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch
from provenance import write_result

HERE = Path(__file__).parent
SETTINGS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "THP_MEM_ALLOC_ENABLE": {"THP_MEM_ALLOC_ENABLE": "1"},
    "GLIBC_TUNABLES": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}
WORTH_IT = 1.05


def time_here(size: int, batch: int, repeats: int, threads: int) -> str:
    """Least milliseconds of a step in this process: of the clock, of the processor."""
    from interleaved import best_times
    from networks import ours, step_of

    torch.set_num_threads(threads)
    best = best_times({"step": step_of(ours(), size, batch, fused=True)}, repeats)["step"]
    return f"{best.clock} {best.processor}"


def time_apart(name: str, options: argparse.Namespace) -> tuple[float, float]:
    """The same in a process with a setting."""
    others = {variable for each in SETTINGS.values() for variable in each}
    environment = {key: value for key, value in os.environ.items() if key not in others}
    command = [sys.executable, __file__, "--inside", "--size", str(options.size)]
    for option in ("batch", "repeats", "threads"):
        command += [f"--{option}", str(getattr(options, option))]
    finished = subprocess.run(
        command,
        env={**environment, **SETTINGS[name]},
        capture_output=True,
        text=True,
        check=True,
    )
    clock, processor = finished.stdout.split()[-2:]
    return float(clock), float(processor)


def main() -> None:
    """Measures, prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=225)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="steps in a process")
    parser.add_argument("--turns", type=int, default=2, help="processes a setting")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "allocator.md")
    options = parser.parse_args()
    if options.inside:
        print(time_here(options.size, options.batch, options.repeats, options.threads))
        return
    runs = [{name: time_apart(name, options) for name in SETTINGS} for _ in range(options.turns)]
    best = {
        name: tuple(min(run[name][kind] for run in runs) for kind in (0, 1)) for name in SETTINGS
    }
    plain = best["as it comes"]
    lines = [
        "# What large pages bring",
        "",
        f"A training step of EfficientNet-B0, {options.size} px, batch {options.batch}, fp32.",
        "",
        "| setting | images/s | times as fast | the same, by processor time |",
        "|---|---|---|---|",
    ]
    for name, (clock, processor) in best.items():
        line = " ".join(f"`{key}={value}`" for key, value in SETTINGS[name].items()) or name
        lines.append(
            f"| {line} | {1e3 * options.batch / clock:.1f} | {plain[0] / clock:.2f} "
            f"| {plain[1] / processor:.2f} |"
        )
    winner = min(best, key=lambda name: best[name][0])
    if plain[0] / best[winner][0] >= WORTH_IT:
        paste = " ".join(f"{key}={value}" for key, value in SETTINGS[winner].items())
        lines += ["", f"Paste before training: `export {paste}`"]
    else:
        lines += ["", "Neither is worth a line here: leave the environment as it is."]
    write_result(options.out, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
