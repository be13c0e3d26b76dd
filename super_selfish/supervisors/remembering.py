"""What the algorithms share that remember every image of the dataset."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from super_selfish.data.growing import GrowingBatches, Growth, drawn_order
from super_selfish.data.sources import ImageSource
from super_selfish.losses import InfoNCELoss
from super_selfish.losses.nce import NCELoss
from super_selfish.supervisors.defaults import FEWEST_REMEMBERED
from super_selfish.supervisors.refusals import require_counts
from super_selfish.training.distributed import gather_one

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

SPREAD = "Spread of the embeddings: 1 as of independent ones, 0 is collapse."
MEMORY_CHANGE = "How far a step moves the remembered embeddings of its images."
MANY_IMAGES = 100_000  # beyond them queues, prototypes and classes are as many as the papers'
_STILL = 1e-3  # of the length of an entry; a memory that moves by less learns nothing


def require_memory_options(
    *, bank_momentum: float, form: str, views_per_image: int, **counts: int | None
) -> None:
    """Refuses what cannot be; a constructor calls it first.

    Args:
        bank_momentum: Weight of an old entry in its update.
        form: Of the default loss.
        views_per_image: Before another image joins; 0 for none that join later.
        counts: Numbers of things, as for `require_counts`.

    Raises:
        ValueError: If one is out of its range.
    """
    require_counts(**counts)
    require_counts(0, views_per_image=views_per_image)
    if not 0.0 <= bank_momentum < 1.0:
        raise ValueError(f"bank_momentum must be in [0, 1), got {bank_momentum}")
    if form not in ("softmax", "nce"):
        raise ValueError(f'form is "softmax" or "nce", got {form!r}')


def loss_of_form(form: str, num_images: int, temperature: float) -> nn.Module:
    """The loss of queries, keys, negatives and a mask of negatives that do not count.

    Args:
        form: `"softmax"` (InfoNCE), or `"nce"` for a binary decision an entry, with a normalising
            constant of its own.
        num_images: Entries of the memory.
        temperature: Of similarities.
    """
    if form == "nce":
        return NCELoss(num_images, temperature, gather=gather_one)
    return InfoNCELoss(temperature)


def standstill(change: float, beginning: str = "the memory hardly changes: its") -> str | None:
    """What is to be said of a memory that does not follow its network; `None` where it does.

    Args:
        change: By how much of their length entries move when their image is seen.
        beginning: Of the sentence.
    """
    if not change < _STILL:
        return None
    return (
        f"{beginning} entries move by {change:.1g} of their length when their image is seen; lower "
        "bank_momentum, or raise lr"
    )


def queue_length(num_images: int | None, few: int, many: int) -> int:
    """Embeddings that a queue holds where nobody says how many.

    Args:
        num_images: Of the dataset, or None where there is none yet.
        few: For up to 100,000 images, or if nobody knows.
        many: For more.

    Returns:
        One of these, at most half the images, at least 1.
    """
    if num_images is None:
        return few
    return max(1, min(few if num_images <= MANY_IMAGES else many, num_images // 2))


def memory_size(source: ImageSource | None, num_images: int | None, kind: type) -> int:
    """How many images a memory has an entry for.

    Args:
        source: The images, or None where there are none yet.
        num_images: What the user asked for, or None.
        kind: The algorithm, for messages.

    Returns:
        `num_images` if it is given, else the images of the source; without one 2, until a
        checkpoint says how many.

    Raises:
        ValueError: If the dataset has another number of images, or a number is below 2.
    """
    found = None if source is None else len(source)
    if num_images is None:
        num_images = 2 if found is None else found
    if found is not None and found != num_images:
        raise ValueError(
            f"the memory has an entry for each image, but num_images is {num_images} and the "
            f"dataset has {found}: leave num_images out; to go on with the network alone, give "
            f"backbone={kind.__name__}().load(name).get_backbone()"
        )
    if num_images < 2:
        raise ValueError(
            f"{kind.__name__} tells an image from others: give at least 2, got {num_images}"
        )
    return num_images


def guessing_loss(loss: object, num_images: int, num_negatives: int) -> float | None:
    """What one entry against its negatives costs a network that only guesses.

    Args:
        loss: Of the supervisor.
        num_images: Entries of the memory.
        num_negatives: How many a step compares with; see `draw_negatives`.

    Returns:
        `log(1 + K)`, or `log N` for the whole memory; None for a loss whose chance is not known.
    """
    return math.log(min(1 + num_negatives, num_images)) if isinstance(loss, InfoNCELoss) else None


def let_images_join(
    supervisor: Supervisor,
    num_images: int,
    views_per_image: int,
    least: int | None = None,
) -> None:
    """Has images join the memory one by one, in the order of the buffer `joining`.

    Args:
        supervisor: With a memory.
        num_images: Its entries.
        views_per_image: See the supervisors; 0 for all from the start.
        least: Images that are there from the start. Default: `FEWEST_REMEMBERED`.
    """
    supervisor.growth = None
    if views_per_image > 0:
        least = FEWEST_REMEMBERED if least is None else least
        supervisor.growth = Growth(views_per_image, least, drawn_order(num_images))
    joining = None if supervisor.growth is None else supervisor.growth.members
    supervisor.register_buffer("joining", joining, persistent=False)


def joined_now(supervisor: Supervisor) -> int | None:
    """How many images have joined before the step under way; None where all have.

    Also where several tasks take turns, whose run does not tell how far each of them is.

    Args:
        supervisor: May train.
    """
    run = supervisor.run
    if run is None or not isinstance(run.order, GrowingBatches):
        return None
    joined = run.order.joined(run.epochs_before + run.epoch, run.step)
    return joined if joined < run.order.num_images else None


def among_joined(supervisor: Supervisor, drawn: Tensor) -> Tensor:
    """Entries that are drawn of all images, brought among those that have joined.

    The others are still as they were drawn: to be told from them teaches nothing.

    Args:
        supervisor: With its images in the order in which they join, the buffer `joining`.
        drawn: `[K]`, int64, of all.

    Returns:
        `[K]`, int64.
    """
    joined, joining = joined_now(supervisor), supervisor.joining
    if joined is None or not isinstance(joining, Tensor):
        return drawn
    return joining[drawn * joined // len(joining)]


def draw_negatives(num_images: int, num_negatives: int, generator: torch.Generator) -> Tensor:
    """Draws entries of a memory, for a whole batch.

    Done by a collator, which knows numbers and holds no memory: it is copied to the workers.

    Args:
        num_images: Entries of the memory.
        num_negatives: How many are wanted, at least 1.
        generator: CPU generator.

    Returns:
        `[K]`, int64: drawn with replacement; or every entry once, if more are wanted than there
        are, which makes the softmax over the memory exact.
    """
    if num_negatives >= num_images:
        return torch.arange(num_images)
    return torch.randint(num_images, (num_negatives,), generator=generator)
