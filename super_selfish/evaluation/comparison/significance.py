"""Which differences of a comparison are more than chance: over test images, and over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from super_selfish.evaluation.comparison.answers import Answered
from super_selfish.evaluation.comparison.standings import START, UNTRAINED, Spread, Standing
from super_selfish.evaluation.intervals import Interval, of_seeds
from super_selfish.evaluation.labels_saved import Saved
from super_selfish.evaluation.verdicts import least_difference

FEW_SEEDS = {
    1: "one seed: intervals are over the test images alone, and another seed may say otherwise; "
    "seeds=3 tells",
    2: "two seeds: they hardly tell how much seeds differ, so intervals are wide; seeds=3 makes "
    "them much narrower",
}


def with_intervals(entry: Standing, answered: Answered, test_images: Mapping[str, int]) -> Standing:
    """Where an algorithm stands, with the intervals of its gains.

    Args:
        entry: From `standings`.
        answered: The answers of all runs.
        test_images: By column. Where nobody knows the answers image by image, intervals are those
            of `least_difference`, wider by the seeds; of other columns there is none.

    Returns:
        The same with `gain_interval` and `since_start_interval`.
    """
    after = answered.of(entry.algorithm)
    found = {}
    for kind, gains, before in (
        (UNTRAINED, entry.gain, entry.untrained),
        (START, entry.since_start, entry.start),
    ):
        bounds = {
            column: _bounded(gain, entry.accuracy[column], before[column], len(entry.seeds), images)
            for column, gain in gains.items()
            if (images := test_images.get(column)) is not None
        }
        known = answered.changes(after, answered.before(entry.algorithm, kind))
        found[kind] = bounds | {column: known[column] for column in gains if column in known}
    return dataclasses.replace(
        entry, gain_interval=found[UNTRAINED], since_start_interval=found[START]
    )


def few_seeds(leaderboard: Sequence[Standing]) -> list[str]:
    """What is to be said where algorithms were trained with one seed or two."""
    numbers = {e.algorithm: len(e.seeds) for e in leaderboard if e.gain_interval}
    found = []
    for few, words in FEW_SEEDS.items():
        names = [algorithm for algorithm, number in numbers.items() if number == few]
        if names:
            found.append(words if len(names) == len(numbers) else f"{', '.join(names)}: {words}")
    return found


def near_the_first(leaderboard: Sequence[Standing], answered: Answered) -> list[str]:
    """Which algorithms may be as good as the first: by no protocol they are told from it."""
    good = [entry for entry in leaderboard if not entry.has_failed]
    if len(good) < 2:
        return []
    first, *others = good
    near = []
    for other in others:
        changes = answered.changes(answered.of(first.algorithm), answered.of(other.algorithm))
        if changes and not any(change.is_told for change in changes.values()):
            words = ", ".join(f"{column} {change}" for column, change in changes.items())
            near.append(f"{other.algorithm} ({words})")
    return [f"within noise of {first.algorithm}, the first: {', '.join(near)}"] if near else []


def saved_labels(algorithm: str, answered: Answered) -> dict[str, list[Saved]]:
    """What an algorithm saves beside `"start"` and `"untrained"`, where there are curves."""
    after = answered.of(algorithm)
    found = {
        kind: answered.saved(after, answered.before(algorithm, kind)) for kind in (START, UNTRAINED)
    }
    return {kind: saved for kind, saved in found.items() if saved}


def _bounded(gain: Spread, after: Spread, before: Spread, seeds: int, images: int) -> Interval:
    """By the bound for test images, and by the spread of the gains over seeds."""
    reach = least_difference(after.mean, before.mean, images)
    if gain.deviation is not None:
        reach = (reach**2 + of_seeds(gain.deviation, seeds) ** 2) ** 0.5
    return Interval(gain.mean, gain.mean - reach, gain.mean + reach)
