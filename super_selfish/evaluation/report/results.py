"""What an evaluation or a comparison found."""

from __future__ import annotations

from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.plots import plot_confusion
from super_selfish.evaluation.report.html import Html, element, embedded, text
from super_selfish.evaluation.result import PRETRAINED, Evaluation


def evaluation(found: Evaluation) -> list[Html]:
    """Table, figure and confusion matrix of an `Evaluation`."""
    body = [
        element("pre", text(found), tabindex=0),
        embedded(found.plot(), "Bars: score of each network by each protocol"),
    ]
    scores = found.scores[PRETRAINED]
    with_matrix = {name: score for name, score in scores.items() if score.confusion is not None}
    if with_matrix:
        best = max(with_matrix, key=lambda name: with_matrix[name].value)
        names = found.class_names or None
        body += [
            element("h3", text(f"Which class is taken for which ({best})")),
            embedded(
                plot_confusion(with_matrix[best].confusion, names),
                "Confusion matrix: rows are true classes, columns what was said",
                "Each row in percent of the test images of its class.",
            ),
        ]
    return body


def comparison(found: Comparison) -> list[Html]:
    """Table and figure of a `Comparison`."""
    return [
        element("pre", text(found), tabindex=0),
        embedded(found.plot(), "Leaderboard of the algorithms that were compared"),
    ]
