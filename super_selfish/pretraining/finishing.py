"""After training: the backbone's file, whether it helped, and the page."""

from __future__ import annotations

from pathlib import Path

from super_selfish.evaluation.baselines import TWIN, beside, untrained_network
from super_selfish.evaluation.evaluate import evaluate
from super_selfish.evaluation.evaluation import Evaluation
from super_selfish.evaluation.features import LabelledSource
from super_selfish.evaluation.health.health import Health, health, spread_images
from super_selfish.evaluation.rated_network import open_network
from super_selfish.evaluation.verdicts import least_difference
from super_selfish.pretraining import rules
from super_selfish.pretraining.choices import Paths, Record
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.running import Task
from super_selfish.pretraining.subjects import Rated
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
    was_done, had_time = record.is_done, clock.left > 0
    files = {
        "checkpoint": paths.checkpoint,
        "history": paths.history,
        "choices": paths.choices,
    }
    try:
        place = paths.backbone(task.format)
        files["backbone"] = supervisor.export_backbone(place, task.format)
        evaluation, healthy, known_again = _judged(task, record, supervisor, rated)
        if task.with_page:
            most = rules.page_images(clock.left, load)
            files["report"] = _page(supervisor, paths, evaluation, most, known_again)
        if not was_done and clock.used > clock.total and task.repeats is None:
            cause = ": rating took more than its part" if had_time else ""
            over = duration(clock.used - clock.total)
            record.remarks.append(f"It took {over} longer than the time given{cause}.")
        record.is_done = True
    finally:
        if not was_done:  # rating it once more takes nothing from a longer time
            record.seconds = clock.used
        record.write()
    remarks = (*record.remarks, *known_again)
    return Outcome(supervisor, record.choices, evaluation, healthy, files, remarks)


def _judged(
    task: Task, record: Record, supervisor: Supervisor, rated: Rated | None
) -> tuple[Evaluation | None, Health | None, list[str]]:
    """What labels say, or without them the features, and sentences on these."""
    if rated is not None:
        return evaluate(supervisor, rated.train, rated.test, progress=task.progress), None, []
    images = task.subject.at(supervisor.image_size)
    if not images.has_random_access:
        if images.at_hand < 2:
            return None, None, []
        images = images.subset(range(images.at_hand))
    choices = record.choices
    most = rules.judged_images(choices.reserved, choices.seconds_a_look)
    shown = spread_images(LabelledSource(images, None), most)
    found = health(supervisor, shown, num_images=None)
    return None, found, [beside_untrained(supervisor, shown, found)]


def beside_untrained(supervisor: Supervisor, shown: LabelledSource, found: Health) -> str:
    """How often features know an image again, and those of an untrained network, in a sentence.

    Args:
        supervisor: When its training is over.
        shown: The images, without labels.
        found: What its features say of them.
    """
    network = open_network(supervisor)
    twin = untrained_network(TWIN, network.module, seed=0)
    assert twin is not None  # noqa: S101
    # Of weights that may have learned something, or that nobody knows, the note says what they are.
    who = "an untrained network" if twin.is_known else (twin.note or "").partition(";")[0]
    twin = beside(twin, network, shown.images)
    before = health(twin.network, shown, num_images=None, preprocess=network.preprocess).retrieval
    after, images = found.retrieval, found.images
    said = (
        f"{after:.1%} of {images:,} images are the nearest to a view of themselves; "
        f"by {who.partition(':')[0]} {before:.1%} are"
    )
    if abs(after - before) < least_difference(after, before, images):
        return f"{said}: within noise, so nothing says that training has helped."
    if after < before:
        return f"{said}: fewer, so training has probably not helped."
    if not found.is_healthy:
        return f"{said}: more, though the features are not well."
    return f"{said}. More of them mostly mean a higher accuracy."


def _page(
    supervisor: Supervisor,
    paths: Paths,
    evaluation: Evaluation | None,
    most: int,
    remarks: list[str],
) -> Path:
    return supervisor.report(paths.run, evaluation=evaluation, most_images=most, remarks=remarks)
