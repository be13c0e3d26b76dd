"""What an evaluation or a comparison found."""

from __future__ import annotations

from typing import NamedTuple

from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.evaluation import PRETRAINED, Evaluation
from super_selfish.evaluation.plots import plot_confusion
from super_selfish.evaluation.report.descriptions import sentence
from super_selfish.evaluation.report.html import Plate, plate


class Found(NamedTuple):
    """What an `Evaluation` found; `best` is the protocol whose confusions are shown."""

    table: str
    remarks: list[str]
    bars: Plate
    best: str
    confusion: Plate | None


class Compared(NamedTuple):
    """What a `Comparison` found."""

    table: str
    conditions: str
    notes: list[str]
    leaderboard: Plate


def evaluation(found: Evaluation) -> Found:
    """Table, figure and confusion matrix of an `Evaluation`."""
    lines = found.table().splitlines()
    rows = next(row for row, line in enumerate(lines) if line.startswith(f"{found.metric} in %"))
    scores = found.scores[PRETRAINED]
    with_matrix = {name: score for name, score in scores.items() if score.confusion is not None}
    best, confusion = "", None
    if with_matrix:
        best = max(with_matrix, key=lambda name: with_matrix[name].value)
        names = found.class_names or None
        confusion = plate(
            plot_confusion(with_matrix[best].confusion, names),
            "Confusion matrix: rows are true classes, columns what was said",
            "Each row in percent of the test images of its class.",
        )
    return Found(
        "\n".join(lines[:rows]),
        [sentence(line) for line in lines[rows:]],
        plate(found.plot(), "Bars: score of each network by each protocol"),
        best,
        confusion,
    )


def comparison(found: Comparison) -> Compared:
    """Table and figure of a `Comparison`."""
    table, _, _ = str(found).partition("\n\n")  # conditions and notes are long lines: they wrap
    shown = plate(found.plot(), "Leaderboard of the algorithms that were compared")
    return Compared(table, sentence(found.conditions), list(found.notes), shown)
