"""Barlow Twins: two views agree in every number of the embedding, and no two numbers say the same.

Two views of each image pass one network. Over the images of the batch, every number of the
embedding is correlated with every number of the other view's. The matrix of these correlations is
to be the identity: a number is the same for both views, and tells what no other number tells. There
are no negatives, no second network and no stopped gradient.

Zbontar, Jing, Misra, LeCun, Deny, 2021, "Barlow Twins: Self-Supervised Learning via Redundancy
Reduction", arXiv 2103.03230.

Shapes: `B` images of a process, `N` images of all processes, `D` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses import BarlowTwinsLoss
from super_selfish.losses.full_precision import in_full
from super_selfish.losses.redundancy import standardised
from super_selfish.supervisors.augmenting import Pair, or_default, two_views
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.redundancy import (
    AGREEMENT,
    REDUNDANCY,
    among_standardised,
    caution_of_few,
    expander,
    ill_in_common,
    in_common,
)
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.traffic import Gathered, outputs
from super_selfish.supervisors.two_views import TwoViewCollator, TwoViews
from super_selfish.training.distributed import gather
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class BarlowTwinsSupervisor(Supervisor):
    """Correlates the embeddings of two views, towards the identity matrix (Barlow Twins).

    The paper trains with LARS: `supervise(optimizer=LARS, lr=0.2 * batch_size / 256,
    lr_scheduler="cosine", batch_size=2048)`, from `super_selfish.training.optimizers`, which leaves
    biases and norms without weight decay. With several processes the correlations are those over
    the images of all.

    Differences from the paper: embeddings have 2048 numbers, as in solo-learn's recipe for
    CIFAR-10, on images of at least 224 pixels 8192, and at most four times the features of the
    backbone. Residual blocks begin as their network has them, and not with batch norms of weight
    zero. Biases and norms have the learning rate of all (0.0048 at 256 images in the authors'
    code). Batch norm within the networks is computed for each process by itself. By default Adam
    trains at a constant rate of 1e-3 in batches of 32, instead of LARS at 0.2 times batch size /
    256 down a cosine, in batches of 2048 (see above).

    The network sees a batch in two passes, one a view, as the authors' does: each view is
    normalised by itself, and running statistics of batch norm move twice a batch.
    """

    title = "Barlow Twins"
    question = "Which view agrees with this one in every number?"
    against_collapse = "lower lr, or raise batch_size (correlations need some 128 images)"
    meanings: ClassVar[Mapping[str, str]] = {
        "agreement": AGREEMENT,
        "redundancy": REDUNDANCY,
        "spread": (
            "Spread of the standardised embeddings over the sphere: 1 as of independent ones, 0 if "
            "all images have the same, which is collapse."
        ),
        "unrelated": "Loss of embeddings of which no number has to do with another.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        embedding_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 3,
        off_diagonal_weight: float = 5e-3,
        augmentation: RecipeLike | Pair | None = "byol",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Projector from features to embeddings; default: FC, batch norm, ReLU and so
                on, and FC at the end, all without bias.
            loss: Function of the embeddings of first and second views, of all processes; default:
                the distance of their cross-correlation from the identity.
            embedding_size: Numbers of an embedding. Default: that of `predictor`, or 2048, for
                images of at least 224 pixels 8192 (section 2.2), at most four times the features,
                at least 256.
            hidden_size: Width of the projector's hidden layers. Default: that of the embedding
                (section 2.2).
            num_layers: Of the projector. 3: section 2.2.
            off_diagonal_weight: Of correlations between different numbers. 5e-3: section 2.2; code:
                5.1e-3.
            augmentation: A pair, one for each view, or one for both: the name of a recipe, such as
                `"byol-1"`, `"byol-2"` or `"simclr"`, an `Augmentation`, or torchvision's
                transforms. `"byol"` or None: the pair `("byol-1", "byol-2")`, as in the paper.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, the predictor has another width, or the
                augmentation makes no images of the size.
        """
        require_counts(
            embedding_size=embedding_size, hidden_size=hidden_size, num_layers=num_layers
        )
        super().__init__(
            None,
            dataset,
            BarlowTwinsLoss(off_diagonal_weight) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        augmentation = or_default(self, augmentation, "byol")
        views = two_views(self, augmentation)
        self.off_diagonal_weight = off_diagonal_weight
        projector = expander(self, embedding_size, hidden_size, num_layers)
        self.model = self._combine(backbone, predictor, projector, normalize)
        if predictor is not None and embedding_size is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        self.collate_fn = TwoViewCollator(*views)

    def _forward(self, data: TwoViews) -> Tensor:
        first = gather(in_full(self.model(data.first)))  # (N, D)
        second = gather(in_full(self.model(data.second)))  # (N, D)
        with torch.no_grad():
            self._measure(standardised(first), standardised(second))
        return self.loss(first, second)

    def _gathers(self, images: int) -> list[Gathered]:
        return [outputs(self, self.model, images)] * 2  # (B, D), of either view

    def _measure(self, first: Tensor, second: Tensor) -> None:
        """Notes what standardised embeddings `[N, D]` have in common."""
        images, size = first.shape
        by_chance = size + (size + self.off_diagonal_weight * size * (size - 1)) / images
        agreement, redundancy = in_common(first, second)
        self._log(
            agreement=agreement,
            redundancy=redundancy,
            spread=spread(F.normalize(first, dim=1)),
            unrelated=agreement.new_full((), by_chance),
        )

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and other views next to them: the image's own, and the nearest of another.

        Numbers are compared as the loss does it, each less its mean and by its deviation.
        """
        return among_standardised(self, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """That of numbers of which none has to do with another: `D + (D + w D (D - 1)) / N`."""
        return row["unrelated"] if isinstance(self.loss, BarlowTwinsLoss) else None

    def _caution(self, run: Run) -> str | None:
        return caution_of_few(run) if isinstance(self.loss, BarlowTwinsLoss) else None

    def _health(self, row: Row) -> str | None:
        return collapse(row["spread"], self.against_collapse) or ill_in_common(
            row,
            self.against_collapse,
            "raise off_diagonal_weight",
            "lower off_diagonal_weight",
        )
