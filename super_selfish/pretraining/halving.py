"""Candidates train side by side, in rounds: the better half goes on, with twice the time.

Each candidate is one run, which every round goes on with: nothing is trained twice, and what the
winner has learned it keeps. All begin with the same weights, see the same images, and are rated by
the same others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from super_selfish.evaluation.comparison.entries import FAILURES, seconds_of
from super_selfish.evaluation.comparison.store import Record as Line
from super_selfish.evaluation.comparison.store import RunStore
from super_selfish.evaluation.verdicts import least_difference
from super_selfish.pretraining import rules
from super_selfish.pretraining.asking import algorithm_of
from super_selfish.pretraining.choices import Record
from super_selfish.pretraining.judging import Judge
from super_selfish.pretraining.running import AGAIN, Task, settings_of
from super_selfish.training.checkpoint import checkpoint_path
from super_selfish.training.display import open_bar, quiet
from super_selfish.training.run import UNLIMITED
from super_selfish.training.standing import goes_on_by


class Standing(NamedTuple):
    """How far a candidate came.

    Attributes:
        algorithm: Its name.
        rounds: That it took part in.
        seconds: That it trained for.
        steps: That it did.
        accuracy: After its last round, by protocol, or without labels by `"retrieval"` (see
            `Health`); None where it failed.
        error: Why it failed, or None.
    """

    algorithm: str
    rounds: int
    seconds: float
    steps: int
    accuracy: dict[str, float] | None
    error: str | None

    @property
    def score(self) -> float:
        """By which candidates are ranked: the mean of its accuracies."""
        if self.accuracy is None:
            return float("-inf")
        return sum(self.accuracy.values()) / len(self.accuracy)


def compete(task: Task, record: Record, images: Any, judge: Judge) -> list[Standing]:
    """Lets the candidates train in rounds; what is done already is not done again.

    Args:
        task: The call.
        record: Of it, with candidates and budget.
        images: To train on.
        judge: Rates candidates.

    Returns:
        Where each stands, the winner first.
    """
    store = RunStore(task.paths.candidates)
    alive = list(record.choices.candidates)
    found: dict[str, Standing] = {}
    each = rules.rounds(len(alive))
    with open_bar("Comparing", sum(each), "run", shown=task.progress) as bar:
        for place, count in enumerate(each):
            ranked = sorted(alive, key=lambda name: -found[name].score) if found else alive
            alive = ranked[:count]
            for name in alive:
                bar.label(f"{name}, round {place + 1} of {len(each)}")
                key = f"{name}-{place}"
                line = store.read().get(key)
                if line is None:
                    line = _round(task, record, images, judge, name, place, store)
                    store.append(line)
                    record.seconds = task.clock.used
                    record.write()
                found[name] = _standing(name, place + 1, line)
                bar.update()
    return sorted(found.values(), key=lambda standing: (-standing.rounds, -standing.score))


def _round(
    task: Task,
    record: Record,
    images: Any,
    judge: Judge,
    name: str,
    place: int,
    store: RunStore,
) -> Line:
    """Trains a candidate until it has had the time of a round, and rates it."""
    checkpoint = store.checkpoint(name)
    assert checkpoint is not None  # noqa: S101
    seconds = record.choices.budget * 2**place
    line: Line = {"key": f"{name}-{place}", "seconds": seconds, "steps": 0}
    line |= {"accuracy": None, "error": None}
    try:
        with quiet(), goes_on_by(AGAIN):
            supervisor = wishes_for(task, name).build(images, record.choices.backbone, copied=True)
            left = seconds - seconds_of(checkpoint)
            if left > 0:
                is_begun = checkpoint_path(checkpoint).is_file()
                supervisor.supervise(
                    **{"keep_last": 1, **settings_of(task, record)},
                    epochs=UNLIMITED,
                    time_limit=f"{left:.3f}s",
                    name=checkpoint,
                    resume=is_begun,
                    overwrite=not is_begun,
                    progress=False,
                )
            else:
                supervisor.load(checkpoint)
            run = supervisor.run or supervisor.loaded
            line["steps"] = getattr(run, "global_step", 0)
            line["accuracy"] = judge(supervisor)
    except FAILURES as error:
        line["error"] = f"{type(error).__name__}: {error}"
    return line


def wishes_for(task: Task, name: str) -> Any:
    """The user's wishes with another algorithm."""
    kind, _ = algorithm_of(name)
    options = {**task.wishes.options, **task.options_of.get(name, {})}
    return replace(task.wishes, kind=kind, algorithm=name, options=options)


def _standing(name: str, rounds: int, line: Line) -> Standing:
    return Standing(name, rounds, *(line[key] for key in ("seconds", "steps", "accuracy", "error")))


def how_sure(standings: list[Standing], judge: Judge) -> str:
    """How far the winner may be trusted to be the best.

    Args:
        standings: The winner first.
        judge: That has ranked them.
    """
    first, second = standings[:2]
    if second.accuracy is None:
        return f"{first.algorithm} is the only candidate that did not fail."
    ahead = first.score - second.score
    noise = least_difference(first.score, second.score, judge.number)
    said = (
        f"{first.algorithm} was {100 * ahead:.1f} points before {second.algorithm}, {judge.score}"
    )
    if ahead < noise:
        said += ": within noise, so that the other may be as good (one run each)."
    else:
        said += ": more than noise of the images; there was one run each."
    return f"{said} {judge.doubt}".rstrip()
