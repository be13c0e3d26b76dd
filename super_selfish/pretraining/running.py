"""What `pretrain` and `choose` do alike: open, plan, train, and go on where a call was ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.checking.quick import warn_of_images
from super_selfish.evaluation.comparison.entries import seconds_of
from super_selfish.evaluation.comparison.fingerprints import fingerprint
from super_selfish.evaluation.features import LabelledSource, open_data
from super_selfish.pretraining import rules
from super_selfish.pretraining.asking import (
    algorithm_of,
    checked_options,
    checked_settings,
    require_packages,
)
from super_selfish.pretraining.choices import (
    Choices,
    Clock,
    Paths,
    Record,
    read_record,
    refuse_others,
)
from super_selfish.pretraining.planning import Wishes, name_of, plan, told_anew
from super_selfish.pretraining.rules import Size
from super_selfish.pretraining.subjects import Rated, Subject
from super_selfish.supervisors import SUPERVISORS
from super_selfish.supervisors.base import Supervisor
from super_selfish.supervisors.image_options import ImageOptions
from super_selfish.times import parse_time
from super_selfish.training.checkpoint import RUN, epochs_begun, has_checkpoint, read_run
from super_selfish.training.counting import plural
from super_selfish.training.devices import default_device, parse_device
from super_selfish.training.display import tell
from super_selfish.training.launched import launch
from super_selfish.training.naming import fixed_name, require_writable
from super_selfish.training.run import Run
from super_selfish.training.standing import goes_on_by
from super_selfish.training.telling import warn

LEAST_TIME = 20.0  # seconds
AGAIN = "The same call goes on with it, with a longer time if this one is over."
# Keywords of `supervise()` that change nothing of what is learned: another call may have others.
BESIDE = frozenset(
    {"callbacks", "monitor", "checkpoint_every", "worker_timeout", "keep_last"}
    | {"num_workers", "cache", "dataset_on_device", "on_nan"}
)


@dataclass(eq=False)
class Task:
    """A call under way.

    Attributes:
        subject: The images.
        wishes: What the user has said.
        paths: Where files lie.
        test: A test part of the user's own, or None.
        asked: By what a later call is known as the same, plain values by name.
        format: Of the backbone's file.
        with_page: Whether there is a report.
        progress: Whether to show how far it is.
        clock: Of all calls together.
        options_of: Keywords of constructors by algorithm, where there are several.
        repeats: The choices of another run, which this one shall be like; None if there is none.
    """

    subject: Subject
    wishes: Wishes
    paths: Paths
    test: Any
    asked: dict[str, Any]
    format: str
    with_page: bool
    progress: bool
    clock: Clock
    options_of: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeats: Choices | None = None

    def rated(self, size: Size, most: int) -> Rated | None:
        """Images to rate by, of a size; None where there are no labels that are of use.

        Args:
            size: Height and width.
            most: That rating learns from.
        """
        if not most:
            return None
        rated = self.subject.rated(size, most, self.test, self.wishes.seed)
        if isinstance(rated, Rated):
            return rated
        if self.subject.labels is not None or self.test is not None:
            raise ValueError(f"labels that nothing can be rated by: {rated}")
        return None

    def training(self, record: Record, kept: Tensor | None) -> ImageSource:
        """The images that a run sees: none at the positions `kept`."""
        chosen = record.choices
        return self.subject.training(chosen.image_size, kept, chosen.num_images, self.wishes.seed)


def open_task(
    call: str,
    images: Any,
    out: str | os.PathLike[str],
    time: str,
    *,
    labels: Any,
    test: Any,
    algorithm: str | type[Supervisor] | None,
    backbone: nn.Module | str | None,
    image_size: int | tuple[int, int] | None,
    in_channels: int | None,
    batch_size: int | None,
    options: Mapping[str, Any] | None,
    supervise: Mapping[str, Any] | None,
    seed: int,
    device: torch.device | str | None,
    progress: bool,
    reading: ImageOptions,
    repeats: Choices | None = None,
) -> Task:
    """Opens the images, and refuses what can be refused before anything is timed.

    Args:
        call: Its name, and as for it all the others.
        images: As for `pretrain`, and so are all others.
        out: As for `pretrain`.
        time: As for `pretrain`.
        labels: As for `pretrain`.
        test: As for `pretrain`.
        algorithm: As for `pretrain`.
        backbone: As for `pretrain`.
        image_size: As for `pretrain`.
        in_channels: As for `pretrain`.
        batch_size: As for `pretrain`.
        options: As for `pretrain`.
        supervise: As for `pretrain`.
        seed: As for `pretrain`.
        device: As for `pretrain`.
        progress: As for `pretrain`.
        reading: How images are read.
        repeats: Choices of another run.
    """
    total = parse_time(time, "time")
    if total is None or total < LEAST_TIME:
        raise ValueError(f"time must be at least {LEAST_TIME:g}s, got {time!r}")
    started = launch()
    if started is not None and started.world > 1:
        raise ValueError(
            f"{started.world} processes were started together, and {call}() chooses and trains "
            "in one: start one, or give all of them the same supervise()"
        )
    clock = Clock(total)
    kind, name = algorithm_of(
        repeats.algorithm if algorithm is None and repeats is not None else algorithm
    )
    wishes = Wishes(
        kind=kind,
        algorithm=name,
        backbone=backbone,
        batch_size=batch_size,
        options=checked_options(kind, options),
        settings=checked_settings(supervise),
        seed=seed,
        device=default_device() if device is None else parse_device(device),
        named=algorithm is not None,
    )
    paths = Paths(Path(os.path.dirname(fixed_name(os.path.join(os.fspath(out), RUN)))))
    require_writable(os.fspath(paths.run), 1, "another out=")
    format, with_page = require_packages()
    subject = Subject(images, labels, image_size, in_channels, reading._asdict())
    _refuse_few(subject)
    if test is not None and not subject.has_labels:
        raise ValueError(
            "test= rates by labels, and the images have none: give labels=, or images that lie in "
            "a folder for each class"
        )
    asked = {"call": call} | subject.described() | _asked(wishes, subject, image_size, test)
    told = reading._replace(value_range=None)._asdict()  # which numbers it is, the images tell
    asked |= {name: plain_value(value) for name, value in told.items() if value is not None}
    task = Task(subject, wishes, paths, test, asked, format, with_page, progress, clock)
    if repeats is not None:
        task.repeats = repeats
        _refuse_other_wishes(task, repeats, image_size)
    return task


def _refuse_other_wishes(task: Task, repeats: Choices, image_size: Any) -> None:
    """Refuses what the user has said beside choices that say otherwise."""
    wishes, source = task.wishes, task.subject.source
    said = {
        "algorithm": wishes.algorithm,
        "backbone": None if wishes.backbone is None else name_of(wishes.backbone),
        "image_size": None if image_size is None else source.image_size,
        "in_channels": source.in_channels,
        "batch_size": wishes.batch_size,
    }
    for name, value in said.items():
        chosen = getattr(repeats, name)
        if value is not None and value != chosen:
            raise ValueError(
                f"choices= are of a run with {name}={chosen!r}, but here it is {value!r}: give "
                "the same, or leave choices= out"
            )


def _refuse_few(subject: Subject) -> None:
    number = subject.num_images
    if number is None or number >= rules.FEW_IMAGES:
        return
    if number < rules.FEWEST_IMAGES:
        raise ValueError(
            f"pretraining compares images with one another: give at least {rules.FEWEST_IMAGES}, "
            f"got {number}"
        )
    warn(
        f"{plural(number, 'image')} are few to learn from: below some {rules.FEW_IMAGES} a "
        "published pretrained network is likely to serve you better"
    )


def _asked(wishes: Wishes, subject: Subject, image_size: Any, test: Any) -> dict[str, Any]:
    """What the user has said, in plain values, by which a later call is known as the same."""
    size = None if image_size is None else list(subject.source.image_size)
    backbone = None if wishes.backbone is None else name_of(wishes.backbone)
    return {
        "algorithm": wishes.algorithm if wishes.named else None,
        "backbone": backbone,
        "image_size": size,
        "batch_size": wishes.batch_size,
        "options": {k: plain_value(v) for k, v in wishes.options.items()},
        "supervise": {k: plain_value(v) for k, v in wishes.settings.items() if k not in BESIDE},
        "seed": wishes.seed,
        "device": wishes.device.type,
        "labels": None if subject.labels is None else fingerprint(subject.labels),
        "test": test is not None,
    }


def plain_value(value: Any) -> Any:
    """A value as JSON has it; of networks and functions what they are known again by."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: plain_value(each) for name, each in value.items()}
    if isinstance(value, nn.Module):
        return type(value).__name__
    return fingerprint(value)


