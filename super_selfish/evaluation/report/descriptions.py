"""A run in plain words, and an algorithm in those of its file."""

from __future__ import annotations

import inspect
import math
import sys
from datetime import datetime, timezone
from typing import Any, NamedTuple

from super_selfish import supervisors
from super_selfish.evaluation.report.record import Record
from super_selfish.evaluation.showcase import title_of
from super_selfish.supervisors import Supervisor
from super_selfish.training.counting import plural
from super_selfish.training.standing import epochs_done

_MUCH_WAITING = 0.1  # share of the time from which something should be done about it
_DIFFERENCES = "Differences from the paper:"


class Algorithm(NamedTuple):
    """What an algorithm is; "" for what its file does not say."""

    title: str
    idea: str
    paper: str
    differences: str


def describe_algorithm(kind: type[Supervisor]) -> Algorithm:
    """Name, idea, paper and differences from it, as its docstrings tell them.

    An algorithm of this library is told by the file that gives it its name, of which it is all that
    there is; one from elsewhere by its class.
    """
    named: Any = next((base for base in kind.__mro__ if vars(base).get("title")), kind)
    about = _paragraphs(inspect.getdoc(named) or "")
    differences = next((part for part in about if part.startswith(_DIFFERENCES)), "")
    idea, paper = about[0] if about else "", ""
    if named.__module__.startswith(f"{supervisors.__name__}.") and named.title:
        _, idea, paper, *_ = [*_paragraphs(sys.modules[named.__module__].__doc__ or ""), "", "", ""]
    return Algorithm(
        title_of(kind), idea, paper, sentence(differences.removeprefix(_DIFFERENCES).strip())
    )


def _damaged(record: Record) -> str:
    most = int(max((row.get("damaged", 0) for row in record.rows), default=0))
    return f" ({most:,} of them damaged, so that part of the picture is lost)" if most else ""


def describe_course(record: Record) -> list[str]:
    """Sentences about what happened: how long, how fast, what was waited for, what came of it."""
    sentences = [_length(record)]
    if record.seconds:
        share = percent(record.waited_share)
        sentences.append(f"The networks waited for data for {share} of the time.")
    if record.waited_share > _MUCH_WAITING:
        sentences.append("More processes that read images (num_workers=) would shorten that.")
    if not record.rows:
        return [*sentences, "No epoch was finished, so that there is no loss to show."]
    if record.unreadable:
        sentences.append(
            f"{plural(record.unreadable, 'image')} could not be read and "
            f"{'was' if record.unreadable == 1 else 'were'} left out{_damaged(record)}."
        )
    else:
        sentences.append("All images could be read.")
    first, last = record.rows[0]["loss"], record.rows[-1]["loss"]
    if len(record.rows) > 1:
        sentences.append(
            f"The loss went from {number(first)} in the first epoch to {number(last)} in the last."
        )
    else:
        sentences.append(f"The mean loss of the epoch was {number(last)}.")
    return sentences


def sentence(words: str) -> str:
    """With a capital letter and a full stop."""
    end = "" if not words or words.endswith(".") else "."
    return f"{words[:1].upper()}{words[1:]}{end}"


def number(value: float) -> str:
    """A number with four digits that count."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite" if not math.isnan(value) else "none"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "\N{MINUS SIGN}")
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """A share in percent, small ones not rounded to nothing."""
    text = "less than 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def duration(seconds: float) -> str:
    """A time in the units in which one thinks of it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def moment(time: datetime) -> str:
    """A point in time, to the minute."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _length(record: Record) -> str:
    """How far the run went, and how fast."""
    epochs = plural(record.epoch, "epoch")
    if record.epochs is not None and record.epoch < record.epochs:
        epochs = epochs_done(record.epoch, record.epochs)
        if record.step:
            epochs += f" and {plural(record.step, 'step')} of the next"
    sentence = f"Trained for {epochs}"
    if record.steps is not None:
        sentence += f" ({plural(record.steps, 'step')} in all)"
    if record.seconds:
        sentence += (
            f" in {duration(record.seconds)}, at {record.images_per_second:,.0f} images a second"
        )
    return sentence + "."


def _paragraphs(doc: str) -> list[str]:
    """Paragraphs of a docstring, each on one line and without marks of code."""
    parts = inspect.cleandoc(doc).split("\n\n")
    return [" ".join(part.split()).replace("`", "") for part in parts if part.strip()]
