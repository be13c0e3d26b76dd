"""From images, a time and a device to what a run shall be, with the reasons in four lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.sources import ImageSource
from super_selfish.models.copying import copy_module
from super_selfish.models.wrappers import unwrapped
from super_selfish.pretraining import rules
from super_selfish.pretraining.choices import Choices
from super_selfish.pretraining.rules import Rung
from super_selfish.pretraining.subjects import Sampled, Subject
from super_selfish.pretraining.timing import pace_of
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.counting import plural
from super_selfish.training.display import duration
from super_selfish.training.enough import is_enough
from super_selfish.training.precision import AUTO


@dataclass(frozen=True, eq=False)
class Wishes:
    """What the user has said; None is left to the rules.

    Attributes:
        kind: Class of the supervisor.
        algorithm: Its name.
        backbone: As for every algorithm.
        batch_size: Images a step.
        options: Keywords of the constructor.
        settings: Keywords of `supervise()`.
        seed: Of everything that is drawn.
        device: Where networks run.
        named: Whether the user has named the algorithm.
    """

    kind: Any
    algorithm: str
    backbone: nn.Module | str | None
    batch_size: int | None
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    seed: int
    device: torch.device
    named: bool

    @property
    def is_accelerated(self) -> bool:
        """Whether networks run on an accelerator."""
        return self.device.type != "cpu"

    def build(self, images: ImageSource | Tensor, backbone: str, *, copied: bool) -> Supervisor:
        """The supervisor, with first weights that the seed decides.

        Args:
            images: To train on.
            backbone: By name, unless the user has given a network.
            copied: Whether networks of the user's own stay as they are.
        """
        options = dict(self.options)
        if isinstance(self.backbone, nn.Module):
            options["backbone"] = self.backbone
        else:
            options["backbone"] = backbone
        if copied:
            options = copy_module(options)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            supervisor: Supervisor = self.kind(images, **options)
        return supervisor.to(self.device)


class Timed(NamedTuple):
    """A rung of the ladder, and what was measured on it."""

    rung: Rung
    step: float  # seconds, with images in memory
    sampled: Sampled
    load: float  # as in `Pace`


class Slower(NamedTuple):
    """A rung that was not taken."""

    rung: Rung
    fitting: int | None  # updates, where it was timed
    needed: int  # updates


def rungs_for(subject: Subject, wishes: Wishes) -> list[Rung]:
    """Networks and sizes among which is chosen, as far as the user has left it open."""
    size = subject.source.image_size if subject.is_fixed else None
    given = wishes.backbone
    if given is None:
        given = getattr(wishes.kind, "own_backbone", None)
    if given is not None:
        name = name_of(given)
        own = rules.sizes(subject.own_size) if size is None else [size]
        return [Rung(name, each) for each in own]
    if size is None:
        return rules.ladder(subject.own_size, is_accelerated=wishes.is_accelerated)
    names = [
        rules.NARROW,
        rules.DEEP,
        *([rules.DEEPER] if wishes.is_accelerated else []),
    ]
    return [Rung(name, size) for name in names]


def name_of(backbone: nn.Module | str) -> str:
    """A name as it is; of a network its class."""
    return backbone if isinstance(backbone, str) else type(unwrapped(backbone)).__name__


def climb(
    subject: Subject,
    wishes: Wishes,
    batch_size: int,
    left: Callable[[Timed], float],
    measuring: float,
) -> tuple[Timed, Slower | None]:
    """Times rung after rung, as long as enough updates fit.

    Args:
        subject: The images.
        wishes: The user's.
        batch_size: Images a step.
        left: Tells the seconds that there are for steps, now that one rung was timed.
        measuring: Seconds for timing, all rungs together.

    Returns:
        The last one of which enough fit, and the one after it, which is too slow.
    """
    rungs = rungs_for(subject, wishes)
    taken = time_rung(subject, wishes, rungs[0], batch_size, measuring / len(rungs))
    for rung in rungs[1:]:
        needed = rules.needed_updates(taken.rung, rung)
        if not rules.is_worth_timing(updates_in(left(taken), taken.step), taken.rung, rung):
            return taken, Slower(rung, None, needed)
        timed = time_rung(subject, wishes, rung, batch_size, measuring / len(rungs))
        fitting = updates_in(left(timed), timed.step)
        if fitting < needed:
            return taken, Slower(rung, fitting, needed)
        taken = timed
    return taken, None


def time_rung(subject: Subject, wishes: Wishes, rung: Rung, batch_size: int, most: float) -> Timed:
    """Times steps on one rung."""
    sampled = subject.sampled(rung.image_size, wishes.seed)
    images = sampled.images
    if images.dtype == torch.uint16:  # older torch does not repeat it
        images = to_unit_range(images).float()
    pace = pace_of(
        lambda some: wishes.build(some, rung.backbone, copied=True),
        images,
        batch_size,
        most,
        **wishes.settings,
    )
    return Timed(rung, pace.seconds, sampled, pace.load)


def plan(
    subject: Subject,
    wishes: Wishes,
    *,
    left: Callable[[float], float],
    total: float,
    free: int | None,
    rated: tuple[int, int],
) -> Choices:
    """Chooses what the user has left open.

    Args:
        subject: The images.
        wishes: The user's.
        left: From the seconds that are kept for rating to those that there are for the run, now.
        total: Seconds of the whole call.
        free: Images that may be trained on; None where nobody knows.
        rated: Images with labels that rating learns from, and those that are kept from training.

    Raises:
        ValueError: If hardly a step fits.
    """

    def kept(timed: Timed) -> float:
        return rules.reserve(total, has_labels=rated[0] > 0, load=timed.load)

    batch = wishes.batch_size
    if batch is None:
        batch = rules.batch_size(free, is_accelerated=wishes.is_accelerated)
    measuring = rules.MEASURING * total
    taken, slower = climb(subject, wishes, batch, lambda timed: left(kept(timed)), measuring)
    step, reserved = taken.step, kept(taken)
    seconds = left(reserved)
    if seconds < rules.FEWEST_STEPS * step:
        raise ValueError(
            f"time= is too short: a step of {taken.rung.in_words} takes {step:.2g} s here, and "
            f"{max(0.0, seconds):.0f} s are left for training; give "
            f"{duration(4 * rules.FEWEST_STEPS * step + total)} or more"
        )
    if wishes.batch_size is None:
        smaller = rules.shorter_batch(seconds, step, batch)
        batch, step = smaller, step * smaller / batch
    way = _reading(subject, wishes, taken, step, batch, seconds, free)
    for_steps = seconds - way.seconds_before
    number: int | None = None
    steps_per_epoch: int | None = None
    if subject.source.has_random_access:
        number = free or len(subject.source)
        epochs, number, _ = rules.length(for_steps, way.seconds_a_step, batch, number)
    else:
        epochs, steps_per_epoch = rules.length_of_stream(for_steps, way.seconds_a_step)
    chosen = Choices(
        algorithm=wishes.algorithm,
        backbone=taken.rung.backbone,
        image_size=taken.rung.image_size,
        in_channels=subject.source.in_channels,
        batch_size=batch,
        epochs=epochs,
        num_images=number,
        steps_per_epoch=steps_per_epoch,
        num_workers=way.num_workers,
        cache=way.cache,
        precision=AUTO if wishes.is_accelerated else "fp32",
        seconds_a_step=way.seconds_a_step,
        train_seconds=seconds,
        reserved=reserved,
        load=taken.load,
        rated=rated[0],
        tested=rated[1],
    )
    reasons = why(chosen, subject, wishes, taken, slower, free)
    return replace(chosen, why=reasons)


def _reading(
    subject: Subject,
    wishes: Wishes,
    taken: Timed,
    step: float,
    batch_size: int,
    seconds: float,
    free: int | None,
) -> rules.Reading:
    """How images reach the networks; what the user has said of it stays."""
    images = taken.sampled.images
    decodes = subject.source.decodes_files and not {"cache", "num_workers"} & set(wishes.settings)
    workers = min(8, (os.cpu_count() or 1) - 1) if wishes.is_accelerated and decodes else 0
    return rules.reading(
        seconds,
        step,
        taken.sampled.seconds_an_image,
        batch_size,
        free or len(images),
        images[0].nbytes,
        may_cache=decodes and images.dtype == torch.uint8,
        workers=workers,
    )


def why(
    chosen: Choices,
    subject: Subject,
    wishes: Wishes,
    taken: Timed,
    slower: Slower | None,
    free: int | None,
) -> tuple[str, ...]:
    """Four lines that say what was chosen, and why."""
    return (
        _of_images(chosen, subject, free),
        _of_network(chosen, wishes, taken, slower),
        _of_task(chosen, wishes),
        _of_run(chosen, wishes),
    )


def told_anew(chosen: Choices, wishes: Wishes) -> Choices:
    """Choices whose last line says how long the run is now.

    Args:
        chosen: After the time was changed.
        wishes: The user's.
    """
    return replace(chosen, why=(*chosen.why[:-1], _of_run(chosen, wishes)))


def _of_images(chosen: Choices, subject: Subject, free: int | None) -> str:
    own, size = subject.own_size, chosen.image_size
    channels = plural(chosen.in_channels, "channel")
    seen = f"{size[0]}x{size[1]}"
    if tuple(size) != tuple(own):
        seen += f", of {own[0]}x{own[1]}"
    if chosen.num_images is None:
        number = "a stream of them"
    elif free is not None and chosen.num_images < free:
        number = f"{chosen.num_images:,} of {free:,}, drawn at random, since more do not fit"
    else:
        number = f"{chosen.num_images:,}"
    said = f"Images: {number}; {seen}, {channels}"
    if chosen.tested:
        purpose = "test on" if chosen.rated else "compare by"
        said += f"; {chosen.tested:,} others are kept to {purpose}"
    return said


def _of_network(chosen: Choices, wishes: Wishes, taken: Timed, slower: Slower | None) -> str:
    yours = "your " if isinstance(wishes.backbone, nn.Module) else ""
    said = (
        f"Network: {yours}{taken.rung.in_words}; an update of {chosen.batch_size} images takes "
        f"{chosen.seconds_a_step:.3g} s"
    )
    if slower is not None:
        number = "fewer" if slower.fitting is None else f"{slower.fitting:,}, fewer"
        said += (
            f"; of {slower.rung.in_words} fit {number} than the {slower.needed:,} that are wanted"
        )
    return said


def _of_task(chosen: Choices, wishes: Wishes) -> str:
    if wishes.named:
        return f"Task: {chosen.algorithm}, as you say"
    return f"Task: {chosen.algorithm}, which {rules.algorithm()[1]}"


def _of_run(chosen: Choices, wishes: Wishes) -> str:
    if "lr_scheduler" in wishes.settings:
        rate = "by your schedule"
    else:
        rate = "falling along a cosine"
    epochs, updates = plural(chosen.epochs, "epoch"), plural(chosen.updates, "update")
    said = (
        f"Run: {epochs}, {updates}, in {duration(chosen.train_seconds)} on {wishes.device.type}, "
        f"the rate {rate}; {duration(chosen.reserved)} more for rating and the page"
    )
    if chosen.cache:
        said += "; images are decoded once into a file"
    elif chosen.num_workers:
        said += f"; {plural(chosen.num_workers, 'process')} read"
    passes = chosen.epochs if chosen.num_images is not None else 1
    if not is_enough(chosen.updates, passes):
        said += f"; {updates} are few: more time would help"
    return said


def updates_in(seconds: float, step: float) -> int:
    """Updates that fit into a time."""
    return int(rules.SLACK * seconds / step)
