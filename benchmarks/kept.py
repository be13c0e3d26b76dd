"""Runs of a benchmark that are done, a line of JSON each, and how several seeds are told."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def stored(file: Path) -> list[dict[str, Any]]:
    """The runs that are done; none where there is no file yet."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep(file: Path, run: Mapping[str, Any]) -> None:
    """Adds a run, and shows it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        opened.write(json.dumps(run) + "\n")
    print(run, flush=True)


def by_algorithm(runs: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The runs of each algorithm, in their order."""
    groups: dict[str, list[Any]] = {}
    for run in runs:
        groups.setdefault(run["algorithm"], []).append(run)
    return groups


def of_seeds(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation, such as "41.3 ± 2.3"; of one value the value."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
