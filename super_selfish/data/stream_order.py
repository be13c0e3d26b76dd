"""How long an epoch of a stream is, and which steps of it a process does."""

from __future__ import annotations

from collections.abc import Iterator

from super_selfish.data.loaders import EpochBatches
from super_selfish.data.sources import ImageSource
from super_selfish.data.stream_source import StreamSource


class StreamBatches(EpochBatches):
    """Sizes of the batches of a stream; which images they hold, the stream decides.

    Attributes:
        goes_on: Whether an epoch begins where the last one ended, instead of a pass of its own.
    """

    is_one_order = False  # which images come when depends on who reads them
    goes_on = False

    def size(self, step: int) -> int:
        """Images that a step of this process shall have."""
        is_last = step == len(self) - 1
        return self.images_per_process - step * self.batch_size if is_last else self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yields numbers for the images of each batch, from `first_step` on, for messages."""
        for step in range(self.first_step, len(self)):
            first = step * self.batch_size * self.world_size + self.rank
            yield [first + place * self.world_size for place in range(self.size(step))]


def images_of_epoch(
    source: ImageSource, steps: int | None, batch_size: int, world_size: int
) -> int:
    """Images that all processes together see in an epoch.

    Args:
        source: Where from.
        steps: `steps_per_epoch=`, or None.
        batch_size: Images a step and process.
        world_size: Processes.

    Raises:
        ValueError: Nobody has said how long an epoch is, or it was said of a source that has a
            number of images.
    """
    if not isinstance(source, StreamSource):
        if steps:
            raise ValueError(
                f"steps_per_epoch={steps} says how long an epoch of a stream is, of which nobody "
                "knows how many images it has; here an epoch is a pass over the "
                f"{len(source)} images: leave it out, and give epochs="
            )
        return len(source)
    if steps:
        if source.stream.counts_for_all:
            raise ValueError(
                f"steps_per_epoch={steps} cannot be counted in a {type(source.dataset).__name__}, "
                "whose readers begin a pass together: give it epoch_size=, and leave "
                "steps_per_epoch out"
            )
        return steps * batch_size * world_size
    if source.num_images is None:
        raise ValueError(
            f"nobody knows how many images this {type(source.dataset).__name__} has: give "
            "StreamSource(dataset, num_images=...), or supervise(steps_per_epoch=...)"
        )
    return source.num_images


def order_of(
    source: ImageSource,
    batch_size: int,
    *,
    steps: int | None = None,
    shuffle: bool,
    seed: int,
    rank: int,
    world_size: int,
) -> EpochBatches:
    """The order of the images of a source, or the steps of a stream.

    Args:
        source: Where from.
        batch_size: Images a step and process.
        steps: `steps_per_epoch=`, or None.
        shuffle: Whether every epoch has an order of its own.
        seed: Of the run.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: As `images_of_epoch`.
    """
    number = images_of_epoch(source, steps, batch_size, world_size)
    kind = StreamBatches if isinstance(source, StreamSource) else EpochBatches
    order = kind(number, batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)
    if isinstance(order, StreamBatches) and isinstance(source, StreamSource):
        order.goes_on = bool(steps) or not source.restarts
    return order
