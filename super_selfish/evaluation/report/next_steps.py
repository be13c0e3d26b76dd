"""What to do next: sentences that follow from what the run, its features and its images are."""

from __future__ import annotations

import math

from super_selfish.evaluation.checking.check import Check
from super_selfish.evaluation.checking.findings import Finding
from super_selfish.evaluation.comparison.comparison import Comparison
from super_selfish.evaluation.evaluation import DIFFERENCE, SINCE_START, Evaluation
from super_selfish.evaluation.health.health import Health
from super_selfish.evaluation.intervals import Interval
from super_selfish.evaluation.report.descriptions import sentence
from super_selfish.evaluation.report.place import Place
from super_selfish.evaluation.report.record import Record
from super_selfish.training.counting import plural
from super_selfish.training.enough import ENOUGH_UPDATES, is_enough
from super_selfish.training.standing import epochs_done

_RISING = ("knn", "linear")  # columns of a monitor that say whether a longer run would gain
_EVALUATE = (
    "Measure it: e = evaluate(supervisor, train, test, protocols=('knn', 'linear', 'few-label')) "
    "with labelled images, and report(name, evaluation=e) answers whether it helped and how many "
    "labels it saved"
)
_HERE = Place("RUN", None)  # of which nobody knows where it lies
_WORSE = {
    "the start": "It is worse than the start: use the weights that training began from. A longer "
    "run, a smaller learning rate or another algorithm (compare()) may do better.",
    "untrained": "It is worse than a network that learned nothing: train longer, see above whether "
    "what it is shown still has what matters to you, or try another algorithm with compare().",
}
_MOST_IMAGES = 1_000_000  # test images: what would take more is not worth telling apart


def next_steps(
    record: Record | None,
    health: Health | None,
    evaluation: Evaluation | None = None,
    comparison: Comparison | None = None,
    check: Check | None = None,
    place: Place | None = None,
) -> list[str]:
    """What follows from what is known, the most urgent first; each a sentence or two.

    Args:
        record: Of the run, if it is known.
        health: Of the features, if there were images.
        evaluation: Whether it helped.
        comparison: Of several algorithms.
        check: Of the images.
        place: Where the run lies, if it does.
    """
    steps = [f"Before the next run, mend the images: {finding.text}" for finding in _bad(check)]
    place = place or _HERE
    if record is not None:
        steps += _of_its_length(record, place)
    if health is not None and not health.is_healthy:
        steps.append(f"Look at the features first: {sentence(health.verdict)}")
    if record is not None:
        steps += _of_the_run(record, place)
    if evaluation is None:
        line = f"super-selfish evaluate {place.run} IMAGES --protocols knn linear few-label"
        steps.append(f"{_EVALUATE}; in a terminal: {line}.")
    else:
        steps += _of_the_result(evaluation, place)
    if comparison is None:
        steps.append(
            "This is one training of one algorithm: compare([...], train, test, budget=..., "
            "seeds=3) says what others reach in the same time, and how much of it is chance."
        )
    elif best := next((e for e in comparison.leaderboard if not e.has_failed), None):
        steps.append(
            f"Of the algorithms that were compared {best.algorithm} gained most: begin with it, "
            "and read below which others are within noise of it."
        )
    return steps


def _bad(check: Check | None) -> list[Finding]:
    return [] if check is None else list(check.bad())


def _of_its_length(record: Record, place: Place) -> list[str]:
    """Whether updates were few, which comes before all that features may say."""
    updates = record.updates
    if updates is None or is_enough(updates, record.epoch):
        return []
    few = f"{plural(updates, 'update')} are few, and some {ENOUGH_UPDATES:,} would do"
    how = "" if _ended_early(record) else f": {place.how_it_goes_on}"
    return [f"Train for longer before anything else, since {few}{how}."]


def _ended_early(record: Record) -> bool:
    return record.epochs is not None and record.epoch < record.epochs


def _of_the_run(record: Record, place: Place) -> list[str]:
    """Whether it ended early, or was still getting better."""
    if _ended_early(record):
        done = epochs_done(record.epoch, record.epochs or 0)
        return [f"The run ended after {done}: {place.how_it_goes_on}."]
    for name in _RISING:
        values = [row[name] for row in record.rows if row.get(name) is not None]
        if len(values) > 2 and values[-1] == max(values) > values[0]:
            return [f"By {name} it was best at its very end: a longer run may well gain more."]
    return []


def _of_the_result(evaluation: Evaluation, place: Place) -> list[str]:
    """What to do with a network that is better, worse, or neither as far as one can tell."""
    intervals = evaluation.intervals
    if not intervals:
        return ["Nothing stood beside it: evaluate with an untrained network says what it gained."]
    reference = "the start" if SINCE_START in intervals else "untrained"
    changes = intervals.get(SINCE_START, intervals.get(DIFFERENCE, {}))
    told = [change for change in changes.values() if change.is_told]
    steps = []
    if any(change.value < 0 for change in told):
        steps.append(_WORSE[reference])
    elif told:
        steps.append(
            f"It is better than {reference}: use it. get_backbone() gives it, "
            "export_backbone('backbone.safetensors') writes it (in a terminal: super-selfish "
            f"export {place.run} backbone.safetensors), and LabelSupervisor trains a head on it or "
            "fine-tunes it."
        )
    doubtful = {name: change for name, change in changes.items() if not change.is_told}
    needed = {name: _images_needed(c, evaluation.test_images) for name, c in doubtful.items()}
    if doubtful and not told:
        steps.append(_more_images(min(needed.values()), reference, evaluation.test_images))
    return steps


def _images_needed(change: Interval, images: int) -> float:
    """Test images that would tell a difference of that size: reaches shrink with their root."""
    if change.value == 0:
        return math.inf
    return images * ((change.high - change.value) / abs(change.value)) ** 2


def _more_images(needed: float, reference: str, images: int) -> str:
    words = f"{images:,} test images do not tell it from {reference}"
    if needed > _MOST_IMAGES:
        return f"{words}, and no number in reach would: take them for equally good."
    digits = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    about = math.ceil(needed / digits) * digits
    return (
        f"{words}: a difference as large as the one found would take about {about:,}. More test "
        "images decide it, or several trainings by compare(..., seeds=3)."
    )
