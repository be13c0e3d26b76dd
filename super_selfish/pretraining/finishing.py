"""After training: the backbone's file, whether it helped, and the page."""

from __future__ import annotations

from pathlib import Path

from super_selfish.evaluation.evaluate import evaluate
from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.health.health import Health, health
from super_selfish.pretraining import rules
from super_selfish.pretraining.choices import Paths, Record
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.running import Task
from super_selfish.pretraining.subjects import Rated, Subject
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.display import duration


def finish(task: Task, record: Record, supervisor: Supervisor, rated: Rated | None) -> Outcome:
    """Writes the backbone, rates it, and writes the page.

    Args:
        task: The call.
        record: Of the run; is completed.
        supervisor: When its training is over.
        rated: Labelled images to rate by, if there are any.
    """
    paths, clock, load = task.paths, task.clock, record.choices.load
    remarks = _of_course(supervisor, record)
    files = {
        "checkpoint": paths.checkpoint,
        "history": paths.history,
        "choices": paths.choices,
    }
    try:
        place = paths.backbone(task.format)
        files["backbone"] = supervisor.export_backbone(place, task.format)
        evaluation, healthy = _judged(supervisor, task.subject, rated, task.progress)
        if task.with_page:
            most = rules.page_images(clock.left, load)
            files["report"] = _page(supervisor, paths, evaluation, most)
        record.is_done = True
    finally:
        record.seconds = clock.used
        record.write()
    if clock.used > clock.total and task.repeats is None:
        over = duration(clock.used - clock.total)
        remarks.append(
            f"It took {over} longer than the time given: rating took more than its part."
        )
    return Outcome(supervisor, record.choices, evaluation, healthy, files, tuple(remarks))


def _judged(
    supervisor: Supervisor, subject: Subject, rated: Rated | None, progress: bool
) -> tuple[Evaluation | None, Health | None]:
    """What labels say, or without them the features."""
    if rated is not None:
        return evaluate(supervisor, rated.train, rated.test, progress=progress), None
    images = subject.at(supervisor.image_size)
    if not images.has_random_access:
        if images.at_hand < 2:
            return None, None
        images = images.subset(range(images.at_hand))
    return None, health(supervisor, images)


def _page(supervisor: Supervisor, paths: Paths, evaluation: Evaluation | None, most: int) -> Path:
    return supervisor.report(paths.run, evaluation=evaluation, most_images=most)


def _of_course(supervisor: Supervisor, record: Record) -> list[str]:
    """What is to be said of a run that did not come to its last epoch."""
    run = supervisor.run
    if run is None or run.epoch >= run.epochs or run.stopped_by is not None:
        return []
    step = record.choices.seconds_a_step
    return [
        f"The time was up in epoch {run.epoch + 1} of {run.epochs}, before the rate had come to "
        f"its end (it was {run.learning_rate:.2g}): steps took longer than the {step:.3g} s that "
        "were measured. A longer time goes on."
    ]
