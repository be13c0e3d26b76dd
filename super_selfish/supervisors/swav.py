"""SwAV: foretell from one crop to which prototypes another crop of the image belongs.

Embeddings are compared with prototypes, which learn. The images of a batch are shared out among
them, to each prototype the same: that makes a code of each large crop. Every other crop of the
image, large or small, has to foretell the code. That all images cannot go to one prototype keeps
them from being mapped to one point.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, 2020, "Unsupervised Learning of Visual Features by
Contrasting Cluster Assignments", arXiv 2006.09882.

Shapes: `B` images of a process, `N` images of all processes, `K` prototypes, `E` embedding, `Q`
queue, `V` crops of an image, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses.clusters import (
    SwappedPredictionLoss,
    check_sinkhorn,
    prototype_scores,
    sinkhorn_codes,
)
from super_selfish.memory import KeyQueue
from super_selfish.supervisors.augmenting import Pair, or_default
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.diagnostics import caution_of_one, collapse, spread
from super_selfish.supervisors.following import thaws_after, updates_before
from super_selfish.supervisors.likenesses import among_views
from super_selfish.supervisors.multi_crop import (
    LARGE_CROPS,
    Crops,
    MultiCropCollator,
    crop_augmentations,
    crop_projector,
    embedded_crops,
    small_size_for,
)
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.remembering import MANY_IMAGES, queue_length
from super_selfish.supervisors.traffic import Gathered, rows
from super_selfish.training.distributed import first_row, gather, gather_one
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

FROZEN_UPDATES = 313  # of prototypes: the authors' code, an epoch of ImageNet in batches of 4096


class SwAVSupervisor(Supervisor):
    """Predicts from crops the cluster assignments of other crops of the image (SwAV).

    The paper trains with LARS: `supervise(optimizer=LARS, lr=0.6 * batch_size / 256,
    lr_scheduler=Cosine(warmup_epochs=0, end_lr=0.0006), batch_size=256)`, with a weight decay of
    1e-6, and in batches of 4096 with a warm-up of 10 epochs, from `super_selfish.training`. With
    several processes images are shared out among the prototypes over those of all.

    A batch of fewer images than there are prototypes cannot be shared out evenly: then the
    embeddings of earlier images, which wait in a queue, are shared out with it.

    Differences from the paper: up to 100,000 images there are 512 prototypes instead of 3000, and
    unless asked for more never more than half the images; the queue holds at most half the images
    as well. It is used once it is full, where a batch has fewer images than there are prototypes,
    and begins after as many updates as the authors', which short runs never reach. Prototypes are
    frozen for the authors' 313 updates, at most a tenth of the run. Small crops have 96/224 of the
    side of the images, at least 32 pixels where the backbone wants them. Hidden layers are narrower
    on backbones of fewer than 512 features, and batch norm of the projector sees large and small
    crops apart. Batch norm is computed for each process by itself, unless `sync_batch_norm=True`.
    By default Adam trains at a constant rate of 1e-3 in batches of 32, instead of LARS at 0.6
    (batches of 256) or 4.8 (4096) down a cosine (see above).

    The network sees a batch in two passes, one of all large crops, one of all small ones.
    """

    title = "SwAV"
    question = "To which cluster does another crop of this image belong?"
    against_collapse = "lower lr or epsilon, or raise batch_size"
    meanings: ClassVar[Mapping[str, str]] = {
        "accuracy": "Share of large crops that go to the prototype of the other one's code.",
        "clusters": (
            "Number of prototypes over which what the crops foretell is spread: 1 if all go to one."
        ),
        "spread": (
            "Spread of the embeddings over the sphere: 1 as of independent ones, 0 if all crops "
            "have the same, which is collapse."
        ),
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        num_prototypes: int | None = None,
        embedding_size: int = 128,
        hidden_size: int | None = None,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        sinkhorn_iterations: int = 3,
        frozen_updates: int | None = None,
        queue_size: int | None = None,
        queue_after: int = 75_075,
        num_small: int = 6,
        small_size: Size | None = None,
        augmentation: RecipeLike | Pair | None = "swav",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Projector from features to `embedding_size`; default: FC, batch norm, ReLU,
                FC.
            loss: Function of codes `[2, B, K]` and scores `[V, B, K]` of all crops, of which the
                first two are the large ones; default: cross-entropy of each code with the
                predictions of the other crops.
            num_prototypes: Default: 512, for more than 100,000 images 3000 (authors' code); at
                most half the dataset.
            embedding_size: Width of the space of prototypes. 128: authors' code.
            hidden_size: Width of the projector's hidden layer. Default: 2048 (authors' code), at
                most four times the features, at least 256.
            temperature: Of the default loss. 0.1: authors' code.
            epsilon: Weight of the entropy of codes; the smaller, the more decided they are. 0.05:
                authors' code.
            sinkhorn_iterations: That share images out. 3: section 3.1.
            frozen_updates: For which the prototypes stay as they are at first. Default: 313
                (authors' code), at most a tenth of the run.
            queue_size: Earlier images, of either large crop, that are shared out with a batch of
                fewer images than prototypes; 0: none. Default: 3840 (authors' code for batches of
                256), at most half the dataset.
            queue_after: Updates after which the queue begins to fill. 75,075: 15 epochs of ImageNet
                in batches of 256 (authors' code). Embeddings of a network that still changes much
                are shared out worse with old ones than alone.
            num_small: Small crops of an image, beside two large ones. 6: authors' code.
            small_size: Side or (height, width) of small crops in pixels. Default: 96/224 of the
                image's.
            augmentation: A pair, for large and small crops, or one for both: the name of a recipe,
                such as `"swav-large"`, `"swav-small"` or `"simclr"`, an `Augmentation`, or
                torchvision's transforms. `"swav"` or None: the pair `("swav-large",
                "swav-small")`.
            image_size: Side or (height, width) in pixels, that of large crops.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, the predictor has another width, the
                backbone takes no crops of `small_size`, or the augmentation makes no crops of the
                sizes.
        """
        require_counts(
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            sinkhorn_iterations=sinkhorn_iterations,
        )
        require_counts(2, num_prototypes=num_prototypes)
        require_counts(
            0,
            frozen_updates=frozen_updates,
            queue_size=queue_size,
            queue_after=queue_after,
            num_small=num_small,
        )
        check_sinkhorn(epsilon, sinkhorn_iterations)
        super().__init__(
            None,
            dataset,
            SwappedPredictionLoss(temperature) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        num_images = None if self.source is None else self.source.num_images
        if num_prototypes is None:
            num_prototypes = default_num_prototypes(num_images)
        if queue_size is None:
            queue_size = default_queue_size(num_images)
        self._choose(num_prototypes=num_prototypes, queue_size=queue_size)
        self.temperature = temperature
        self.epsilon = epsilon
        self.sinkhorn_iterations = sinkhorn_iterations
        self.frozen_updates = frozen_updates
        self.queue_after = queue_after
        projector = crop_projector(hidden_size, embedding_size)
        self.model = self._combine(backbone, predictor, projector, normalize)
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        small = small_size_for(self, num_small, small_size)
        augmentation = or_default(self, augmentation, "swav")
        large_crops, small_crops = crop_augmentations(self, augmentation, small)
        directions = F.normalize(torch.randn(num_prototypes, embedding_size), dim=1)
        self.prototypes = nn.Parameter(directions)  # (K, E)
        # One for either large crop, whose codes are made apart.
        kinds = LARGE_CROPS if queue_size > 0 else 0
        self.queues = nn.ModuleList(KeyQueue(queue_size, embedding_size) for _ in range(kinds))
        self.collate_fn = MultiCropCollator(large_crops, large_crops, small_crops, num_small)

    def _forward(self, data: Crops) -> Tensor:
        embeddings = F.normalize(embedded_crops(self.model, data), dim=2)  # (V, B, E)
        scores = prototype_scores(embeddings.flatten(0, 1), self.prototypes)
        scores = scores.unflatten(0, embeddings.shape[:2])  # (V, B, K)
        with torch.no_grad():
            large = embeddings[:LARGE_CROPS].detach()  # (2, B, E)
            codes = torch.stack([self._codes(crop, which) for which, crop in enumerate(large)])
            self._measure(large, scores, codes)
        return self.loss(codes, scores)

    def _gathers(self, images: int) -> list[Gathered]:
        of_crop = rows(self, images, self.prototypes.shape[1])  # (B, E)
        return [of_crop] * LARGE_CROPS + [rows(self, 1, self.prototypes.shape[0])]  # (1, K)

    def _codes(self, embeddings: Tensor, which: int) -> Tensor:
        """Codes `[B, K]` of one large crop, made together with those of all processes.

        Args:
            embeddings: `[B, E]`.
            which: Which of the large crops.
        """
        together, first = gather(embeddings), first_row(len(embeddings))  # (N, E)
        own = slice(first, first + len(embeddings))
        candidates, counts = together, None
        if self._is_queue_wanted(len(together)):
            queue: Any = self.queues[which]
            earlier = queue.snapshot()  # (Q, E); before this batch goes in
            candidates = torch.cat([together, earlier])
            # Of a queue that is not full, nothing counts; asking whether it is would wait.
            is_full = (queue.num_valid == len(earlier)).to(earlier)
            counts = torch.cat([together.new_ones(len(together)), is_full.expand(len(earlier))])
            if self.training:
                self._write_memory(queue.enqueue, together)
        scores = prototype_scores(candidates, self.prototypes)
        return sinkhorn_codes(scores, self.epsilon, self.sinkhorn_iterations, counts)[own]

    def _is_queue_wanted(self, images: int) -> bool:
        """Whether a batch of so many images, in all processes, is shared out with earlier ones."""
        if len(self.queues) == 0 or images >= len(self.prototypes):
            return False
        return self.run is None or updates_before(self.run) >= self.queue_after

    def _thaws_after(self, run: Run) -> int:
        """Updates for which the prototypes are frozen."""
        return thaws_after(run, self.frozen_updates, FROZEN_UPDATES)

    def _before_step(self) -> None:
        if self.run is not None and updates_before(self.run) < self._thaws_after(self.run):
            self.prototypes.grad = None  # as if the optimizer did not have them

    @torch.no_grad()
    def _after_step(self, run: Run) -> None:
        self.prototypes.copy_(F.normalize(self.prototypes, dim=1))

    def _measure(self, embeddings: Tensor, scores: Tensor, codes: Tensor) -> None:
        """Notes what large crops `[2, B, E]`, scores `[V, B, K]` and codes `[2, B, K]` say."""
        foretold = scores[:LARGE_CROPS].argmax(dim=2)  # (2, B)
        wanted = codes.flip(0).argmax(dim=2)  # (2, B), of the other large crop
        shares = (scores.flatten(0, 1) / self.temperature).softmax(dim=1)  # (V B, K)
        shares = gather_one(shares.mean(dim=0)).mean(dim=0)  # (K,)
        self._log(
            accuracy=(foretold == wanted).float().mean(),
            clusters=torch.special.entr(shares).sum().exp(),
            spread=spread(embeddings.flatten(0, 1)),
        )

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Large crops, and other ones next to them: the image's own, and the nearest of another."""
        return among_views(self, self.model, self.model, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """`log K`: one of the prototypes."""
        if not isinstance(self.loss, SwappedPredictionLoss):
            return None
        return math.log(len(self.prototypes))

    def _caution(self, run: Run) -> str | None:
        return caution_of_one(run)

    def _health(self, row: Row) -> str | None:
        verdict = collapse(row["spread"], self.against_collapse)
        if verdict is not None:
            return verdict
        if row["clusters"] < 2:
            return (
                f"all crops go to {row['clusters']:.1f} of {len(self.prototypes)} prototypes: "
                "raise batch_size, queue_size or frozen_updates, or lower epsilon"
            )
        if row["epoch"] >= 5 and row["loss"] > 0.99 * math.log(len(self.prototypes)):
            return (
                "codes are foretold no better than by chance "
                f"(loss {row['loss']:.2f}): train for longer, change lr, or lower epsilon or "
                "num_prototypes"
            )
        return None


def default_num_prototypes(num_images: int | None) -> int:
    """Prototypes where nobody says how many.

    Args:
        num_images: Of the dataset, or None where there is none yet.

    Returns:
        512, or for more than 100,000 images 3000 as in the paper; at most half the images, at least
        2.
    """
    if num_images is None:
        return 512
    return max(2, min(512 if num_images <= MANY_IMAGES else 3000, num_images // 2))


def default_queue_size(num_images: int | None) -> int:
    """Length of the queue where nobody says which.

    Args:
        num_images: Of the dataset, or None where there is none yet.

    Returns:
        3840 as in the paper; at most half the images, at least 1.
    """
    return queue_length(num_images, 3840, 3840)
