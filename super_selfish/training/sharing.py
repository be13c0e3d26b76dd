"""How many images a step has in all processes, and where another number of them goes on.

What is stored of an epoch is how many of its images were seen: steps of a process are no measure,
where the processes are more or fewer the next time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from super_selfish.training.counting import plural
from super_selfish.training.distributed import rank

_log = logging.getLogger("super_selfish")  # as that of settings.py


class Order(Protocol):
    """Of the images of an epoch; `data.loaders.EpochBatches` is one."""

    is_one_order: bool

    def step_after(self, seen: int) -> int:
        """The step that goes on after so many images of an epoch."""

    def enter(self, epoch: int, step: int, seen: int) -> None:
        """Has the batch of one step begin after so many images."""


class Sharing(NamedTuple):
    """How the images of a run are shared out."""

    batch_size: int  # images a step and process
    accumulate: int  # steps an update
    processes: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Sharing | None:
        """That of a run's settings; None where they do not tell.

        Args:
            settings: As `Run.settings`, such as a file has them.
        """
        told = [settings.get(name, None if name == "batch_size" else 1) for name in cls._fields]
        return cls(*told) if all(type(each) is int and each > 0 for each in told) else None

    @property
    def images(self) -> int:
        """A step, of all processes."""
        return self.batch_size * self.processes

    def batch_size_for(self, processes: int) -> int | None:
        """That of another number of processes, with as many images a step; None if there is none.

        Args:
            processes: How many will train.
        """
        size, rest = divmod(self.images, processes)
        return None if rest else size

    def in_words(self) -> str:
        """Such as "2 processes of batch_size=32 (64 images a step)"."""
        steps = "" if self.accumulate == 1 else f" in updates of {plural(self.accumulate, 'step')}"
        return (
            f"{self.processes} process{'' if self.processes == 1 else 'es'} of "
            f"batch_size={self.batch_size} ({plural(self.images, 'image')} a step){steps}"
        )


class Place(NamedTuple):
    """Where a run stands."""

    epoch: int
    step: int
    seen: int  # images of the epoch, by all processes


def place_after(
    step: int, seen: int, stored: Sharing, own: Sharing, order: Order | None, name: object
) -> int:
    """Finds the step in which an epoch goes on with another number of processes.

    Args:
        step: The next one, as it was stored.
        seen: Images of the epoch that come before it.
        stored: How the images were shared out then.
        own: How they are now.
        order: Of the images; None where it is the user's own.
        name: Of the checkpoint, for the message.

    Returns:
        The step, as the processes count now.

    Raises:
        ValueError: If the order knows no places but its steps, and these have other images now.
    """
    if order is not None and order.is_one_order:
        return order.step_after(seen)
    if step == 0 or (stored.images, stored.accumulate) == (own.images, own.accumulate):
        return step
    raise ValueError(
        f"cannot resume {name} amid an epoch: the stored run has {stored.in_words()}, this call "
        f"has {own.in_words()}, and its images come in more than one order, or in one of your own. "
        "Give as many images a step, or pretrained=True to start anew from the stored weights"
    )


def announce_sharing(
    place: Place,
    stored: Sharing,
    own: Sharing,
    name: object,
    lr: float,
    lr_scaling: str | None = None,
) -> None:
    """Says once with how many processes a run goes on, and what is another one by that.

    Args:
        place: Where it goes on.
        stored: How its images were shared out.
        own: How they are now.
        name: Of the checkpoint.
        lr: Its learning rate.
        lr_scaling: By what rule that follows the images of an update.
    """
    if rank() != 0:
        return
    where = f"after {plural(place.seen, 'image')} of " if place.seen else "in "
    times = own.images * own.accumulate / (stored.images * stored.accumulate)
    if times == 1:
        kept = (
            f"an update has {plural(own.images * own.accumulate, 'image')} as before, and the same"
        )
    else:
        kept = (
            f"every image of the epoch is seen, but an update has {times:.3g} times as many, for "
            f"which lr, now {lr:.3g}, "
            + (f'is scaled (lr_scaling="{lr_scaling}")' if lr_scaling else "may want to be another")
        )
    _log.warning(
        "%s goes on %sepoch %d in %s, instead of %s: %s. Augmentation is drawn otherwise, and "
        "batch norm takes its statistics over the %s of a process",
        name,
        where,
        place.epoch + 1,
        own.in_words(),
        stored.in_words(),
        kept,
        plural(own.batch_size, "image"),
    )
