"""What an evaluation or a comparison found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.evaluation import (
    DIFFERENCE,
    PRETRAINED,
    SINCE_START,
    START,
    UNTRAINED,
    Evaluation,
)
from super_selfish.evaluation.evaluation_figure import plot_scores
from super_selfish.evaluation.label_curves_figure import plot_label_curves
from super_selfish.evaluation.labels_saved import count, headline
from super_selfish.evaluation.plots import plot_confusion
from super_selfish.evaluation.report.course import Judged
from super_selfish.evaluation.report.descriptions import sentence
from super_selfish.evaluation.report.html import Plate, plate

_UNKNOWN = "Nobody knows yet: no labelled images were evaluated."
_NO_LABELS = (
    "That needs labels of some images, and an evaluation with few of them: "
    "evaluate(..., protocols=('few-label',))."
)
_NO_CURVES = (
    "Not known: that needs an evaluation with few labels, evaluate(..., protocols=('few-label',))."
)


class Helped(NamedTuple):
    """Whether training helped, as far as it is known."""

    answer: str  # in a few words
    kind: str  # "good", "bad", or "" where nobody can tell
    sentences: list[str]
    header: list[str]
    gains: list[list[str]]  # a row for each protocol
    health: Judged | str
    details: Found | None


class Found(NamedTuple):
    """What an `Evaluation` found; `best` is the protocol whose confusions are shown."""

    table: str
    remarks: list[str]
    bars: Plate
    best: str
    confusion: Plate | None


class Labels(NamedTuple):
    """How many labels were saved."""

    sentences: list[str]
    curves: Plate
    header: list[str]
    rows: list[list[str]]


class Compared(NamedTuple):
    """What a `Comparison` found."""

    table: str
    conditions: str
    notes: list[str]
    leaderboard: Plate


def helped(found: Evaluation | None, health: Judged | str, remarks: Sequence[str] = ()) -> Helped:
    """Whether training helped: beside start and untrained, with intervals; else by health alone."""
    if found is None:
        return Helped(_UNKNOWN, "", list(remarks), [], [], health, None)
    rows, header = _gains(found)
    sentences = [*(sentence(text) for text in found.verdict), *remarks]
    return Helped(*found.answer, sentences, header, rows, health, evaluation(found))


def _gains(found: Evaluation) -> tuple[list[list[str]], list[str]]:
    """A row for each protocol: the differences, then what they are between."""
    befores = {START: SINCE_START, UNTRAINED: DIFFERENCE}
    befores = {name: change for name, change in befores.items() if change in found.intervals}
    header = ["in %", *(f"beside {name}" for name in befores), "now", *befores]
    rows = []
    for protocol, score in found.scores[PRETRAINED].items():
        row = [protocol, *(str(found.intervals[change][protocol]) for change in befores.values())]
        values = [score, *(found.scores[name][protocol] for name in befores)]
        rows.append([*row, *(f"{100 * each.value:.1f}" for each in values)])
    return rows, header


def labels(found: Evaluation | None) -> Labels | str:
    """How many labels were saved: in sentences, by number, as curves; or why nobody knows."""
    if found is None:
        return _NO_LABELS
    if not found.labels_saved:
        return _NO_CURVES
    names = list(found.labels_saved)
    header = [f"{found.labels_unit[1]}, now", *(f"do what {name} did with" for name in names)]
    rows = [
        [count(each[0].labels), *(saved.range() for saved in each)]
        for each in zip(*found.labels_saved.values(), strict=True)
    ]
    curves = plate(
        plot_label_curves(
            found.label_curves,
            saved={name: headline(each) for name, each in found.labels_saved.items()},
            metric=found.metric,
            unit=found.labels_unit,
            chance=found.chance,
        ),
        "Curves of what each network reaches with how many labels",
        "Bands are 95 % intervals. The arrow leads from a number of labels of the pretrained "
        "network to as many labels of the other as do as well.",
    )
    return Labels([sentence(text) for text in found.labels_verdict], curves, header, rows)


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
    bars = plot_scores(found.scores, metric=found.metric, chance=found.chance)
    return Found(
        "\n".join(lines[:rows]),
        [sentence(line) for line in lines[rows:]],
        plate(bars, "Bars: score of each network by each protocol"),
        best,
        confusion,
    )


def comparison(found: Comparison) -> Compared:
    """Table and figure of a `Comparison`."""
    table, _, _ = str(found).partition("\n\n")  # conditions and notes are long lines: they wrap
    shown = plate(found.plot(), "Leaderboard of the algorithms that were compared")
    return Compared(table, sentence(found.conditions), list(found.notes), shown)
