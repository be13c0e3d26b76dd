"""MoCo v2: find the other view of the same image among many.

Two views of an image are encoded, one by the network that trains (the query), one by its slowly
moving average (the key). The query must be closer to its key than to the keys of thousands of
earlier images, which wait in a queue.

Chen, Fan, Girshick, He, 2020, "Improved Baselines with Momentum Contrastive Learning",
arXiv 2003.04297; He et al., 2019, arXiv 1911.05722 (queue, momentum encoder, shuffled norms).

Shapes: `B` images, `K` keys in the queue, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.collate import Batch
from super_selfish.data.pictures import Group
from super_selfish.losses import InfoNCELoss
from super_selfish.losses.full_precision import in_full
from super_selfish.memory import KeyQueue
from super_selfish.models import MomentumEncoder, ProjectionHead
from super_selfish.models.norm_groups import has_batch_norm, in_groups
from super_selfish.supervisors.augmenting import Pair, or_default, two_views
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import LEAST_OF_QUEUE, WARMED, warmed_momentum
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.following import updates_before
from super_selfish.supervisors.likenesses import among_views
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.remembering import queue_length
from super_selfish.supervisors.shuffling import shuffled_keys
from super_selfish.supervisors.traffic import Gathered, rows
from super_selfish.supervisors.two_views import TwoViewCollator
from super_selfish.training.counting import plural
from super_selfish.training.distributed import world_size
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

FEWEST_GROUPS = 4  # below them queries and keys share too many statistics
SMALLEST_GROUP = 16  # images; below it the statistics of a batch norm are too noisy
MOMENTUM = 0.999  # of the paper


class ShuffledViews(NamedTuple):
    """Two views of the same images, and the order in which keys are computed."""

    first: Tensor  # (B, C, H, W)
    second: Tensor  # (B, C, H, W)
    order: Tensor  # (B,) int64, a permutation


class ShuffledViewCollator(TwoViewCollator):
    """Augments each image twice, and draws an order for the batch."""

    def augment(self, batch: Batch, generator: torch.Generator) -> ShuffledViews:  # type: ignore[override]
        """Makes the views and the order."""
        views = super().augment(batch, generator)
        order = torch.randperm(len(views.first), generator=generator)
        return ShuffledViews(views.first, views.second, order.to(views.first.device))


class MomentumContrastSupervisor(Supervisor):
    """Contrasts two views of an image against a queue of earlier images (MoCo v2).

    Differences from the paper: up to 100,000 images the queue holds 4096 keys instead of 65536, and
    unless asked for more it never holds more than half the dataset. The momentum rises from 0.99 to
    the paper's 0.999 through the first 9,000 updates. The paper shuffles the keys between GPUs so
    that batch norm cannot tell which key belongs to a query. So do several processes here; fewer
    than `norm_groups` cut their batches into groups besides, and one device, or several of one
    process, do that alone: queries in order and keys shuffled. `symmetric=True` takes the mean of
    both directions, the authors' code for CIFAR the sum. By default Adam trains at a constant rate
    of 1e-3 in batches of 32, instead of SGD at 0.03 (momentum 0.9, weight decay 1e-4) down a
    cosine, in batches of 256; 32 images are too few for groups that hide the pairs.

    Running statistics of batch norm move once a pass, by the mean over its groups; where
    `symmetric=True` the network sees each batch in two passes, so twice, as the authors' does.
    """

    title = "MoCo v2"
    question = "Which of many views shows the same image as this one?"
    against_collapse = "lower lr, or raise batch_size"
    against_sync_batch_norm = (
        "hides by norms of separate groups which key belongs to a query, and one of all would tell"
    )
    former_arguments: ClassVar[Mapping[str, Any]] = {"augmentation": "moco"}

    meanings: ClassVar[Mapping[str, str]] = {
        "key_spread": (
            "Spread of the keys over the sphere: 1 as of independent ones, 0 if all images "
            "have the same key, which is collapse."
        ),
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        embedding_size: int = 128,
        queue_size: int | None = None,
        momentum: float | None = None,
        temperature: float = 0.2,
        norm_groups: int = 8,
        symmetric: bool = False,
        augmentation: RecipeLike | Pair | None = "moco",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Projector from features to `embedding_size`.
            loss: Function of queries, keys and negatives; default: InfoNCE.
            embedding_size: Width of the space in which views are compared.
            queue_size: Keys in the queue. Default: 4096, for more than 100,000 images 65536; at
                most half the dataset.
            momentum: Weight of the old momentum encoder in an update, in [0, 1). Default: after `t`
                updates `(1 + t) / (10 + t)`, from 0.99 to the paper's 0.999.
            temperature: Of the default loss. 0.2: MoCo v2, section 3.
            norm_groups: Groups of a batch (of all processes) for which batch norm is computed
                separately, of at least 16 images each; each process makes one at least. 8: GPUs of
                the paper, and splits of the authors' CIFAR recipe.
            symmetric: Whether each view is query once and key once, for twice the work; the loss
                is the mean of both directions (the authors' code for CIFAR: the sum).
            augmentation: Of each view: the name of a recipe, such as `"moco"`, `"simclr"` or
                `"byol"`, an `Augmentation`, torchvision's transforms, or a pair of these, one for
                the queries and one for the keys. None: `"moco"`.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, the predictor has another width, or the
                augmentation makes no images of the size.
        """
        if momentum is not None and not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        require_counts(
            embedding_size=embedding_size, queue_size=queue_size, norm_groups=norm_groups
        )
        super().__init__(
            None,
            dataset,
            InfoNCELoss(temperature) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        if queue_size is None:
            queue_size = default_queue_size(None if self.source is None else self.source.num_images)
        self._choose(queue_size=queue_size)
        augmentation = or_default(self, augmentation, "moco")
        views = two_views(self, augmentation)
        self.momentum = momentum
        self.norm_groups = norm_groups
        self.symmetric = symmetric
        self.model = self._combine(
            backbone,
            predictor,
            lambda features: ProjectionHead(features.dim, embedding_size),
            normalize,
        )
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        self.momentum_encoder = MomentumEncoder(self.model)
        self.queue = KeyQueue(queue_size, embedding_size)
        self.collate_fn = ShuffledViewCollator(*views)

    def _forward(self, data: ShuffledViews) -> Tensor:
        negatives = self.queue.snapshot()  # (K, E), a copy: backward needs it unchanged
        loss, keys = self._contrast(data.first, data.second, data.order, negatives)
        if self.symmetric:
            other, other_keys = self._contrast(data.second, data.first, data.order, negatives)
            loss, keys = (loss + other) / 2, torch.cat([other_keys, keys])
        if self.training:
            # After both directions: a key is no negative of its own view, nor of the other one.
            self._write_memory(self.queue.enqueue, keys)
        return loss

    def _contrast(
        self, first: Tensor, second: Tensor, order: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss of the first views as queries, and the keys `[G, E]` of all second ones."""
        groups = groups_of_process(len(first), self.norm_groups, world_size())
        queries = F.normalize(in_full(in_groups(self.model, first, groups)), dim=1)  # (B, E)

        def encode(images: Tensor) -> Tensor:
            return F.normalize(in_full(in_groups(self.momentum_encoder, images, groups)), dim=1)

        # Shuffled, so that no group of keys has the statistics of a group of queries; between
        # processes only where there are such statistics. Without gradient: keys are targets.
        run = self.run if has_batch_norm(self.momentum_encoder) else None
        keys, everywhere = shuffled_keys(encode, second, order, run)  # (B, E), (G, E)
        with torch.no_grad():
            positive = (queries * keys).sum(dim=1)  # (B,)
            hardest = (queries @ negatives.T).amax(dim=1)  # (B,)
            self._log(accuracy=(positive > hardest).float().mean(), key_spread=spread(keys))
        return self.loss(queries, keys, negatives), everywhere

    def _gathers(self, images: int) -> list[Gathered]:
        keys = rows(self, images, self.queue.keys.shape[1])  # (B, E)
        pixels = self.in_channels * self.image_size[0] * self.image_size[1]
        shuffled = [rows(self, images, pixels)] if has_batch_norm(self.momentum_encoder) else []
        return [keys, *shuffled] * (2 if self.symmetric else 1)

    def _after_step(self, run: Run) -> None:
        self.momentum_encoder.update(self.model, self.momentum_now(run))

    def momentum_now(self, run: Run) -> float:
        """Weight of the old momentum encoder in the update under way, from where the run stands.

        Args:
            run: The run, before its position moves on.

        Returns:
            The momentum, in [0, 1).
        """
        if self.momentum is not None:
            return self.momentum
        return warmed_momentum(MOMENTUM, updates_before(run), LEAST_OF_QUEUE)

    def _fit_to_run(self, run: Run) -> dict[str, Any]:
        if self.momentum is not None:
            return {}
        return {"momentum": f"{WARMED}, {LEAST_OF_QUEUE} to {MOMENTUM}"}

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and the keys of other views next to them."""
        return among_views(self, self.model, self.momentum_encoder, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """`log(1 + K)`: the key is one of the queue's."""
        return math.log(1 + len(self.queue.keys)) if isinstance(self.loss, InfoNCELoss) else None

    def _caution(self, run: Run) -> str | None:
        groups = groups_of_process(run.batch_size, self.norm_groups, run.processes)
        groups = max(groups, len(run.devices)) * run.processes  # each device makes one at least
        if groups >= FEWEST_GROUPS or not has_batch_norm(self.model):
            return None
        images = -(-FEWEST_GROUPS * SMALLEST_GROUP // run.processes)
        return (
            f"batches of {run.batch_size * run.processes} make {groups} of the {FEWEST_GROUPS} "
            "groups or more that are needed, so that batch norm does not tell which key belongs to "
            f"a query; use batch_size={images} or more and norm_groups={FEWEST_GROUPS} or more, or "
            "a backbone with layer norm"
        )

    def _health(self, row: Row) -> str | None:
        verdict = collapse(row["key_spread"], self.against_collapse)
        if verdict is not None:
            return verdict
        is_full = bool(self.queue.num_valid == len(self.queue.keys))
        if is_full and row["epoch"] <= 5 and row["accuracy"] > 0.99:
            return (
                f"{row['accuracy']:.1%} of the views are found after "
                f"{plural(round(row['epoch']), 'epoch')}: batch norm or a mark in the images "
                "may give them away; raise norm_groups, or use a backbone with layer norm"
            )
        return None


def number_of_groups(batch_size: int, norm_groups: int) -> int:
    """Groups into which a batch is cut for batch norm.

    Args:
        batch_size: Images in it.
        norm_groups: Most groups.

    Returns:
        At least one, of at least 16 images where there are several.
    """
    return max(1, min(norm_groups, batch_size // SMALLEST_GROUP))


def groups_of_process(batch_size: int, norm_groups: int, processes: int) -> int:
    """Groups into which each of several processes cuts its batch.

    As many as the batch of all of them would have, shared out: from `norm_groups` processes on, the
    groups are those of the processes.

    Args:
        batch_size: Images in the batch of a process.
        norm_groups: Most groups of all processes, unless there are more processes.
        processes: How many there are.

    Returns:
        At least one.
    """
    return max(1, number_of_groups(batch_size * processes, norm_groups) // processes)


def default_queue_size(num_images: int | None) -> int:
    """Keys in the queue where nobody says how many.

    Args:
        num_images: Of the dataset, or None where there is none yet.

    Returns:
        4096, or for more than 100,000 images 65536 as in the paper; at most half the images.
    """
    return queue_length(num_images, 4096, 65536)
