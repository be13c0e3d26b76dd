"""Instance discrimination: every image is a class of its own.

The network embeds one augmented view of an image, which must be closer to what a memory holds of
that image than to what it holds of others. The memory, one vector an image, takes the place of the
weights of a classifier with as many classes as there are images.

Wu, Xiong, Yu, Lin, 2018, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", arXiv 1805.01978.

Shapes: `B` images, `K` negatives, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike, instance_discrimination
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group
from super_selfish.losses.full_precision import in_full
from super_selfish.memory import MemoryBank
from super_selfish.models import MLP
from super_selfish.supervisors.augmenting import or_default, view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import VIEWS_PER_IMAGE
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.likenesses import cosines, from_memory
from super_selfish.supervisors.refusals import require_embedding
from super_selfish.supervisors.remembering import (
    MEMORY_CHANGE,
    SPREAD,
    among_joined,
    draw_negatives,
    guessing_loss,
    let_images_join,
    loss_of_form,
    memory_size,
    require_memory_options,
    standstill,
)
from super_selfish.supervisors.traffic import INDEX, Gathered, rows
from super_selfish.training.distributed import gather
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class InstanceViews(NamedTuple):
    """A view of each image, and entries of the memory to tell it from."""

    views: Tensor  # (B, C, H, W)
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the dataset
    negatives: Tensor  # (K,) int64, positions in the dataset, for the whole batch


class InstanceCollator(Collator):
    """Augments each image once, and draws negatives for the batch."""

    def __init__(self, augmentation: Augmentation, num_images: int, num_negatives: int) -> None:
        """Takes the recipe, the entries of the memory, and how many to draw."""
        super().__init__()
        self.augmentation = augmentation
        self.num_images = num_images
        self.num_negatives = num_negatives

    def augment(self, batch: Batch, generator: torch.Generator) -> InstanceViews:
        """Makes the views and draws the negatives."""
        views = self.augmentation(batch.images, generator)
        negatives = draw_negatives(self.num_images, self.num_negatives, generator)
        return InstanceViews(views, batch.index, negatives.to(views.device, non_blocking=True))


class InstanceDiscriminationSupervisor(Supervisor):
    """Tells each image from all others by a memory of embeddings.

    Differences from the paper: the loss is the softmax over an image's own entry and random ones,
    as in the authors' later model; `form="nce"` is the paper's. 500 negatives instead of 4096,
    shared by the batch, an image's own entry masked. The proximal term has weight 0.01, as in
    release 0.0.6, instead of 30, which the paper uses to steady its NCE. The head is an MLP
    (features, 1024, 1024, 128) instead of one linear layer. Images join the memory one by
    one (`views_per_image`). By default Adam trains at a constant rate of 1e-3
    in batches of 32, instead of SGD at 0.03 (momentum 0.9, weight decay 1e-4), a tenth of it from
    epoch 120 of 200 on, in batches of 256.
    """

    title = "Instance discrimination"
    question = "Which of all remembered images is this a view of?"
    asks_by_number = True
    former_arguments: ClassVar[Mapping[str, Any]] = {"views_per_image": 0}
    against_collapse = "lower lr, or raise batch_size or num_negatives"

    meanings: ClassVar[Mapping[str, str]] = {
        "accuracy": "Share of views that are nearer to their own entry than to all negatives.",
        "memory_similarity": "Cosine of a view and what is remembered of its image.",
        "spread": SPREAD,
        "memory_change": MEMORY_CHANGE,
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        embedding_size: int = 128,
        num_negatives: int = 500,
        temperature: float = 0.07,
        bank_momentum: float = 0.5,
        form: str = "softmax",
        proximal_weight: float = 0.01,
        augmentation: RecipeLike | None = "paper",
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
            predictor: Projector from features to `embedding_size`.
            loss: Function of embeddings, own entries, negatives and a mask of negatives to leave
                out; default: what `form` says.
            embedding_size: Width of the space in which images and memory are compared.
            num_negatives: Entries of the memory that each step compares with; the whole memory,
                each entry once, where the dataset is no larger.
            temperature: Of the default loss. 0.07: section 4; the authors' code for CIFAR has 0.1.
            bank_momentum: Weight of an old entry of the memory in its update, in [0, 1); what
                MoCo and BYOL call `momentum` is that of an old network.
            form: Of the default loss: `"softmax"`, or `"nce"` for a binary decision an entry. Its
                normalising constant is estimated of the first batch and stays, as in the code of
                the authors; section 3.2 has it of some batches.
            proximal_weight: Of the squared distance between an embedding and its own entry, which
                keeps embeddings from jumping (section 3.3); 0 for none.
            augmentation: Of the view: the name of a recipe, such as `"paper"` (that of the
                authors) or `"cpc"`, an `Augmentation`, or torchvision's transforms. None:
                `"paper"`.
            num_images: Entries of the memory. Default: the images of the dataset.
            views_per_image: Views of an image, on average, before another one joins: a short run
                knows some images well instead of all of them not at all. 0: all from the start, as
                in the paper.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If an argument is out of its range, the predictor has another width, or the
                dataset has another number of images than the memory has entries.
        """
        require_memory_options(
            bank_momentum=bank_momentum,
            form=form,
            views_per_image=views_per_image,
            num_negatives=num_negatives,
            embedding_size=embedding_size,
        )
        if not 0.0 <= proximal_weight < math.inf:
            raise ValueError(f"proximal_weight must be >= 0, got {proximal_weight}")
        super().__init__(
            None, dataset, loss, image_size=image_size, in_channels=in_channels, **options
        )
        augmentation = or_default(self, augmentation, "paper")
        view = view_of(self, augmentation, self.image_size, instance_discrimination)
        num_images = memory_size(self.source, num_images, type(self))
        self._resolve(num_images=num_images)
        if loss is None:
            self.loss = loss_of_form(form, num_images, temperature)
        self.proximal_weight = proximal_weight
        self.model = self._combine(
            backbone,
            predictor,
            lambda features: MLP(features.dim, (1024, 1024), embedding_size),
            normalize,
        )
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        self.bank = MemoryBank(num_images, embedding_size, bank_momentum)
        let_images_join(self, num_images, views_per_image)
        self.num_negatives = num_negatives
        self.collate_fn = InstanceCollator(view, num_images, num_negatives)

    def _forward(self, data: InstanceViews) -> Tensor:
        embeddings = F.normalize(in_full(self.model(data.views)), dim=1)  # (B, E)
        memories = self.bank.lookup(data.index)  # (B, E), a copy: not yet of this step
        drawn = among_joined(self, data.negatives)  # (K,)
        negatives = self.bank.lookup(drawn)  # (K, E)
        own = self.bank.own_entry_mask(data.index, drawn)  # (B, K)
        loss = self.loss(embeddings, memories, negatives, own)
        change = self.bank.change(data.index, embeddings)
        if self.training:
            self._write_memory(self.bank.update, gather(data.index), gather(embeddings.detach()))

        positive = (embeddings * memories).sum(dim=1)  # (B,)
        # Between unit vectors |v - m|^2 = 2 - 2 v.m.
        proximal = 2.0 - 2.0 * positive.mean()
        with torch.no_grad():
            hardest = (embeddings @ negatives.T).masked_fill(own, -1.0).amax(dim=1)  # (B,)
        self._log(
            accuracy=(positive > hardest).float().mean(),
            memory_similarity=positive.detach().mean(),
            memory_change=change,
            spread=spread(embeddings.detach()),
        )
        return loss + self.proximal_weight * proximal

    def _gathers(self, images: int) -> list[Gathered]:
        return [Gathered(INDEX * images), rows(self, images, self.bank.rows.shape[1])]  # (B, E)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and the entries of the memory next to them."""
        views = seen_batch(self, index, seed).views
        return from_memory(self, views, "view", cosines(self.model(views), self.bank.rows), index)

    def chance_loss(self, row: Row) -> float | None:
        """`log(1 + K)`: an own entry against the negatives."""
        return guessing_loss(self.loss, len(self.bank.rows), self.num_negatives)

    def _health(self, row: Row) -> str | None:
        verdict = collapse(row["spread"], self.against_collapse) or standstill(row["memory_change"])
        if verdict is not None:
            return verdict
        # The first epoch meets random entries; from the second on they are of the same images.
        if row["epoch"] >= 3 and row["memory_similarity"] < 0.1:
            return (
                "embeddings do not resemble what the memory holds of the same images (cosine "
                f"{row['memory_similarity']:.2f}): a dataset must give the same image at the same "
                "position in every epoch; else lower lr"
            )
        return None
