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
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.suites import moco_v2
from super_selfish.data.collate import Batch
from super_selfish.losses import InfoNCELoss
from super_selfish.memory import KeyQueue
from super_selfish.models import MomentumEncoder, ProjectionHead
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.diagnostics import spread
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.views import TwoViewCollator
from super_selfish.training.distributed import gather
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

SMALLEST_GROUP = 16  # images; below it the statistics of a batch norm are too noisy
MANY_IMAGES = 100_000  # beyond them the queue is the paper's


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
    unless asked for more it never holds more than half the dataset. The paper shuffles the keys
    between GPUs so that batch norm cannot tell which key belongs to a query; here the batch is cut
    into groups, queries in order and keys shuffled, on one device as on many.
    """

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
        momentum: float = 0.999,
        temperature: float = 0.2,
        norm_groups: int = 8,
        symmetric: bool = False,
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
            momentum: Weight of the old momentum encoder in an update, in [0, 1).
            temperature: Of the default loss. 0.2: MoCo v2, section 3.
            norm_groups: Groups of a batch for which batch norm is computed separately, of at least
                16 images each. 8: GPUs of the paper, and splits of the authors' CIFAR recipe.
            symmetric: Whether each view is query once and key once, for twice the work; the loss
                is the mean of both directions (the authors' code for CIFAR: the sum).
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, as for every supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, or the predictor has another width.
        """
        if not 0.0 <= momentum < 1.0:
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
            queue_size = default_queue_size(None if self.source is None else len(self.source))
        self._resolve(queue_size=queue_size)
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
        self.collate_fn = ShuffledViewCollator(moco_v2(self.image_size), moco_v2(self.image_size))

    def _forward(self, data: ShuffledViews) -> Tensor:
        negatives = self.queue.snapshot()  # (K, E), a copy: backward needs it unchanged
        loss, keys = self._contrast(data.first, data.second, data.order, negatives)
        if self.symmetric:
            other, other_keys = self._contrast(data.second, data.first, data.order, negatives)
            loss, keys = (loss + other) / 2, torch.cat([other_keys, keys])
        if self.training:
            # After both directions: a key is no negative of its own view, nor of the other one.
            self.queue.enqueue(gather(keys))
        return loss

    def _contrast(
        self, first: Tensor, second: Tensor, order: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss of the first views as queries, and the keys `[B, E]` of the second ones."""
        groups = max(1, min(self.norm_groups, len(first) // SMALLEST_GROUP))
        queries = F.normalize(in_groups(self.model, first, groups).float(), dim=1)  # (B, E)
        with torch.no_grad():  # keys are targets
            # Shuffled, so that no group of keys has the statistics of a group of queries.
            keys = in_groups(self.momentum_encoder, second[order], groups).float()
            keys = F.normalize(keys, dim=1)[order.argsort()]  # (B, E)
        with torch.no_grad():
            positive = (queries * keys).sum(dim=1)  # (B,)
            hardest = (queries @ negatives.T).amax(dim=1)  # (B,)
            self._log(accuracy=(positive > hardest).float().mean(), key_spread=spread(keys))
        return self.loss(queries, keys, negatives), keys

    def _update(self, loss: Any, optimizer: Any, lr_scheduler: Any) -> bool:
        moved = super()._update(loss, optimizer, lr_scheduler)
        if moved:
            self.momentum_encoder.update(self.model, self.momentum)
        return moved

    def chance_loss(self, row: Row) -> float | None:
        """`log(1 + K)`: the key is one of the queue's."""
        return math.log(1 + len(self.queue.keys)) if isinstance(self.loss, InfoNCELoss) else None

    def _health(self, row: Row) -> str | None:
        if row["key_spread"] < 0.1:
            return (
                f"the embeddings have collapsed: they spread over {row['key_spread']:.0%} of what "
                "independent ones would; lower lr, or raise batch_size"
            )
        is_full = bool(self.queue.num_valid == len(self.queue.keys))
        if is_full and row["epoch"] <= 5 and row["accuracy"] > 0.99:
            return (
                f"{row['accuracy']:.1%} of the views are found after {row['epoch']:.0f} epochs: "
                "batch norm or a mark in the images may give them away; raise norm_groups, or use "
                "a backbone with layer norm"
            )
        return None


def default_queue_size(num_images: int | None) -> int:
    """Keys in the queue where nobody says how many.

    Args:
        num_images: Of the dataset, or None where there is none yet.

    Returns:
        4096, or for more than 100,000 images 65536 as in the paper; at most half the images.
    """
    if num_images is None:
        return 4096
    return max(1, min(4096 if num_images <= MANY_IMAGES else 65536, num_images // 2))


def in_groups(network: nn.Module, images: Tensor, groups: int) -> Tensor:
    """Runs a network on a batch in groups, each with batch statistics of its own.

    Args:
        network: From `[b, C, H, W]` to `[b, E]`.
        images: `[B, C, H, W]`.
        groups: Number of groups, of as equal size as possible.

    Returns:
        `[B, E]`.
    """
    return torch.cat([network(part) for part in images.tensor_split(groups)])
