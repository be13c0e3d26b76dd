"""SimSiam: foretell how the same network sees another view.

Two views of an image pass one network. A small head foretells from the embedding of either view
that of the other, which stands still for it (no gradient goes there). There are no negatives and no
slower copy: that head and the stopped gradient keep all images from being mapped to one point.

Chen, He, 2020, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566.

Shapes: `B` images, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses import negative_cosine
from super_selfish.losses.full_precision import in_full
from super_selfish.models import MLP, CombinedNet, feature_shape
from super_selfish.models.heads import suited_width
from super_selfish.supervisors.augmenting import Pair, or_default, two_views
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.likenesses import among_views
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.two_views import TwoViewCollator, TwoViews
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

SMALL = 64  # pixels up to which the projector is that of the paper's recipe for CIFAR-10


class SimSiamSupervisor(Supervisor):
    """Predicts the embedding of one view from the other view, by one network (SimSiam).

    `predictor=` is, as in every algorithm, what follows the backbone, which the paper calls the
    projection MLP; what the paper calls the prediction MLP `h` is `prediction_head=` here.

    The paper trains with `supervise(optimizer="sgd", lr=0.05 * batch_size / 256,
    lr_scheduler="cosine", batch_size=512)`, on CIFAR-10 with a rate of 0.03 and a weight decay of
    5e-4. The rate of the prediction head stays where it began, whatever the schedule.

    Differences from the paper: heads are narrower on backbones of fewer than 512 features, and
    images of at most 64 pixels get the projector of two layers of the paper's recipe for CIFAR-10.
    Batch norm is computed for each process by itself, unless `sync_batch_norm=True`. By default
    Adam trains at a constant rate of 1e-3 in batches of 32, instead of SGD at 0.05 times batch size
    / 256 (momentum 0.9, weight decay 1e-4) down a cosine, in batches of 512 (see above).

    The network sees a batch in two passes, one a view, as the authors' does: each view is
    normalised by itself, and running statistics of batch norm move twice a batch.
    """

    title = "SimSiam"
    question = "How do I see another view of this image?"
    against_collapse = "lower lr, or raise batch_size (batch norm needs some 32 images)"
    meanings: ClassVar[Mapping[str, str]] = {
        "spread": (
            "Spread of the embeddings over the sphere: 1 as of independent ones, 0 if all images "
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
        prediction_head: nn.Module | None = None,
        embedding_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int | None = None,
        bottleneck_size: int | None = None,
        fix_prediction_lr: bool = True,
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
            predictor: Projector from features to `embedding_size`; default: FC, batch norm, ReLU
                and so on, and at the end FC and a batch norm without weights.
            loss: Function of predictions and targets, called for both directions, whose mean is
                taken; default: their negative cosine, in [-1, 1].
            prediction_head: From embedding to embedding; default: FC, batch norm, ReLU, FC.
            embedding_size: Width of the space in which views are compared. Default: that of
                `predictor`, or 2048 (section 3), at most four times the features, at least 256.
            hidden_size: Width of the projector's hidden layers. Default: that of the embedding
                (section 3).
            num_layers: Of the projector. Default: 3 (section 3), for images of at most 64 pixels 2
                (appendix D, CIFAR-10).
            bottleneck_size: Width of the prediction head's hidden layer. Default: a quarter of the
                embedding (section 3: 512 of 2048).
            fix_prediction_lr: Whether the schedule leaves the rate of the prediction head alone
                (section 4.2; authors' code).
            augmentation: Of each view: the name of a recipe, such as `"moco"`, `"simclr"` or
                `"byol"`, an `Augmentation`, torchvision's transforms, or a pair of these, one for
                each. None: `"moco"`, as in the paper.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, a head has another width, or the
                augmentation makes no images of the size.
        """
        require_counts(
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bottleneck_size=bottleneck_size,
        )
        super().__init__(
            None,
            dataset,
            negative_cosine if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        augmentation = or_default(self, augmentation, "moco")
        views = two_views(self, augmentation)
        self.fix_prediction_lr = fix_prediction_lr
        if num_layers is None:
            num_layers = 2 if min(self.image_size) <= SMALL else 3

        def projector(features: int) -> nn.Module:
            size = suited_width(features, 2048) if embedding_size is None else embedding_size
            hidden = size if hidden_size is None else hidden_size
            layers = MLP(features, (hidden,) * (num_layers - 1), size, bias=False)
            return nn.Sequential(*layers, nn.BatchNorm1d(size, affine=False))

        self.model = self._combine(
            backbone, predictor, lambda features: projector(features.dim), normalize
        )
        if predictor is not None and embedding_size is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        size = feature_shape(self.model, self.in_channels, self.image_size).dim
        if prediction_head is None:
            narrow = max(1, size // 4) if bottleneck_size is None else bottleneck_size
            prediction_head = MLP(size, (narrow,), size)
        else:
            foretelling = CombinedNet(self.model, prediction_head)
            require_embedding(self, "prediction_head", foretelling, size)
        self.prediction_head = prediction_head
        self.collate_fn = TwoViewCollator(*views)

    def _forward(self, data: TwoViews) -> Tensor:
        first, second = self.model(data.first), self.model(data.second)  # (B, E) each
        foretold_second, foretold_first = (self.prediction_head(z) for z in (first, second))
        with torch.no_grad():
            self._log(spread=spread(F.normalize(in_full(first), dim=1)))
        # Targets are detached: without that all images would be mapped to one point.
        forth = self.loss(foretold_second, second.detach())
        back = self.loss(foretold_first, first.detach())
        return (forth + back) / 2

    def _parameter_groups(self, named: dict[str, nn.Parameter], lr: float) -> list[dict[str, Any]]:
        if not self.fix_prediction_lr:
            return super()._parameter_groups(named, lr)
        of_head = set(self.prediction_head.parameters())
        others = [parameter for parameter in named.values() if parameter not in of_head]
        own = [parameter for parameter in named.values() if parameter in of_head]
        return [{"params": others}, {"params": own, "constant_lr": True}]

    def _foretell(self, views: Tensor) -> Tensor:
        return self.prediction_head(self.model(views))  # (B, E)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and the embeddings of other views next to what they foretell."""
        return among_views(self, self._foretell, self.model, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """0, the cosine of vectors at right angles, as unrelated ones are."""
        return 0.0 if self.loss is negative_cosine else None

    def _health(self, row: Row) -> str | None:
        return collapse(
            row["spread"],
            self.against_collapse,
            besides=", and a loss near \N{MINUS SIGN}1 means nothing",
        )
