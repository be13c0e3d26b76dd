"""What an evaluation or a comparison found."""

from __future__ import annotations

from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.plots import plot_confusion
from super_selfish.evaluation.report.html import Html, element, embedded, text
from super_selfish.evaluation.result import PRETRAINED, Evaluation


def evaluation(found: Evaluation) -> list[Html]:
    """Table, figure and confusion matrix of an `Evaluation`."""
    lines = found.table().splitlines()
    rows = next(row for row, line in enumerate(lines) if line.startswith(f"{found.metric} in %"))
    body = [
        element("pre", text("\n".join(lines[:rows])), tabindex=0),
        *(element("p", text(_sentence(line)), class_="quiet") for line in lines[rows:]),
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
    table, _, _ = str(found).partition("\n\n")  # conditions and notes are long lines: they wrap
    notes = [element("li", text(note)) for note in found.notes]
    return [
        element("pre", text(table), tabindex=0),
        element("p", text(_sentence(found.conditions)), class_="quiet"),
        *([element("ul", *notes, class_="quiet")] if notes else []),
        embedded(found.plot(), "Leaderboard of the algorithms that were compared"),
    ]


def _sentence(line: str) -> str:
    """With a capital letter and a full stop."""
    return f"{line[:1].upper()}{line[1:]}."
