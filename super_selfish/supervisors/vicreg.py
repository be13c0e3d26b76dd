"""VICReg: views are alike, images differ in every number, and no two numbers say the same.

Two views of each image pass one network. Their embeddings are to be close; each number of an
embedding is to differ enough between the images of the batch, which keeps all images from being
mapped to one point; and no two numbers are to have anything in common, which keeps them from
telling the same. There are no negatives, no second network, no stopped gradient, and embeddings are
compared as they are, of any length.

Bardes, Ponce, LeCun, 2021, "VICReg: Variance-Invariance-Covariance Regularization for
Self-Supervised Learning", arXiv 2105.04906.

Shapes: `B` images of a process, `N` images of all processes, `D` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses import VICRegLoss
from super_selfish.losses.full_precision import in_full
from super_selfish.losses.redundancy import VARIANCE_EPSILON, standardised
from super_selfish.supervisors.augmenting import Pair, or_default, two_views
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.redundancy import (
    AGREEMENT,
    REDUNDANCY,
    among_standardised,
    caution_of_few,
    expander,
    ill_in_common,
    ill_of_deviation,
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


class VICRegSupervisor(Supervisor):
    """Brings views together, and holds the numbers of embeddings apart (VICReg).

    The paper trains with LARS: `supervise(optimizer=LARS, lr=0.2 * batch_size / 256,
    lr_scheduler="cosine", batch_size=2048)`, from `super_selfish.training.optimizers`, with a
    weight decay of 1e-6. With several processes variances and covariances are those over the images
    of all.

    Differences from the paper: embeddings have 2048 numbers, as in solo-learn's recipe for
    CIFAR-10, on images of at least 224 pixels 8192, and at most four times the features of the
    backbone. The first term is a mean over the numbers of an embedding and the second one a mean
    over both views, as in the authors' code. Views are augmented as the authors' code does it, as
    in BYOL, where the paper says that both are augmented alike. Batch norm within the networks is
    computed for each process by itself. By default Adam trains at a constant rate of 1e-3 in
    batches of 32, instead of LARS at 0.2 times batch size / 256 down a cosine, in batches of 2048
    (see above).

    The network sees a batch in two passes, one a view, as the authors' does: each view is
    normalised by itself, and running statistics of batch norm move twice a batch.
    """

    title = "VICReg"
    question = "Which view is close to this one?"
    against_collapse = "lower lr, or raise batch_size (variances need some 128 images)"
    meanings: ClassVar[Mapping[str, str]] = {
        "deviation": (
            "Mean standard deviation of a number of the embedding over the images, of which 1 is "
            "wanted (`deviation=`); 0 if all images have the same, which is collapse."
        ),
        "agreement": AGREEMENT,
        "redundancy": REDUNDANCY,
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
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        deviation: float = 1.0,
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
            predictor: Projector from features to embeddings, which the paper calls expander;
                default: FC, batch norm, ReLU and so on, and FC at the end, all without bias.
            loss: Function of the embeddings of first and second views, of all processes; default:
                the weighed sum of the three terms.
            embedding_size: Numbers of an embedding. Default: that of `predictor`, or 2048, for
                images of at least 224 pixels 8192 (section 4.2), at most four times the features,
                at least 256.
            hidden_size: Width of the projector's hidden layers. Default: that of the embedding
                (section 4.2).
            num_layers: Of the projector. 3: section 4.2.
            invariance_weight: Of the squared distance of both views. 25: section 4.2, lambda.
            variance_weight: Of deviations that are too small. 25: section 4.2, mu.
            covariance_weight: Of what different numbers have in common. 1: section 4.2, nu.
            deviation: Standard deviation that numbers shall have. 1: section 4.1, gamma.
            augmentation: A pair, one for each view, or one for both: the name of a recipe, such as
                `"byol-1"`, `"byol-2"` or `"simclr"`, an `Augmentation`, or torchvision's
                transforms. `"byol"` or None: the pair `("byol-1", "byol-2")`, as in the authors'
                code.
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
        # Also beside a loss of one's own, whose embeddings are judged by these.
        own = VICRegLoss(invariance_weight, variance_weight, covariance_weight, deviation)
        super().__init__(
            None,
            dataset,
            own if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        augmentation = or_default(self, augmentation, "byol")
        views = two_views(self, augmentation)
        self.deviation = deviation
        projector = expander(self, embedding_size, hidden_size, num_layers)
        self.model = self._combine(backbone, predictor, projector, normalize)
        if predictor is not None and embedding_size is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        self.collate_fn = TwoViewCollator(*views)

    def _forward(self, data: TwoViews) -> Tensor:
        first = gather(in_full(self.model(data.first)))  # (N, D)
        second = gather(in_full(self.model(data.second)))  # (N, D)
        with torch.no_grad():
            agreement, redundancy = in_common(standardised(first), standardised(second))
            deviation = first.std(dim=0, correction=0).mean()
            self._log(deviation=deviation, agreement=agreement, redundancy=redundancy)
        return self.loss(first, second)

    def _gathers(self, images: int) -> list[Gathered]:
        return [outputs(self, self.model, images)] * 2  # (B, D), of either view

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and other views next to them: the image's own, and the nearest of another.

        Numbers are compared less their mean and by their deviation.
        """
        return among_standardised(self, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """That of embeddings that are the same for all images: `mu (gamma - 0.01)`."""
        if not isinstance(self.loss, VICRegLoss):
            return None
        return self.loss.variance_weight * max(0.0, self.deviation - VARIANCE_EPSILON**0.5)

    def _caution(self, run: Run) -> str | None:
        return caution_of_few(run) if isinstance(self.loss, VICRegLoss) else None

    def _health(self, row: Row) -> str | None:
        advice = f"{self.against_collapse}, or raise variance_weight"
        return ill_of_deviation(row, self.deviation, advice) or ill_in_common(
            row, self.against_collapse, "raise covariance_weight", "raise invariance_weight"
        )
