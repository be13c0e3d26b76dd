"""BYOL: foretell how a slower copy of the network sees another view.

Two views of an image are encoded, one by the network that trains, one by its slowly moving average.
A small head on the training branch alone foretells the embedding of the average. There are no
negatives: that head and the average keep all images from being mapped to one point.

Grill et al., 2020, "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
arXiv 2006.07733.

Shapes: `B` images, `D` features, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses import cosine_regression
from super_selfish.losses.full_precision import in_full
from super_selfish.models import MLP, CombinedNet, MomentumEncoder, feature_shape
from super_selfish.models.heads import hidden_width
from super_selfish.supervisors.augmenting import Pair, or_default, two_views
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.following import rising_momentum, said_of_momentum
from super_selfish.supervisors.likenesses import among_views
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.two_views import TwoViewCollator, TwoViews
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

MOMENTUM = 0.996  # with which the paper begins


class BYOLSupervisor(Supervisor):
    """Predicts a momentum encoder's embedding of one view from the other view (BYOL).

    `predictor=` is, as in every algorithm, what follows the backbone, which the paper calls the
    projector `g`; what the paper calls the predictor `q` is `prediction_head=` here. The momentum
    encoder follows backbone and projector, and has no prediction head.

    The paper trains with LARS: `supervise(optimizer=LARS, lr=0.2 * batch_size / 256,
    lr_scheduler="cosine")`, from `super_selfish.training.optimizers`. The default, Adam, suits
    small batches.

    Differences from the paper: hidden layers are narrower on small backbones, and the momentum
    comes up to the paper's through the first 2,240 updates. Batch norm is computed for each process
    by itself, unless `sync_batch_norm=True`. By default Adam trains at a constant rate of 1e-3 in
    batches of 32, instead of LARS at 0.2 times batch size / 256 down a cosine, in batches of 4096
    (see above).

    The network and the momentum encoder see a batch in two passes, one a view, as the authors' do:
    each view is normalised by itself, and running statistics of batch norm move twice a batch.
    """

    title = "BYOL"
    question = "How does my slower copy see another view of this image?"
    against_collapse = (
        "lower lr, raise batch_size (batch norm needs some 32 images), or raise momentum"
    )

    former_arguments: ClassVar[Mapping[str, Any]] = {"augmentation": "byol"}
    meanings: ClassVar[Mapping[str, str]] = {
        "target_spread": (
            "Spread of the targets over the sphere: 1 as of independent ones, 0 if all images "
            "have the same target, which is collapse."
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
        embedding_size: int = 256,
        hidden_size: int | None = None,
        momentum: float | None = None,
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
            predictor: Projector from features to `embedding_size`; default: FC, batch norm, ReLU,
                FC.
            loss: Function of predictions and targets, called for both directions and summed;
                default: squared distance of the directions, which makes a sum in [0, 8].
            prediction_head: From embedding to embedding, on the training branch; default: of the
                projector's form.
            embedding_size: Width of the space in which views are compared. 256: section 3.3.
            hidden_size: Width of the hidden layers of both heads. Default: 4096 (section 3.3) for
                features of at least 1024, else four times the features, at least 512.
            momentum: Weight of the old momentum encoder in the first update, in [0, 1]; it rises to
                1 over the run. Default: the paper's 0.996, which rises so, but after `t` updates at
                most `(1 + t) / (10 + t)`.
            augmentation: A pair, one for each view, or one for both: the name of a recipe, such as
                `"byol-1"`, `"byol-2"` or `"simclr"`, an `Augmentation`, or torchvision's
                transforms. `"byol"` or None: the pair `("byol-1", "byol-2")`.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, a head has another width, or the
                augmentation makes no images of the size.
        """
        if momentum is not None and not 0.0 <= momentum <= 1.0:
            raise ValueError(f"momentum must be in [0, 1], got {momentum}")
        require_counts(embedding_size=embedding_size, hidden_size=hidden_size)
        super().__init__(
            None,
            dataset,
            cosine_regression if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        augmentation = or_default(self, augmentation, "byol")
        views = two_views(self, augmentation)
        self.momentum = momentum

        def head(in_features: int, backbone_features: int) -> nn.Module:
            hidden = hidden_width(backbone_features) if hidden_size is None else hidden_size
            return MLP(in_features, (hidden,), embedding_size)

        self.model = self._combine(
            backbone, predictor, lambda features: head(features.dim, features.dim), normalize
        )
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        if prediction_head is None:
            features = feature_shape(self.get_backbone(), self.in_channels, self.image_size)
            prediction_head = head(embedding_size, features.dim)
        else:
            foretelling = CombinedNet(self.model, prediction_head)
            require_embedding(self, "prediction_head", foretelling, embedding_size)
        self.prediction_head = prediction_head
        self.momentum_encoder = MomentumEncoder(self.model)
        self.collate_fn = TwoViewCollator(*views)

    def _forward(self, data: TwoViews) -> Tensor:
        first, second = self._foretell(data.first), self._foretell(data.second)  # (B, E) each
        with torch.no_grad():  # targets
            first_target = self.momentum_encoder(data.first)  # (B, E)
            second_target = self.momentum_encoder(data.second)  # (B, E)
            self._log(target_spread=spread(F.normalize(in_full(first_target), dim=1)))
        return self.loss(first, second_target) + self.loss(second, first_target)

    def _after_step(self, run: Run) -> None:
        self.momentum_encoder.update(self.model, self.momentum_now(run))

    def momentum_now(self, run: Run) -> float:
        """Weight of the old momentum encoder in the update under way, from where the run stands.

        Args:
            run: The run, before its position moves on.

        Returns:
            The momentum, in [0, 1].
        """
        return rising_momentum(run, self.momentum, MOMENTUM)

    def _fit_to_run(self, run: Run) -> dict[str, Any]:
        return said_of_momentum(self.momentum, MOMENTUM)

    def _foretell(self, views: Tensor) -> Tensor:
        return self.prediction_head(self.model(views))  # (B, E)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and the targets of other views next to what they foretell."""
        return among_views(self, self._foretell, self.momentum_encoder, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """4, twice the distance of vectors at right angles, as unrelated ones are."""
        return 4.0 if self.loss is cosine_regression else None

    def _health(self, row: Row) -> str | None:
        return collapse(
            row["target_spread"],
            self.against_collapse,
            besides=", and a loss near 0 means nothing",
        )
