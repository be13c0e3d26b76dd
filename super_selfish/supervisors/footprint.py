"""How much memory a step takes, before the first one is done.

Two small batches go forward and backward; what they take grows in a line with the images, so two
points tell the rest. Nothing stays of it: buffers, attributes and random streams are put back.
"""

from __future__ import annotations

import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from super_selfish.data.collate import Batch, Collator, LabelCollator
from super_selfish.models.dry_run import REFUSALS
from super_selfish.training import distributed
from super_selfish.training.alone import alone
from super_selfish.training.averaging import bytes_of
from super_selfish.training.devices import device_count
from super_selfish.training.memory import (
    Peak,
    free_memory,
    give_back,
    in_bytes,
    is_lack_of_memory,
    state_of,
)
from super_selfish.training.precision import autocast
from super_selfish.training.run import total
from super_selfish.training.telling import warn

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

SMALL = (2, 4)  # images of the two batches; batch norm needs two
SCRATCH = 1.2  # what operations need for themselves, and gaps between tensors, as a factor
# Bytes that a first run takes on a CPU whatever its size: code that is loaded when it is used,
# what oneDNN compiles, holes of the heap. Four runs of a ResNet-18 at 32 pixels had 47 to 102 MB.
FRAMEWORK = 75_000_000
USABLE = 0.9  # of what is free
AUTO_USES = 0.7  # of what is free; leaves room for what else the user does
LARGEST_AUTO = 256  # images; larger batches want other learning rates
# An image takes no more than so many times its own bytes as float, in whichever of our networks.
_SURELY = 4000
_WORTH_A_LINE = 0.25  # of what is free


class MemoryWarning(UserWarning):
    """The batch seems to be larger than what there is room for."""


class OutOfMemoryError(RuntimeError):
    """There was no room for a step; the message says which batch has some."""


class Line(NamedTuple):
    """Bytes that grow with the images of a batch."""

    fixed: float
    per_image: float

    def of(self, batch_size: int) -> float:
        """Bytes for a batch."""
        return self.fixed + self.per_image * batch_size