def taken_up(task: Task, overwrite: bool) -> Record | None:
    """The record of a former call, with the time of this one; the clock goes on from it.

    Args:
        task: The call.
        overwrite: Whether there shall be none.

    Raises:
        ValueError: If it was another one, or other files stand there.
    """
    record = None if overwrite else read_record(task.paths.choices)
    if record is None:
        if not overwrite:
            task.paths.refuse_others()
        return None
    refuse_others(record, task.asked)
    stored = _stored_run(task, record)
    if task.repeats is not None and task.repeats != record.choices:
        raise ValueError(
            f"{record.path.parent} holds a run with other choices than choices=: give another "
            "out=, or overwrite=True to begin anew"
        )
    total, trained_for = task.clock.total, seconds_of(task.paths.run)
    used = max(record.seconds, trained_for)  # the power may have gone in between
    task.clock = Clock(total, used)
    if total != record.total and task.repeats is None:
        planned_for = record.choices.train_seconds + total - record.total
        fits = trained_for + total - used - record.choices.reserved  # rating may have taken more
        seconds = max(1.0, trained_for, min(planned_for, fits))
        longer = record.choices.stretched(seconds)
        begun = 0 if stored is None else epochs_begun(stored["run"])
        longer = replace(longer, epochs=max(longer.epochs, begun))
        record.choices = told_anew(longer, task.wishes)
        record.total, record.is_done = total, False
    return record


