"""The one call: from images to a backbone, its files, and whether it helped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from super_selfish.evaluation.comparison.entries import seconds_of
from super_selfish.evaluation.comparison.fingerprints import fingerprint
from super_selfish.pretraining import rules
from super_selfish.pretraining.asking import algorithm_of, checked_options, checked_settings
from super_selfish.pretraining.choices import Clock, Paths, Record, read_record, refuse_others
from super_selfish.pretraining.finishing import finish, require_packages
from super_selfish.pretraining.outcome import Outcome
from super_selfish.pretraining.planning import Wishes, name_of, plan
from super_selfish.pretraining.rules import Size
from super_selfish.pretraining.subjects import Rated, Subject
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.checkpoint import has_checkpoint
from super_selfish.training.counting import plural
from super_selfish.training.devices import default_device, parse_device
from super_selfish.training.display import tell
from super_selfish.training.launched import launch
from super_selfish.training.naming import fixed_name, require_writable
from super_selfish.training.run import parse_time
from super_selfish.training.telling import warn

LEAST_TIME = 20.0  # seconds
# Keywords of `supervise()` that change nothing of what is learned: another call may have others.
BESIDE = frozenset(
    {"callbacks", "monitor", "checkpoint_every", "worker_timeout", "keep_last"}
    | {"num_workers", "cache", "dataset_on_device", "on_nan"}
)


def pretrain(
    images: Any,
    out: str | os.PathLike[str] = "store/pretrained",
    time: str = "30min",
    *,
    labels: Any = None,
    test: Any = None,
    algorithm: str | type[Supervisor] | None = None,
    backbone: nn.Module | str | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    batch_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    supervise: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Outcome:
    """Pretrains a backbone in a given time, and says whether it helped.

    What is left at None is chosen for these images, this device and the time, by the rules of
    `super_selfish/pretraining/rules.py` and by steps that are timed; four lines say what and why.
    `time` counts everything: timing, training, rating and the page. It is kept to within a step
    and what rating takes, of which nobody knows exactly how long it will.

    In the folder `out` lie afterwards `run.pt` (the checkpoint, for `load` or to train on),
    `backbone.safetensors`, `run.csv` (the history), `run.html` (the report) and `choices.json`.
    Ctrl-C stores the run. Called again with the same `out`, images and settings it goes on with the
    time that is left, or with a longer `time` with what that adds; a call with others is refused.

    Args:
        images: Whatever `as_source` takes, a pair `(images, labels)`, or a stream.
        out: Folder of everything that is written.
        time: Such as `"30min"`, `"2h"`.
        labels: Classes of the images, or rows of zeros and ones, to rate the backbone by; nothing
            is trained with them. Default: those that a folder of class folders or a labelled data
            set brings. A fifth of the images, 2,000 at most, is then kept from training, as a test.
        test: Labelled images to test on instead, as for `evaluate`; then training sees all
            others.
        algorithm: Short name from `SUPERVISORS`, or a class.
        backbone: A network, or a name as for every algorithm.
        image_size: Images are brought to this size in pixels, a side or (height, width).
        in_channels: Images are brought to this many channels.
        batch_size: Images a step.
        options: Keywords of the algorithm's constructor, such as `{"temperature": 0.1}`.
        supervise: Keywords of `supervise()`, such as `{"lr": 3e-4}`.
        seed: Of first weights, order, views, and of the choice of images.
        device: Where networks run. Default: an accelerator where torch finds one.
        overwrite: Begins anew, and removes what a former call has left in `out`.
        progress: Whether to say what is chosen and show how far it is.

    Returns:
        Backbone, choices, evaluation or health, and where the files are.

    Raises:
        ValueError: If something makes no sense, `out` holds another run, or there are fewer than 8
            images.
        TypeError: If a keyword is none that the algorithm or `supervise()` takes.
        OSError: If nothing can be written there.
    """
    total = parse_time(time, "time")
    if total is None or total < LEAST_TIME:
        raise ValueError(f"time must be at least {LEAST_TIME:g}s, got {time!r}")
    started = launch()
    if started is not None and started.world > 1:
        raise ValueError(
            f"{started.world} processes were started together, and pretrain() chooses and trains "
            "in one: start one, or give all of them the same supervise()"
        )
    clock = Clock(total)
    kind, name = algorithm_of(algorithm)
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
    paths = Paths(Path(os.path.dirname(fixed_name(os.path.join(os.fspath(out), "run")))))
    require_writable(os.fspath(paths.run), 1)
    format, with_page = require_packages()
    subject = Subject(images, labels, image_size, in_channels)
    _refuse_few(subject)
    asked = subject.described() | _asked(wishes, subject, image_size, labels, test)
    record = None if overwrite else read_record(paths.choices)
    if record is None:
        if not overwrite:
            paths.refuse_others()
        record, rated = _planned(subject, wishes, clock, paths, asked, test)
        paths.clear()
        record.write()
    else:
        refuse_others(record, asked)
        record, clock = _taken_up(record, total, paths)
        chosen = record.choices
        rated = _rated(subject, chosen.image_size, chosen.rated, test, seed)
    tell(str(record.choices), shown=progress)
    supervisor = _trained(subject, wishes, rated, record, clock, paths, progress)
    return finish(supervisor, subject, rated, record, clock, paths, format, with_page, progress)


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


def _asked(
    wishes: Wishes, subject: Subject, image_size: Any, labels: Any, test: Any
) -> dict[str, Any]:
    """What the user has said, in plain values, by which a later call is known as the same."""
    size = None if image_size is None else list(subject.source.image_size)
    backbone = None if wishes.backbone is None else name_of(wishes.backbone)
    return {
        "algorithm": wishes.algorithm if wishes.named else None,
        "backbone": backbone,
        "image_size": size,
        "batch_size": wishes.batch_size,
        "options": {k: _plain(v) for k, v in wishes.options.items()},
        "supervise": {k: _plain(v) for k, v in wishes.settings.items() if k not in BESIDE},
        "seed": wishes.seed,
        "device": wishes.device.type,
        "labels": None if subject.labels is None else fingerprint(subject.labels),
        "test": test is not None,
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it; of networks and functions what they are known again by."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module):
        return type(value).__name__
    return fingerprint(value)


def _rated(subject: Subject, size: Size, most: int, test: Any, seed: int) -> Rated | None:
    """Images to rate by, of a size; None where there are no labels that are of use."""
    if not most:
        return None
    rated = subject.rated(size, most, test, seed)
    if isinstance(rated, Rated):
        return rated
    if subject.labels is not None or test is not None:
        raise ValueError(f"labels that nothing can be rated by: {rated}")
    return None


def _planned(
    subject: Subject,
    wishes: Wishes,
    clock: Clock,
    paths: Paths,
    asked: dict[str, Any],
    test: Any,
) -> tuple[Record, Rated | None]:
    """The record of a new run, and what it will be rated by."""
    own = subject.sampled(subject.source.image_size, wishes.seed)
    reserved = rules.reserve(clock.total, has_labels=True)
    rated = None
    if subject.has_labels:
        most = rules.rated_images(reserved, own.seconds_an_image + 1e-6, 0)
        rated = _rated(subject, subject.source.image_size, most, test, wishes.seed)
    elif test is not None:
        raise ValueError("test= rates by labels, and the images have none: give labels= as well")
    reserved = rules.reserve(clock.total, has_labels=rated is not None)
    tested = 0 if rated is None else len(rated.kept)
    free = None if subject.num_images is None else subject.num_images - tested
    measuring = rules.MEASURING * clock.total
    choices = plan(
        subject,
        wishes,
        left=lambda: clock.left - reserved,
        measuring=measuring,
        reserved=reserved,
        free=free,
        rated=(0 if rated is None else len(rated.train[1]), tested),
    )
    if rated is not None:
        look = own.seconds_an_image + choices.seconds_a_step / (6 * choices.batch_size)
        most = min(choices.rated, rules.rated_images(reserved, look, tested))
        choices = replace(choices, rated=most)
        rated = _rated(subject, choices.image_size, most, test, wishes.seed)
    return Record(paths.choices, asked, choices, clock.total, clock.used), rated


def _taken_up(record: Record, total: float, paths: Paths) -> tuple[Record, Clock]:
    """A former call's record with the time of this one, and a clock that goes on."""
    if total != record.total:
        more = record.choices.train_seconds + total - record.total
        record.choices = record.choices.stretched(max(1.0, more))
        record.total, record.is_done = total, False
    used = max(record.seconds, seconds_of(paths.run))  # the power may have gone in between
    return record, Clock(total, used)


