"""The state of one call of `supervise()`: its settings, its position, what it has seen."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from super_selfish.times import TIMES, parse_time, seconds_in
from super_selfish.training.acceleration import match_layout
from super_selfish.training.accumulation import Accumulation
from super_selfish.training.averaging import Average, Rule
from super_selfish.training.callbacks import Callbacks
from super_selfish.training.control import of_all
from super_selfish.training.counting import plural
from super_selfish.training.description import Settings
from super_selfish.training.distributed import is_distributed, rank, share_of_images, world_size
from super_selfish.training.finite import (
    EVERY_UPDATE,
    LOWER,
    NonFiniteLossError,
    listed,
    not_finite,
)
from super_selfish.training.guard import LOSS, Guard
from super_selfish.training.history import History, Row
from super_selfish.training.moments import fitting_state
from super_selfish.training.optimizers import each_of, load_moments
from super_selfish.training.plain import plain_setting
from super_selfish.training.precision import DTYPES
from super_selfish.training.schedules import advance, hold_constant, steps_every_update
from super_selfish.training.settings import (
    announce_changes,
    changed,
    differences,
    refuse_differences,
)
from super_selfish.training.sharing import Order, Place, Sharing, announce_sharing, place_after

DAMAGED = ": DamagedError: "  # in the reason why an image was left out: it decodes in part
UNLIMITED = 1_000_000  # epochs of a run that ends when its time is up
Losses = Tensor | dict[str, Tensor]
SMALLEST_SCALE = 2.0**-14  # of gradients in fp16; it begins with 2^16, and is halved at an overflow
# What torch raises at a state that is none.
_MISFITS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError)
RETRY_AFTER = 60.0  # seconds until a checkpoint that could not be written is tried again


def _write(write: Callable[[], object]) -> bool:
    write()
    return True


def _have_nothing_waiting() -> None:
    """Has nothing to wait for."""


def decides(default: Any = MISSING) -> Any:
    """A setting that decides what a step computes: it must be the same where a run goes on."""
    return field(default=default, metadata={"decides": True})


class Measured(Protocol):
    """What a feed knows of the present step."""

    images: int
    unreadable: tuple[str, ...]
    waited: float
    read: float

    def lap(self) -> float:
        """Seconds since the last lap."""


@dataclass
class Run:
    """Settings and position of a run.

    `epoch` and `step` name the next step: `step` of `steps_per_epoch` in `epoch`, from 0. The
    networks had begun `epochs_before` epochs in runs before this one, so draws go on from there.
    """

    name: str | None
    epochs: int
    checkpoint_every: int | str | None
    time_limit: str | None
    progress: bool
    device: torch.device
    scaler: torch.amp.GradScaler
    batch_size: int = decides()
    shuffle: bool = decides()
    seed: int = decides()
    precision: str = decides()
    accumulate: int = decides()
    clip_norm: float | None = decides()
    num_images: int = decides(0)
    sync_batch_norm: bool = decides(False)
    weight_decay: float | tuple[float, float] | None = decides(None)
    epochs_before: int = 0
    epoch: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    optimizer: Any = None
    lr_scheduler: Any = None
    order: Order | None = None  # of the images; None where it is the user's own
    callbacks: Callbacks = field(default_factory=Callbacks)
    parts: dict[str, Any] = field(default_factory=dict)  # supervisors whose steps it does, by name
    devices: list[torch.device] = field(default_factory=list)  # that of the networks first
    remarks: list[str] = field(default_factory=list)  # said before the first step
    compile: bool = False
    compile_augmentation: bool = False
    keep_last: int = 2
    on_nan: str = "raise"
    averaging: Rule | None = None
    lr_scaling: str | None = None
    average: Average | None = None  # of the backbone's weights; they are the supervisor's too
    buffers: Callable[[], Iterable[Tensor]] = tuple
    is_whole: bool = True  # no step is under way, and no gradients wait for more batches
    infinite_at_start: dict[str, Tensor] = field(default_factory=dict)
    attempt: Callable[[Callable[[], object]], bool] = _write
    settle: Callable[[], object] = _have_nothing_waiting  # waits for what is being written
    history: History = field(default_factory=History)
    told: Settings = field(default_factory=dict)  # what decides besides
    schedule: Settings = field(default_factory=dict)  # what may change where a run goes on
    watching: Settings = field(default_factory=dict)  # what the monitor measures
    watched_since: int = 0  # epochs before that were measured otherwise
    stream: Any = None  # where the stream of its images stands, if they come from one
    kept: str | None = None  # which epoch the monitor has kept, and where, in words

    def __post_init__(self) -> None:
        """Refuses settings that make no sense, before anything is built."""
        given = [each.name for each in fields(self) if each.default_factory is MISSING]
        for name in given:
            setattr(self, name, plain_setting(getattr(self, name)))
        if self.epochs < 0:
            raise ValueError(f"epochs must not be negative, got {self.epochs}")
        if self.precision not in DTYPES:
            raise ValueError(f"precision is one of {sorted(DTYPES)}, got {self.precision!r}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate must be at least 1 batch, got {self.accumulate}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive, got {self.clip_norm}")
        self._every_steps, self._every_seconds = parse_interval(
            self.checkpoint_every, "checkpoint_every"
        )
        self.began = self._written = time.monotonic()
        self._retry_at: float | None = None
        seconds = parse_time(self.time_limit, "time_limit")
        if self.keep_last < 1:
            raise ValueError(f"keep_last must be at least 1 file, got {self.keep_last}")
        self._deadline = math.inf if seconds is None else self._written + seconds
        self.guard = Guard(self.on_nan, self.device, self.buffers)
        self.accumulation = Accumulation(self.batch_size)
        self.has_advanced = False
        self.has_exploded = False
        self.warned: set[str] = set()  # verdicts that were told, without their numbers
        self.devices = self.devices or [self.device]
        self.stored_step: int | None = None  # up to which this call has stored
        self.all_stop = False  # all of several processes have agreed to end
        self.stopped_by: str | None = None  # what wants it to end before its last epoch, in words
        self._entry: Place | None = None  # at which it went on, if no full steps led there

    @property
    def processes(self) -> int:
        """How many train together."""
        return world_size()

    @property
    def images_per_update(self) -> int:
        """Of all batches that make an update, in all processes, where they are full."""
        return self.sharing.images * self.accumulate

    @property
    def settings(self) -> Settings:
        """All that must be the same where the run goes on."""
        own = [each.name for each in fields(self) if each.metadata.get("decides")]
        decisive = {name: getattr(self, name) for name in own}
        return decisive | {"processes": self.processes} | self.told

    @property
    def sharing(self) -> Sharing:
        """How the images of a step are shared out."""
        return Sharing(self.batch_size, self.accumulate, self.processes)

    @property
    def seen(self) -> int:
        """Images of the present epoch that all processes together have seen."""
        return self._seen_before(self.step)

    @property
    def _is_at_entry(self) -> bool:
        return self._entry is not None and self._entry[:2] == (self.epoch, self.step)

    def _seen_before(self, step: int) -> int:
        if self._entry is not None and self._entry[:2] == (self.epoch, step):
            return self._entry.seen
        return self.num_images if step == self.steps_per_epoch else step * self.sharing.images

    @property
    def path(self) -> str:
        """The name, of a run that has one."""
        if self.name is None:
            raise ValueError("this run stores nothing")
        return os.fspath(self.name)

    @property
    def global_step(self) -> int:
        """Steps since the beginning."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def total_updates(self) -> int:
        """Updates of the weights in the whole run."""
        return max(1, self.epochs * self._updates_in(self.steps_per_epoch))

    @property
    def updates(self) -> int:
        """Updates since the beginning."""
        before = self.epoch * self._updates_in(self.steps_per_epoch)
        if self._is_at_entry:  # which may lie within an update of this run
            return before + self.step // self.accumulate
        return before + self._updates_in(self.step)

    def _updates_in(self, steps: int) -> int:
        return -(-steps // self.accumulate)

    @property
    def is_last_of_epoch(self) -> bool:
        """Whether the step under way ends its epoch."""
        return self.step + 1 == self.steps_per_epoch

    @property
    def updates_now(self) -> bool:
        """Whether the step under way ends with an update, or only adds to the gradients."""
        return self.is_last_of_epoch or (self.step + 1) % self.accumulate == 0

    @property
    def batches_in_update(self) -> int:
        """Batches whose gradients the present update sums."""
        first = self.step - self.step % self.accumulate
        return min(self.accumulate, self.steps_per_epoch - first)

    def end_step(self, values: dict[str, Tensor], feed: Measured) -> None:
        """Notes a step, and goes to the next one of the epoch.

        Args:
            values: The loss and what else was measured, scalars by name.
            feed: Knows the images and times of the step.
        """
        self.history.add(
            values,
            images=feed.images,
            unreadable=len(feed.unreadable),
            seconds=feed.lap(),
            waited=feed.waited,
            finite_only=self.guard.skips,
            weight=share_of_images(),
        )
        damaged = sum(DAMAGED in text for text in feed.unreadable)
        if damaged:
            self.history.count("damaged", torch.tensor(damaged, device=self.device))
        self.step += 1
        self.has_advanced = True

    def end_epoch(self) -> Row:
        """Goes to the next epoch, and closes the old one's row of the history."""
        self.raise_if_not_finite()
        if self.history.totals().get("skipped_updates", 0) >= self._updates_in(
            self.steps_per_epoch
        ):
            raise NonFiniteLossError(
                self.global_step - 1, EVERY_UPDATE, self.steps_per_epoch, advice=LOWER
            )
        row = self.history.end_epoch(self.epoch + 1, self.learning_rate)
        self.epoch, self.step = self.epoch + 1, 0
        return row

    @property
    def learning_rate(self) -> float:
        """Of the optimizer's first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def check_finite(self, loss: Losses) -> None:
        """Stops a run whose loss is not finite: on a CPU at once, elsewhere before it is stored.

        Raises:
            NonFiniteLossError: If it is known not to be, and not to be left out.
        """
        if not self.guard.check_loss(total(loss), self.global_step):
            raise NonFiniteLossError(self.global_step, LOSS, self.steps_per_epoch)

    def move(self, optimizers: dict[str, Any] | Any, named: Iterable[tuple[str, Tensor]]) -> bool:
        """Steps the optimizer, or each of several, unless the update is not finite.

        Args:
            optimizers: After backward, with gradients that are not scaled any more.
            named: Parameters by name, for the message.

        Returns:
            Whether the weights moved.

        Raises:
            NonFiniteLossError: If a gradient is known not to be finite, and not to be left out.
        """
        several = each_of(optimizers)
        if not self.guard.may_move(several, self.global_step, self.scaler):
            gradients = {name: p.grad for name, p in named if p.grad is not None}
            raise NonFiniteLossError(*self._first_bad(gradients), self.steps_per_epoch)
        moved, bad = self.guard.move(several, self.scaler)
        if bad is not None and rank() == 0:  # it is so in all processes
            self.history.count("skipped_updates", bad)
        return moved

    def follow(self) -> None:
        """Has the averaged weights, if there are any, take in those after an update."""
        if self.average is not None:
            number = self.epoch * self._updates_in(self.steps_per_epoch)
            number += self.step // self.accumulate
            self.average.update(number, self.total_updates, self.guard.left_out)

    def _first_bad(self, gradients: dict[str, Tensor]) -> tuple[int, str]:
        """The step of the update that was the first to be not finite, and what of it.

        Of several processes, which all ask this at once, one has a loss that is not, or none.
        """
        what = f"gradient of {listed(not_finite(gradients))}"
        found = of_all(self.guard.first_bad()) if is_distributed() else []
        bad = [(each[0], number) for number, each in enumerate(found) if each is not None]
        if not bad:
            return self.global_step, what
        step, number = min(bad)
        return step, f"{LOSS} of process {number}"

    def unscale(self, optimizers: dict[str, Any] | Any) -> None:
        """Brings gradients to their own size, where half precision has scaled them.

        Args:
            optimizers: One, or several by name, after backward.
        """
        for optimizer in each_of(optimizers):
            self.scaler.unscale_(optimizer)

    def raise_if_not_finite(self) -> None:
        """Raises if a step since the start of the run had a loss or gradient that was not finite.

        Raises:
            NonFiniteLossError: If it is so; reads the device.
        """
        first = self.guard.first_bad()
        if first is not None:
            raise NonFiniteLossError(*first, self.steps_per_epoch)
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            # An overflow would have ended long before: every update of late was left out.
            what = "gradient, however little it is scaled,"
            advice = f'{LOWER}, or precision="bf16"'  # the scaler leaves updates out by itself
            raise NonFiniteLossError(
                self.global_step - 1, what, self.steps_per_epoch, advice=advice
            )

    def is_over(self) -> bool:
        """Whether all epochs are done, the time is up, or somebody has stopped it."""
        if self.epoch >= self.epochs:
            return True
        is_wanted = self.stopped_by is not None or self.is_late
        if is_distributed():  # what one of them wants, or by its own clock, is not enough
            is_wanted = self.all_stop
        return is_wanted and self.is_between_updates

    def stop(self, cause: str) -> None:
        """Ends the run after this update, as if its time were up; what it has learned is stored.

        Where several processes train, all of them end before the next step once one calls this.

        Args:
            cause: Who stops it and why, in words that follow "Stopped by".
        """
        self.stopped_by = self.stopped_by or cause

    @property
    def is_late(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._deadline

    @property
    def cause_of_end(self) -> str:
        """What has ended a run before its last epoch, in words that follow "Stopped by"."""
        return self.stopped_by or f"time_limit={self.time_limit!r}"

    @property
    def is_between_updates(self) -> bool:
        """Whether no gradients are waiting for more batches."""
        is_at_end = self.step % self.accumulate == 0 or self.step == self.steps_per_epoch
        return is_at_end or self._is_at_entry

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether it is time to write a checkpoint; never amid accumulated gradients."""
        if self.name is None or not self.is_between_updates:
            return False
        if self._retry_at is not None:
            return time.monotonic() >= self._retry_at
        if self._every_steps is not None:
            return self.global_step % self._every_steps == 0
        if self._every_seconds is not None:
            return time.monotonic() - self._written >= self._every_seconds
        return False

    def began_checkpoint(self) -> None:
        """Starts the time to the next checkpoint, while this one is being written."""
        self._written = time.monotonic()
        self._retry_at = None

    def wrote_checkpoint(self, step: int | None = None) -> None:
        """Notes what is in a checkpoint, and starts the time to the next one.

        Args:
            step: Of the run when it was begun; without it that is now.
        """
        if step is None:
            self.began_checkpoint()
        self.stored_step = self.global_step if step is None else step

    def failed_to_write(self) -> None:
        """Puts the next checkpoint off for a while, at most the time between two."""
        wait = RETRY_AFTER if self._every_seconds is None else min(RETRY_AFTER, self._every_seconds)
        self._retry_at = time.monotonic() + wait

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on, as plain values and tensors."""
        step = self.step
        if not self.is_between_updates:
            step -= step % self.accumulate
            if self._entry is not None and self._entry.epoch == self.epoch:
                step = max(step, self._entry.step)
        stream = {}
        if self.stream is not None:
            stream["stream"] = self.stream.state_dict(self.epochs_before + self.epoch, step)
        return stream | {
            "settings": self.settings,
            "schedule": self.schedule,
            "watching": self.watching,
            "watched_since": self.watched_since,
            "epochs_before": self.epochs_before,
            "devices": len(self.devices),
            "epoch": self.epoch,
            "step": step,
            "seen": self._seen_before(step),
            "history": self.history.state_dict(),
            "scaler": self.scaler.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "lr_scheduler": None if self.lr_scheduler is None else self.lr_scheduler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where a stored run stopped.

        Learning rate, epochs and schedule are those of this run. Where they differ from the stored
        ones, the rest of the run is as if it had had them from the start. With another number of
        processes it goes on with the images of the epoch that none of the former ones has seen.

        Args:
            state: What `state_dict` returned.

        Raises:
            ValueError: If a setting differs that decides what a step computes, or the stored run
                has gone beyond the end of this one.
        """
        stored, given = Sharing.of(state["settings"]), self.settings
        if stored is not None and stored.processes != self.processes:
            given = {name: value for name, value in given.items() if name not in Sharing._fields}
        refuse_differences(differences(state["settings"], given), self.name)
        if (state["epoch"], state["step"]) > (self.epochs, 0):
            done = plural(state["epoch"], "epoch")
            if state["step"]:
                done += f" and {plural(state['step'], 'step')}"
            raise ValueError(
                f"cannot resume {self.name}: the stored run has done {done}, this call wants "
                f"epochs={self.epochs} in total: give more, or load() what is stored"
            )
        self._go_to(state, stored or self.sharing)
        if self.stream is not None:
            epoch = self.epochs_before + self.epoch
            self.stream.load_state_dict(state.get("stream"), epoch, self.step)
            if self.stream.remark is not None:
                self.remarks.append(self.stream.remark)
        times = self.processes / (stored or self.sharing).processes
        self.history.load_state_dict(state["history"], self.device, times)
        is_watched_alike = not differences(state.get("watching", {}), self.watching)
        self.watched_since = state.get("watched_since", 0) if is_watched_alike else self.epoch
        changes = changed(state.get("schedule", {}), self.schedule)
        try:
            gathered = fitting_state(self.optimizer, state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if "schedule" in state and not changes:
                self.optimizer.load_state_dict(gathered)
                self.lr_scheduler.load_state_dict(state["lr_scheduler"])
            else:
                self._take_place(gathered)
            match_layout(self.optimizer)
        except _MISFITS as error:
            raise ValueError(
                f"cannot resume {self.name}: the state of its optimizer, schedule or scaler has "
                f"another form ({type(error).__name__}: {error})"
            ) from error
        announce_changes(changes, self.name, self.epoch)
        if stored is not None and stored.processes != self.processes:
            place = Place(self.epoch, self.step, self.seen)
            rate = (self.learning_rate, self.lr_scaling)
            announce_sharing(place, stored, self.sharing, self.name, *rate)

    def _go_to(self, state: dict[str, Any], stored: Sharing) -> None:
        """Takes the place of a stored run, whose images were shared out so."""
        self.epoch, step, own = state["epoch"], state["step"], self.sharing
        seen = min(state.get("seen", step * stored.images), self.num_images)
        is_beyond = stored == own and step > self.steps_per_epoch
        if not is_beyond and (stored != own or seen not in (step * own.images, self.num_images)):
            step = place_after(step, seen, stored, own, self.order, self.name)
            is_usual = seen == step * own.images and step % self.accumulate == 0
            is_inside = 0 < seen < self.num_images and not is_usual
            if is_inside and self.order is not None and self.order.is_one_order:
                self._entry = Place(self.epoch, step, seen)
                self.order.enter(self.epochs_before + self.epoch, step, seen)
        self.step = step
        if step > self.steps_per_epoch or not self.is_between_updates:
            raise ValueError(
                f"cannot resume {self.name}: the stored run stands at step {step} of an "
                f"epoch of {self.steps_per_epoch} steps, in updates of {self.accumulate}: no run "
                "of this library stands there"
            )

    def _take_place(self, optimizer_state: dict[str, Any]) -> None:
        """Brings the schedule of this run to where the stored run stopped."""
        epochs = self.epoch + (self.step == self.steps_per_epoch)
        by_update = steps_every_update(self.lr_scheduler)
        advance(self.lr_scheduler, self.updates if by_update else epochs)
        hold_constant(self.optimizer)
        load_moments(self.optimizer, optimizer_state)


def total(loss: Losses) -> Tensor:
    """The loss of a step, summed over players where there are several."""
    return torch.stack(list(loss.values())).sum() if isinstance(loss, dict) else loss


def parse_interval(every: int | str | None, name: str) -> tuple[int | None, float | None]:
    """Reads an interval.

    Args:
        every: A number of steps, or a time such as `"30s"`, `"10min"` or `"2h"`, or None.
        name: Of the argument, for the message.

    Returns:
        Steps and seconds, of which at most one is not None.

    Raises:
        ValueError: If it is neither.
    """
    if every is None:
        return None, None
    if isinstance(every, int) and every >= 1:
        return every, None
    seconds = seconds_in(every)
    if seconds is None:
        raise ValueError(f"{name} is a number of steps, or a time such as {TIMES}, got {every!r}")
    return None, seconds