def _stored_run(task: Task, record: Record) -> dict[str, Any] | None:
    """The checkpoint, None if there is none; refuses one of another algorithm than was chosen."""
    if not has_checkpoint(task.paths.run):
        return None
    try:
        stored = read_run(task.paths.checkpoint)
    except ValueError as error:
        raise ValueError(f"{error}. Give another out=, or overwrite=True to begin anew") from error
    chosen = record.choices.algorithm
    kind = SUPERVISORS.get(chosen, task.wishes.kind).__name__
    if stored["class"] != kind:
        raise ValueError(
            f"{record.path} says algorithm={chosen!r}, a {kind}, but {task.paths.checkpoint} holds "
            f"a {stored['class']}: put right what was changed, or give another out=, or "
            "overwrite=True to begin anew"
        )
    return stored


def planned(task: Task, share: float = 1.0) -> Record:
    """The record of a new run; nothing is written yet.

    Args:
        task: The call.
        share: Of the time for training, which one run shall have. Below 1 others are compared in
            the rest, by images that are kept from all of them.
    """
    subject, wishes, clock = task.subject, task.wishes, task.clock
    _look_at(task)
    if task.repeats is not None:
        return Record(task.paths.choices, task.asked, task.repeats, clock.total, clock.used)
    own = subject.sampled(subject.source.image_size, wishes.seed)
    rated = None
    if subject.has_labels:
        reserved = rules.reserve(clock.total, has_labels=True)
        most = rules.rated_images(reserved, own.seconds_an_image + 1e-6, 0)
        rated = task.rated(subject.source.image_size, most)
    tested = 0 if rated is None else len(rated.kept)
    if rated is None and share < 1.0:
        number = subject.num_images or 0
        tested = rules.compared_images(number, clock.total, own.seconds_an_image + 1e-6)
    part = share if rated is not None or tested else 1.0
    choices = plan(
        subject,
        wishes,
        left=lambda kept: part * (clock.left - kept),
        total=clock.total,
        free=None if subject.num_images is None else subject.num_images - tested,
        rated=(0 if rated is None else len(rated.train[1]), tested),
    )
    if rated is not None:
        look = own.seconds_an_image + choices.seconds_a_look
        most = min(choices.rated, rules.rated_images(choices.reserved, look, tested))
        choices = replace(choices, rated=most)
    return Record(task.paths.choices, task.asked, choices, clock.total, clock.used)


def _look_at(task: Task) -> None:
    """Warns of what would spoil the run, test images among the others above all."""
    source = task.subject.source
    if source.has_random_access:
        reading = {"value_range": source.value_range}
        tests = {} if task.test is None else {"": open_data(task.test, reading=reading)}
        warn_of_images(LabelledSource(source, None), tests)


def trained(task: Task, record: Record, images: ImageSource) -> Supervisor:
    """The supervisor when its time is up, or its epochs are done.

    Args:
        task: The call.
        record: Of the run.
        images: To train on.
    """
    choices, clock, paths = record.choices, task.clock, task.paths
    supervisor = task.wishes.build(images, choices.backbone, copied=False)
    seconds = clock.left - choices.reserved
    is_begun = has_checkpoint(paths.run)
    has_time = task.repeats is not None or seconds > 0
    if record.is_done or (is_begun and not has_time):
        tell("Its training is over, and it is rated again.", shown=task.progress)
        return supervisor.load(paths.run)
    limit = f"{max(1.0, seconds):.3f}s" if task.repeats is None else None
    try:
        with goes_on_by(AGAIN):
            supervisor.supervise(
                **{"lr_scheduler": "cosine", **settings_of(task, record)},
                epochs=choices.epochs,
                name=paths.run,
                resume=is_begun,
                overwrite=not is_begun,
                time_limit=limit,
                progress=task.progress,
            )
        record.remarks = _of_course(supervisor.run, choices)
    finally:
        record.seconds = clock.used
        record.write()
    if supervisor.run is None or supervisor.run.global_step == 0:
        raise RuntimeError(f"not one step was done in {seconds:.0f} s: give more time")
    return supervisor


def _of_course(run: Run | None, choices: Choices) -> list[str]:
    """What is to be said of a run that did not come to its last epoch."""
    if run is None or run.epoch >= run.epochs or run.stopped_by is not None:
        return []
    return [
        f"The time was up in epoch {run.epoch + 1} of {run.epochs}, before the rate had come to "
        f"its end (it was {run.learning_rate:.2g}): steps took longer than the "
        f"{choices.seconds_a_step:.3g} s that were measured. A longer time goes on."
    ]


def settings_of(task: Task, record: Record) -> dict[str, Any]:
    """Keywords of `supervise()` for every run of a call."""
    choices = record.choices
    return {
        "precision": choices.precision,
        "num_workers": choices.num_workers,
        "cache": task.paths.cache if choices.cache else None,
        "batch_size": choices.batch_size,
        "steps_per_epoch": choices.steps_per_epoch,
        "seed": task.wishes.seed,
        **task.wishes.settings,
    }
