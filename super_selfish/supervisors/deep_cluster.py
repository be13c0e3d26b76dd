"""DeepCluster v2: foretell from a crop to which cluster its image belonged a pass ago.

What the network said of each image when it saw it last is remembered, and grouped once a pass by
k-means, several times with other beginnings. The centroids are prototypes, which do not learn; all
crops of an image, large or small, have to foretell the image's cluster by them. So the network's
own groups of images are its classes, and are made anew as it learns.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, 2020, "Unsupervised Learning of Visual Features by
Contrasting Cluster Assignments", arXiv 2006.09882 (version 2, in its appendix); Caron, Bojanowski,
Joulin, Douze, 2018, "Deep Clustering for Unsupervised Learning of Visual Features", arXiv
1807.05520.

Shapes: `B` images of a process, `N` images of the dataset, `H` groupings, `K` clusters of one, `E`
embedding, `V` crops of an image, `C, H, W` image.
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
from super_selfish.losses.clusters import ClusterPredictionLoss, prototype_scores
from super_selfish.memory import MemoryBank, spherical_kmeans
from super_selfish.supervisors.augmenting import Pair, or_default
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import FEWEST_REMEMBERED, VIEWS_PER_IMAGE
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.following import generator_of_all, images_before
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
from super_selfish.supervisors.refusals import as_numbers, require_counts, require_embedding
from super_selfish.supervisors.remembering import (
    MANY_IMAGES,
    SPREAD,
    let_images_join,
    memory_size,
)
from super_selfish.supervisors.traffic import INDEX, Gathered, rows
from super_selfish.training.distributed import from_first, gather
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

GROUPINGS = 3
_STREAM = 5  # of a step's random draws: one that all processes have alike


class DeepClusterV2Supervisor(Supervisor):
    """Predicts the clusters of what the network said of the images a pass ago (DeepCluster v2).

    The paper trains with LARS: `supervise(optimizer=LARS, lr=4.8, lr_scheduler=Cosine(
    warmup_epochs=10, end_lr=0.0048), batch_size=4096)`, from `super_selfish.training`, with a
    weight decay of 1e-6. With several processes all remember the images of all, and group them
    alike.

    What is remembered is grouped whenever the run has seen as many images since as were grouped
    last. An image that was not among them goes to the cluster that is nearest to its present crop.

    Differences from the paper: up to 100,000 images there are three times 300 clusters instead of
    3000, and unless asked for more never more than a tenth of the images. No pass over the images
    fills the memory before the first epoch: they are grouped for the first time as soon as twice as
    many are remembered as there are clusters (until then the network does not learn, and its loss
    is that of a guess), and then after as many again, until that is an epoch. Images join the
    memory one by one (`views_per_image`). Small crops have 96/224 of the side of the images, at
    least 32 pixels where the backbone wants them. Hidden layers are narrower on backbones of fewer
    than 512 features, and batch norm of the projector sees large and small crops apart. Batch norm
    is computed for each process by itself, unless `sync_batch_norm=True`. By default Adam trains at
    a constant rate of 1e-3 in batches of 32, instead of LARS at 4.8 down a cosine, in batches of
    4096 (see above).

    The network sees a batch in two passes, one of all large crops, one of all small ones.
    """

    is_remembered: Tensor
    prototypes: Tensor
    assignments: Tensor
    largest: Tensor
    grouped: Tensor

    title = "DeepCluster v2"
    question = "To which cluster did this image belong a pass ago?"
    asks_by_number = True
    against_collapse = "lower lr"
    meanings: ClassVar[Mapping[str, str]] = {
        "accuracy": "Share of large crops that go to the cluster of their image.",
        "largest": (
            "Share of the images that are in the largest cluster when they are grouped: 1 / "
            "clusters if all have the same, 1 if all images are in one."
        ),
        "spread": SPREAD,
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        num_clusters: Sequence[int] | None = None,
        embedding_size: int = 128,
        hidden_size: int | None = None,
        temperature: float = 0.1,
        kmeans_iterations: int = 10,
        num_small: int = 6,
        small_size: Size | None = None,
        augmentation: RecipeLike | Pair | None = "swav",
        num_images: int | None = None,
        views_per_image: int = VIEWS_PER_IMAGE,
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
            loss: Function of the scores `[V, B, K]` of all crops and of the clusters `[B]` of their
                images, called for each grouping, whose mean is taken; default: cross-entropy.
            num_clusters: Of each grouping, as many as there shall be groupings. Default: three
                times 300, for more than 100,000 images 3000 (authors' code); at most a tenth of the
                images.
            embedding_size: Width of the space of clusters. 128: authors' code.
            hidden_size: Width of the projector's hidden layer. Default: 2048 (authors' code), at
                most four times the features, at least 256.
            temperature: Of the default loss. 0.1: authors' code.
            kmeans_iterations: Of a grouping. 10: authors' code.
            num_small: Small crops of an image, beside two large ones. 6: authors' code.
            small_size: Side or (height, width) of small crops in pixels. Default: 96/224 of the
                image's.
            augmentation: A pair, for large and small crops, or one for both: the name of a recipe,
                such as `"swav-large"`, `"swav-small"` or `"simclr"`, an `Augmentation`, or
                torchvision's transforms. `"swav"` or None: the pair `("swav-large",
                "swav-small")`.
            num_images: Entries of the memory. Default: the images of the dataset.
            views_per_image: Times that an image is seen, on average, before another one joins: a
                short run groups some images often instead of all of them hardly once. 0: all from
                the start, as in the paper.
            image_size: Side or (height, width) in pixels, that of large crops.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, there are more clusters than images, the
                predictor has another width, the dataset has another number of images than the
                memory has entries, the backbone takes no crops of `small_size`, or the augmentation
                makes no crops of the sizes.
        """
        require_counts(
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            kmeans_iterations=kmeans_iterations,
        )
        require_counts(0, num_small=num_small, views_per_image=views_per_image)
        super().__init__(
            None,
            dataset,
            ClusterPredictionLoss(temperature) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        if num_clusters is None:
            known = num_images if self.source is None else self.source.num_images
            clusters: tuple[int, ...] = default_num_clusters(known)
        else:
            clusters = _checked_clusters(num_clusters)
        if self.source is None and num_images is None:
            num_images = max(clusters)  # until a checkpoint says how many
        num_images = memory_size(self.source, num_images, type(self))
        if max(clusters) > num_images:
            raise ValueError(
                f"num_clusters are at most the images, {num_images}, got {max(clusters)}"
            )
        self._choose(num_clusters=clusters)
        self._resolve(num_images=num_images)
        self.num_clusters = clusters
        self.kmeans_iterations = kmeans_iterations
        projector = crop_projector(hidden_size, embedding_size)
        self.model = self._combine(backbone, predictor, projector, normalize)
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        small = small_size_for(self, num_small, small_size)
        augmentation = or_default(self, augmentation, "swav")
        large_crops, small_crops = crop_augmentations(self, augmentation, small)
        self.banks = nn.ModuleList(  # what was said last of either large crop of each image
            MemoryBank(num_images, embedding_size, 0.0, seed=crop) for crop in range(LARGE_CROPS)
        )
        self.register_buffer("is_remembered", torch.zeros(num_images, dtype=torch.bool))
        directions = F.normalize(torch.randn(sum(clusters), embedding_size), dim=1)
        self.register_buffer("prototypes", directions)  # (H K, E), of all groupings
        # Of each image, -1 where it was not among those that were grouped.
        unknown = torch.full((len(clusters), num_images), -1, dtype=torch.int64)
        self.register_buffer("assignments", unknown)  # (H, N)
        self.register_buffer("largest", torch.zeros(()))
        # Images that the run had seen when it grouped last, -1 if it never did, and how many it
        # grouped.
        self.register_buffer("grouped", torch.tensor([-1, 0]))
        self._grouped: tuple[int, int] | None = None  # the same, once the device was asked
        self.register_load_state_dict_post_hook(_forget)
        least = max(FEWEST_REMEMBERED, 2 * max(clusters))
        let_images_join(self, num_images, views_per_image, least)
        self.collate_fn = MultiCropCollator(large_crops, large_crops, small_crops, num_small)

    def _forward(self, data: Crops) -> Tensor:
        if self.training:
            self._group_if_due()  # before the network moves on, of what is remembered
        embeddings = F.normalize(embedded_crops(self.model, data), dim=2)  # (V, B, E)
        scores = prototype_scores(embeddings.flatten(0, 1), self.prototypes)
        scores = scores.unflatten(0, embeddings.shape[:2])  # (V, B, H K)
        losses, found = [], []
        for grouping, of_one in enumerate(scores.split(self.num_clusters, dim=2)):  # (V, B, K)
            nearest = of_one[:LARGE_CROPS].detach().argmax(dim=2)  # (2, B)
            clusters = self.assignments[grouping, data.index]  # (B,)
            clusters = torch.where(clusters < 0, nearest[grouping % LARGE_CROPS], clusters)
            losses.append(self.loss(of_one, clusters))
            found.append((nearest == clusters).float().mean())
        first, second = embeddings[:LARGE_CROPS].detach()  # (B, E) each
        if self.training:
            everywhere = gather(data.index), gather(first), gather(second)
            self._write_memory(self._remember, *everywhere)
        self._log(
            accuracy=torch.stack(found).mean(), largest=self.largest.clone(), spread=spread(first)
        )
        loss = torch.stack(losses).mean()
        # By random prototypes each crop would be drawn to where it is, and all of them together.
        return loss if self._is_grouped() else 0.0 * loss + self._chance()

    def _remember(self, index: Tensor, first: Tensor, second: Tensor) -> None:
        """Takes embeddings `[G, E]` of both large crops into the memory."""
        for bank, embeddings in zip(self.banks, (first, second), strict=True):
            remembering: Any = bank
            remembering.update(index, embeddings)
        self.is_remembered.index_fill_(0, index, True)

    def _when_grouped(self) -> tuple[int, int]:
        """How many images the run had seen when it grouped them, -1 if never, and how many."""
        if self._grouped is None:
            self._grouped = int(self.grouped[0]), int(self.grouped[1])
        return self._grouped

    def _is_grouped(self) -> bool:
        return self._when_grouped()[0] >= 0

    def _chance(self) -> float:
        return sum(map(math.log, self.num_clusters)) / len(self.num_clusters)

    def _group_if_due(self) -> None:
        """Groups what is remembered, once a pass; for the first time as soon as there is enough."""
        seen = 0 if self.run is None else images_before(self.run)
        last, number = self._when_grouped()
        if self._is_grouped():
            if self.run is not None and not 0 <= seen - last < number:
                self._group(seen)
            return
        remembered, most = int(self.is_remembered.sum()), max(self.num_clusters)
        all_images = len(self.is_remembered)
        if remembered >= min(2 * most, all_images) or (seen >= all_images and remembered >= most):
            self._group(seen)
        elif seen >= all_images:
            raise ValueError(
                f"of {all_images} images {remembered} could be read, which make no {most} "
                f"clusters: give num_clusters of at most {remembered}"
            )

    @torch.no_grad()
    def _group(self, seen: int) -> None:
        """Makes prototypes and assignments anew, alike in all processes.

        Args:
            seen: Images that the run has seen.
        """
        generator = generator_of_all(self.run, _STREAM)
        remembered = self.is_remembered.nonzero()[:, 0]  # (n,)
        shares, centroids = [], []
        self.assignments.fill_(-1)
        for grouping, number in enumerate(self.num_clusters):
            bank: Any = self.banks[grouping % LARGE_CROPS]
            found = spherical_kmeans(
                bank.lookup(remembered), number, self.kmeans_iterations, generator
            )
            self.assignments[grouping, remembered] = found.assigned
            centroids.append(found.centroids)
            sizes = found.assigned.bincount(minlength=number)  # (K,)
            shares.append(sizes.max() / len(remembered))
        self.prototypes.copy_(torch.cat(centroids))
        self.largest.copy_(torch.stack(shares).mean())
        for state in (self.prototypes, self.assignments, self.largest):
            from_first(state)  # where processes compute differently
        self._grouped = seen, len(remembered)
        self.grouped.copy_(torch.tensor(self._grouped))

    def _gathers(self, images: int) -> list[Gathered]:
        of_crop = rows(self, images, self.prototypes.shape[1])  # (B, E)
        return [Gathered(INDEX * images), *[of_crop] * LARGE_CROPS]

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Large crops, and other ones next to them: the image's own, and the nearest of another."""
        return among_views(self, self.model, self.model, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """The mean of `log K`: one of the clusters."""
        return self._chance() if isinstance(self.loss, ClusterPredictionLoss) else None

    def _health(self, row: Row) -> str | None:
        verdict = collapse(row["spread"], self.against_collapse)
        if verdict is not None:
            return verdict
        if row["largest"] > 0.5:
            return (
                f"{row['largest']:.0%} of the images are in one of "
                f"{max(self.num_clusters)} clusters: lower lr, or give more num_clusters"
            )
        chance = self.chance_loss(row)
        if row["epoch"] >= 5 and chance is not None and row["loss"] > 0.99 * chance:
            return (
                "clusters are foretold no better than by chance "
                f"(loss {row['loss']:.2f}): train for longer, change lr, or lower num_clusters"
            )
        return None


def _forget(supervisor: Any, incompatible_keys: Any) -> None:
    supervisor._grouped = None


def _checked_clusters(num_clusters: Sequence[int]) -> tuple[int, ...]:
    clusters = as_numbers("num_clusters", num_clusters)
    if not clusters:
        raise ValueError("num_clusters must be at least one number, got none")
    for number in clusters:
        require_counts(2, num_clusters=number)
    return tuple(map(int, clusters))


def default_num_clusters(num_images: int | None) -> tuple[int, ...]:
    """Clusters of each grouping where nobody says how many.

    Args:
        num_images: Of the dataset, or None where there is none yet.

    Returns:
        Three times 300, or for more than 100,000 images 3000 as in the paper; at most a tenth of
        the images, at least 2.
    """
    if num_images is None:
        return (300,) * GROUPINGS
    number = 300 if num_images <= MANY_IMAGES else 3000
    return (max(2, min(number, num_images // 10)),) * GROUPINGS
