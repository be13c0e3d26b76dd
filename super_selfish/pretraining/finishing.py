"""After training: the backbone's file, whether it helped, and the page."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from super_selfish.evaluation.evaluate import evaluate
from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.health.health import Health, health
from super_selfish.pretraining.choices import Clock, Paths, Record
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.subjects import Rated, Subject
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.display import duration
from super_selfish.training.telling import warn


def require_packages() -> tuple[str, bool]:
    """Which format the backbone is written in, and whether there will be a page; warns if not.

    Returns:
        The format, and whether matplotlib is there.
    """
    format, has_page = "safetensors", True
    if importlib.util.find_spec("safetensors") is None:
        format = "state_dict"
        warn(
            "safetensors is missing, so that the backbone is written as backbone.pt: "
            "pip install 'super-selfish[export]'"
        )
    if importlib.util.find_spec("matplotlib") is None:
        has_page = False
        warn(
            "matplotlib is missing, so that there is no report: pip install 'super-selfish[plots]'"
        )
    return format, has_page


def finish(
    supervisor: Supervisor,
    subject: Subject,
    rated: Rated | None,
    record: Record,
    clock: Clock,
    paths: Paths,
    format: str,
    with_page: bool,
    progress: bool,
) -> Outcome:
    """Writes the backbone, rates it, and writes the page.

    Args:
        supervisor: When its training is over.
        subject: The images.
        rated: Labelled images to rate by, if there are any.
        record: Is completed.
        clock: Of the whole call.
        paths: Where files lie.
        format: Of the backbone's file.
        with_page: Whether there is a report.
        progress: Whether to show how far it is.
    """
    remarks = _of_course(supervisor, record)
    files = {"checkpoint": paths.checkpoint, "history": paths.history, "choices": paths.choices}
    try:
        files["backbone"] = supervisor.export_backbone(paths.backbone(format), format)
        evaluation, healthy = _judged(supervisor, subject, rated, progress)
        if with_page:
            files["report"] = _page(supervisor, paths, evaluation)
        record.is_done = True
    finally:
        record.seconds = clock.used
        record.write()
    if clock.used > clock.total:
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


def _page(supervisor: Supervisor, paths: Paths, evaluation: Evaluation | None) -> Path:
    return supervisor.report(paths.run, evaluation=evaluation)


def _of_course(supervisor: Supervisor, record: Record) -> list[str]:
    """What is to be said of a run that did not come to its last epoch."""
    run = supervisor.run
    if run is None or run.epoch >= run.epochs:
        return []
    step = record.choices.seconds_a_step
    return [
        f"The time was up in epoch {run.epoch + 1} of {run.epochs}, before the rate had come to "
        f"its end (it was {run.learning_rate:.2g}): steps took longer than the {step:.3g} s that "
        "were measured. A longer time goes on."
    ]