def _trained(
    subject: Subject,
    wishes: Wishes,
    rated: Rated | None,
    record: Record,
    clock: Clock,
    paths: Paths,
    progress: bool,
) -> Supervisor:
    """The supervisor when its time is up, or its epochs are done."""
    choices = record.choices
    kept = None if rated is None else rated.kept
    images = subject.training(choices.image_size, kept, choices.num_images, wishes.seed)
    supervisor = wishes.build(images, choices.backbone, copied=False)
    reserved = rules.reserve(clock.total, has_labels=rated is not None)
    seconds = clock.left - reserved
    is_begun = has_checkpoint(paths.run)
    if record.is_done or (is_begun and seconds <= 0):
        return supervisor.load(paths.run)
    settings: dict[str, Any] = {
        "lr_scheduler": "cosine",
        "precision": choices.precision,
        "num_workers": choices.num_workers,
        "cache": paths.cache if choices.cache else None,
        **wishes.settings,
    }
    try:
        supervisor.supervise(
            **settings,
            epochs=choices.epochs,
            batch_size=choices.batch_size,
            name=paths.run,
            resume=is_begun,
            overwrite=not is_begun,
            time_limit=f"{max(1.0, seconds):.3f}s",
            steps_per_epoch=choices.steps_per_epoch,
            seed=wishes.seed,
            progress=progress,
        )
    finally:
        record.seconds = clock.used
        record.write()
    if supervisor.run is None or supervisor.run.global_step == 0:
        raise RuntimeError(f"not one step was done in {seconds:.0f} s: give more time")
    return supervisor
