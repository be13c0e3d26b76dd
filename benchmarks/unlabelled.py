"""Do measures without labels rank algorithms as accuracy does? From runs that are done already.

    python benchmarks/unlabelled.py

Files of runs in `results/` (`TABLES`) hold the accuracies of a linear probe and k-NN, and what
`health` measured of the same features without labels. Written is `results/unlabelled.md`:
Spearman's rank correlation over algorithms (each the mean of its seeds), by table and data set,
and the place that the untrained network would have among them. A measure is of use for a choice if
its correlation is large everywhere, of one sign, and the untrained network comes last.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from kept import by_algorithm
from provenance import write_result
from scipy.stats import spearmanr

RESULTS = Path(__file__).parent / "results"
TABLES = ("comparison", "systems", "two_lines_fashion")
COLOURED = ("cmc", "colorization", "split_brain", "motion")  # were run on CIFAR-10
BETWEEN = 0.6  # a probe reaches more on Fashion-MNIST, and less on CIFAR-10
Measures = Mapping[str, Callable[[Mapping[str, float]], float]]
# By the sign that is expected of it.
MEASURES: Measures = {
    "RankMe": lambda health: health["rankme"],
    "- alignment": lambda health: -health["alignment"],
    "- uniformity": lambda health: -health["uniformity"],
    "- (alignment + uniformity)": lambda health: -health["alignment"] - health["uniformity"],
    "directions of 99 %": lambda health: health["directions"],
    "feature std": lambda health: health["feature_std"],
    "- largest variance": lambda health: -health["top_variance"],
}
PROTOCOLS = ("linear", "knn")
FEWEST = 6  # algorithms, of which a correlation says anything


def runs_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The newest run of each algorithm and seed on a data set, but for untrained networks."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for run in sorted(map(json.loads, lines), key=lambda run: run["date"]):
        if run["error"] is None and run["algorithm"] != "untrained":
            found[data_of(run), run["algorithm"], run["seed"]] = run
    return list(found.values())


def data_of(run: Mapping[str, Any]) -> str:
    """Which data set a run was on, which its line does not say."""
    is_cifar = run["algorithm"] in COLOURED or run["accuracy"]["linear"] < BETWEEN
    return "CIFAR-10" if is_cifar else "Fashion-MNIST"


def repeated(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of algorithms that were run with several seeds; single ones were trials."""
    counts = Counter(run["algorithm"] for run in runs)
    return [run for run in runs if counts[run["algorithm"]] > 1]


def correlations(
    runs: list[dict[str, Any]], measures: Measures = MEASURES
) -> dict[tuple[str, str], float]:
    """By measure and protocol, over algorithms."""
    found = {}
    for measure, of in measures.items():
        measured = of_algorithms(runs, lambda run, of=of: of(run["health"]))
        for protocol in PROTOCOLS:
            rated = of_algorithms(runs, lambda run, name=protocol: run["accuracy"][name])
            found[measure, protocol] = float(spearmanr(measured, rated).statistic)
    return found


def places(
    runs: list[dict[str, Any]], untrained: list[dict[str, Any]], measures: Measures = MEASURES
) -> dict[str, int]:
    """The place of the untrained network by each measure, 1 where it is the best."""
    found = {}
    for measure, of in measures.items():
        own = mean(of(run["health"]) for run in untrained)
        measured = of_algorithms(runs, lambda run, of=of: of(run["health"]))
        found[measure] = 1 + sum(value > own for value in measured)
    return found


def of_algorithms(runs: list[dict[str, Any]], value: Callable[[Any], float]) -> list[float]:
    """A value of each algorithm, the mean over its runs, by the order of names."""
    return [mean(map(value, group)) for _, group in sorted(by_algorithm(runs).items())]


def main() -> None:
    """Reads, computes, writes."""
    beginnings: dict[str, dict[str, int]] = {}
    columns: dict[str, dict[tuple[str, str], float]] = {}
    for table in TABLES:
        lines = (RESULTS / f"{table}.jsonl").read_text().splitlines()
        runs = runs_of(lines)
        untrained = [run for run in map(json.loads, lines) if run["algorithm"] == "untrained"]
        for data in ("Fashion-MNIST", "CIFAR-10"):
            chosen = repeated([run for run in runs if data_of(run) == data])
            algorithms = len({run["algorithm"] for run in chosen})
            if algorithms >= FEWEST:
                title = f"{table}, {data} ({algorithms} algorithms, {len(chosen)} runs)"
                columns[title] = correlations(chosen)
                same = [run for run in untrained if run["health"] and data_of(run) == data]
                beginnings[title] = places(chosen, same)
    heads = [f"{title}: {protocol}" for title in columns for protocol in PROTOCOLS]
    lines = ["# Measures without labels, beside accuracy", "", *(__doc__ or "").splitlines()[4:]]
    lines += ["", f"| measure | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for measure in MEASURES:
        cells = [f"{found[measure, p]:+.2f}" for found in columns.values() for p in PROTOCOLS]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    lines += ["", "The place of the untrained network, were it one of them (1: the best):", ""]
    lines += [f"| measure | {' | '.join(beginnings)} |", f"|---|{'---:|' * len(beginnings)}"]
    for measure in MEASURES:
        cells = [str(found[measure]) for found in beginnings.values()]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    write_result(RESULTS / "unlabelled.md", lines, "scipy")


if __name__ == "__main__":
    main()