class Footprint(NamedTuple):
    """Bytes that come on top of what is there already, the larger of two.

    Of small batches the gradients of the weights are the most, of large ones what is kept for the
    way back; a line through the peaks of small batches alone would rise too little.
    """

    peak: Line
    kept: Line

    def of(self, batch_size: int) -> float:
        """Bytes for a batch."""
        return max(self.peak.of(batch_size), self.kept.of(batch_size))

    def fitting(self, room: float) -> int:
        """Images for which there is room; 0 where even the networks alone are too large."""
        return max(0, min(int((room - line.fixed) // line.per_image) for line in self))


def surely_fits(supervisor: Supervisor, batch_size: int, free: int) -> bool:
    """Whether a batch is so small that nothing need be measured."""
    height, width = supervisor.image_size
    image = 4 * supervisor.in_channels * height * width
    weights = sum(parameter.nbytes for parameter in supervisor.parameters())
    return _SURELY * batch_size * image + 4 * weights < free / 2


def measure(
    supervisor: Supervisor, precision: str, optimizer: Any = None, averages: bool = False
) -> Footprint | None:
    """Measures what a step takes.

    Args:
        supervisor: Its networks are where they will train.
        precision: In which they do.
        optimizer: What will move them; default: one that keeps two moments, as Adam.
        averages: Whether averaged weights of the backbone will be kept beside them.

    Returns:
        The footprint; None where small batches say nothing: a collator that is no `Collator`, or a
        step that wants more images.
    """
    source, collator = supervisor.source, supervisor.collate_fn
    if source is None or not isinstance(collator, Collator):
        return None
    if source.num_images is not None and source.num_images < SMALL[-1]:
        return None
    peaks = []
    with alone(), untouched(supervisor):  # another process may have no need to measure
        try:
            for number in SMALL:
                peaks.append(_peak(supervisor, collator, number, precision))
        except REFUSALS as error:  # of batches so small; the first real one will say it
            if is_lack_of_memory(error):
                raise
            return None
    weights = sum(p.nbytes for p in supervisor.parameters() if p.requires_grad)
    state = 2 * weights if optimizer is None else state_of(optimizer)
    if averages:
        state += bytes_of(supervisor._backbone_in_training())
    is_on_cpu = supervisor.device.type == "cpu"
    scratch, constant = (SCRATCH, FRAMEWORK) if is_on_cpu else (1.0, 0)
    (kept, peak), (kept_later, peak_later) = peaks
    if peak_later <= peak or kept_later <= kept:
        return None
    return Footprint(
        _line(peak, peak_later, scratch, state + constant),
        _line(kept, kept_later, scratch, state + weights + constant),
    )


def _line(first: int, second: int, factor: float, more: int) -> Line:
    slope = (second - first) / (SMALL[1] - SMALL[0])
    fixed = max(0.0, first - slope * SMALL[0])
    return Line(factor * fixed + more, factor * slope)


def _peak(
    supervisor: Supervisor, collator: Collator, number: int, precision: str
) -> tuple[int, int]:
    """Bytes that are kept between forward and backward, and the most that there were."""
    device = supervisor.device
    batch = _images(supervisor, collator, number)
    weights = [p for p in supervisor.parameters() if p.requires_grad]
    with Peak(device) as peak:
        moved = batch.to(device)
        data = collator.augment(moved, torch.Generator().manual_seed(0))
        with autocast(precision, device):
            loss = supervisor(data)
        kept = peak.present
        gradients = torch.autograd.grad(total(loss), weights, allow_unused=True)
        del gradients, loss, data, moved
    return kept, peak.added


def example(supervisor: Supervisor, number: int) -> Any:
    """What a step eats, of so many images; None where the collator is no `Collator`."""
    collator = supervisor.collate_fn
    if supervisor.source is None or not isinstance(collator, Collator):
        return None
    moved = _images(supervisor, collator, number).to(supervisor.device)
    return collator.augment(moved, torch.Generator().manual_seed(0))


def _images(supervisor: Supervisor, collator: Collator, number: int) -> Batch:
    """Noise, or where labels are needed the first images."""
    source: Any = supervisor.source
    if isinstance(collator, LabelCollator):
        return collator.stack([source[index] for index in range(number)])
    shape = (number, supervisor.in_channels, *supervisor.image_size)
    images = torch.empty(shape, dtype=torch.uint8).random_()
    return Batch(images, torch.arange(number))


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """While entered, a network may be used as one likes; afterwards it is as it was, bit for bit.

    So are the random streams of Python, NumPy and torch.

    Args:
        module: Its parameters must not be changed.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with ExitStack() as stack:
        accelerators = [] if device.type == "cpu" else list(range(device_count(device)))
        kind = {} if device.type == "cpu" else {"device_type": device.type}
        stack.enter_context(torch.random.fork_rng(devices=accelerators, **kind))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # the first real step gives them
        put_back = [_restoring(part) for part in module.modules()]
        module.train()
        try:
            yield
        finally:
            for restore in put_back:
                restore()
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            give_back(device)


def _restoring(module: nn.Module) -> Callable[[], None]:
    attributes = dict(module.__dict__)
    containers = [
        (value, value.copy())
        for value in attributes.values()
        if isinstance(value, dict | list | set | deque)
    ]
    buffers: list[tuple[Tensor, Tensor]] = [
        (buffer, buffer.detach().clone())
        for buffer in module._buffers.values()
        if isinstance(buffer, Tensor)
    ]

    def restore() -> None:
        module.__dict__.clear()
        module.__dict__.update(attributes)
        for value, former in containers:
            if isinstance(value, list | deque):
                value.clear()
                value.extend(former)
            else:
                value.clear()
                value.update(former)
        with torch.no_grad():
            for buffer, as_before in buffers:
                buffer.copy_(as_before)

    return restore


def tell(supervisor: Supervisor) -> str | None:
    """Says before the first step what memory a run takes, and warns where there is too little.

    Args:
        supervisor: With its run, and the optimizer in it.

    Returns:
        A sentence; None where it surely fits, or nothing is known.
    """
    run: Any = supervisor.run
    free = _free_of_each(run.devices)
    if free is None or surely_fits(supervisor, run.batch_size, free):
        return None
    with fitting_explained(supervisor):
        footprint = measure(supervisor, run.precision, run.optimizer, run.averaging is not None)
    if footprint is None:
        return None
    needed = footprint.of(-(-run.batch_size // len(run.devices)))
    if needed > USABLE * free and distributed.rank() == 0:
        advice = _advice(footprint, run, free)
        warn(f"{_needs(needed, run, free)}: {advice}", MemoryWarning)
        return None
    return f"{_needs(needed, run, free)}" if needed > _WORTH_A_LINE * free else None


def fitting_batch(
    supervisor: Supervisor,
    precision: str,
    devices: Sequence[torch.device] | None = None,
    *,
    averages: bool = False,
) -> int:
    """The batch that `batch_size="auto"` stands for, the same in every process.

    The largest power of two that takes at most 70 % of what is free, 256 images at most, and no
    more than there are.

    Args:
        supervisor: Its networks are where they will train.
        precision: In which they do.
        devices: Those that share a batch; default: that of the networks.
        averages: As for `measure`.

    Returns:
        Images a step.

    Raises:
        OutOfMemoryError: If there is no room for two images.
    """
    total = supervisor.source.num_images
    total = LARGEST_AUTO if total is None else max(1, total // distributed.world_size())
    most = min(LARGEST_AUTO, total)
    devices = [supervisor.device] if devices is None else devices
    free = _free_of_each(devices)
    if free is not None and not surely_fits(supervisor, most, free):
        with fitting_explained(supervisor):
            footprint = measure(supervisor, precision, None, averages)
        if footprint is None:
            raise ValueError(
                'batch_size="auto" needs a Collator and a step that takes few images: give a number'
            )
        fitting = footprint.fitting(AUTO_USES * free)
        if fitting < 2:
            raise OutOfMemoryError(
                f"two images need about {in_bytes(footprint.of(2))} of memory, and "
                f"{in_bytes(free)} are free: give a smaller image_size or backbone"
            )
        most = min(most, fitting * len(devices))
    agreed = distributed.smallest(most, supervisor.device)
    return 1 << (agreed.bit_length() - 1)


def _free_of_each(devices: Sequence[torch.device]) -> int | None:
    """Bytes that are free on each of several devices; None where they do not tell."""
    told = [free for free in map(free_memory, devices) if free is not None]
    return min(told, default=None)


def _needs(needed: float, run: Any, free: int) -> str:
    each = "" if len(run.devices) == 1 else f" on each of {len(run.devices)} devices"
    return (
        f"batch_size={run.batch_size} needs about {in_bytes(needed)} of memory{each}, and "
        f"{in_bytes(free)} are free"
    )


def _advice(footprint: Footprint, run: Any, free: int) -> str:
    number = len(run.devices)
    fitting = min(number * footprint.fitting(AUTO_USES * free), run.batch_size - 1)
    if fitting < 2:
        return "give a smaller image_size or backbone"
    smaller = 1 << (fitting.bit_length() - 1)
    needed = footprint.of(-(-smaller // number))
    return f"{_smaller_batch(run, smaller)} needs about {in_bytes(needed)}"


def _smaller_batch(run: Any, smaller: int) -> str:
    times = -(-run.batch_size * run.accumulate // smaller)
    return f"batch_size={smaller} with accumulate={times} (as many images an update)"


@contextmanager
def fitting_explained(supervisor: Supervisor) -> Iterator[None]:
    """While entered, torch's words for a lack of memory become advice.

    Args:
        supervisor: Whose steps may lack it.

    Raises:
        OutOfMemoryError: Where memory lacks.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error) or isinstance(error, OutOfMemoryError):
            raise
        run: Any = supervisor.run
        where = f"on {getattr(error, 'on_device', supervisor.device)}"
        if run is None or run.batch_size < 4:
            advice = "give a smaller image_size or backbone"
        else:
            advice = f'try {_smaller_batch(run, run.batch_size // 2)}, or batch_size="auto"'
        size = "" if run is None else f" for batch_size={run.batch_size}"
        raise OutOfMemoryError(
            f"there is not enough memory {where}{size}: {advice}. torch said: "
            f"{str(error).splitlines()[0]}"
        ) from error
