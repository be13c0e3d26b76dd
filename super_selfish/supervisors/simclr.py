"""SimCLR: find the other view of the same image among all views of the batch.

Two views of each image are encoded. Each view must be closer to the other one of its image than to
the views of all other images of the batch. There is no memory and no second network: the negatives
are as many as the batch is large.

Chen, Kornblith, Norouzi, Hinton, 2020, "A Simple Framework for Contrastive Learning of Visual
Representations", arXiv 2002.05709; Chen et al., 2020, arXiv 2006.10029 (v2, deeper projector).

Shapes: `B` images of a process, `G` images of all processes, `E` embedding, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.recipes import SMALL_SIDE, RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses import NTXentLoss
from super_selfish.losses.full_precision import in_full
from super_selfish.models import MLP
from super_selfish.supervisors.augmenting import Pair, or_default, two_views
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.diagnostics import caution_of_one, collapse, spread
from super_selfish.supervisors.likenesses import among_views
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.traffic import Gathered, outputs
from super_selfish.supervisors.two_views import TwoViewCollator, TwoViews
from super_selfish.training.counting import plural
from super_selfish.training.distributed import gather
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

MANY_CANDIDATES = 60  # among fewer the other view may well be found every time


class SimCLRSupervisor(Supervisor):
    """Contrasts two views of an image against all views of the batch (SimCLR).

    The paper trains with LARS: `supervise(optimizer=LARS, lr=0.3 * batch_size / 256,
    lr_scheduler="cosine", batch_size=4096)`, from `super_selfish.training.optimizers`, with a
    weight decay of 1e-6. With several processes the batch is that of all of them.

    Differences from the paper: a temperature of 0.2 instead of 0.1 (ImageNet) or 0.5 (CIFAR-10),
    and embeddings of 256 instead of 128 numbers, as in solo-learn's recipe for small images. The
    projector ends without the authors' batch norm. Images of at most 32 pixels get half the colour
    jitter and no blur, as in the paper's recipe for CIFAR-10. Batch norm is computed for each
    process by itself. The loss is the mean over all views, the authors' code sums the means of
    both halves, which is twice as much. By default Adam trains at a constant rate of 1e-3 in
    batches of 32, instead of LARS at 0.3 times batch size / 256 down a cosine, in batches of 4096
    (see above); 32 images are few negatives.

    The network sees all views of a batch in one pass, as the authors' does: both views share the
    statistics of batch norm.
    """

    title = "SimCLR"
    question = "Which view of the batch shows the same image as this one?"
    against_collapse = "lower lr, or raise batch_size"

    meanings: ClassVar[Mapping[str, str]] = {
        "accuracy": "Share of views that are nearest to the other view of their image.",
        "candidates": "Views of a batch among which a view has to find the other one of its image.",
        "spread": (
            "Spread of the embeddings over the sphere: 1 as of independent ones, 0 if all views "
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
        embedding_size: int = 256,
        hidden_size: int | None = None,
        num_layers: int = 2,
        temperature: float = 0.2,
        augmentation: RecipeLike | Pair | None = None,
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
            loss: Function of the unit vectors of first and second views, of all processes; default:
                NT-Xent.
            embedding_size: Width of the space in which views are compared. 128: section 2.1.
            hidden_size: Width of the projector's hidden layers. Default: that of the features
                (section 4.2: 2048, of a ResNet-50).
            num_layers: Of the projector. 2: section 2.1; 3: v2, section 2.
            temperature: Of the default loss. 0.1 on ImageNet, 0.5 on CIFAR-10 (appendix B.9).
            augmentation: Of each view: the name of a recipe, such as `"simclr"`, `"moco"` or
                `"byol"`, an `Augmentation`, torchvision's transforms, or a pair of these, one for
                each. None: `"simclr"`, for images of at most 32 pixels `"simclr-small"`.
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
            NTXentLoss(temperature) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        is_small = min(self.image_size) <= SMALL_SIDE
        augmentation = or_default(self, augmentation, "simclr-small" if is_small else "simclr")
        views = two_views(self, augmentation)

        def projector(features: int) -> nn.Module:
            hidden = features if hidden_size is None else hidden_size
            return MLP(features, (hidden,) * (num_layers - 1), embedding_size)

        self.model = self._combine(
            backbone, predictor, lambda features: projector(features.dim), normalize
        )
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        self.collate_fn = TwoViewCollator(*views)

    def _forward(self, data: TwoViews) -> Tensor:
        views = torch.cat([data.first, data.second])  # (2B, C, H, W)
        embeddings = F.normalize(in_full(self.model(views)), dim=1)  # (2B, E)
        first, second = (gather(half) for half in embeddings.chunk(2))  # (G, E) each
        with torch.no_grad():
            self._measure(torch.cat([first, second]))
        return self.loss(first, second)

    def _gathers(self, images: int) -> list[Gathered]:
        return [outputs(self, self.model, images)] * 2  # (B, E), of either view

    def _measure(self, embeddings: Tensor) -> None:
        """Notes how many of `[2G, E]` find the other view of their image."""
        similarities = (embeddings @ embeddings.T).fill_diagonal_(-math.inf)  # (2G, 2G)
        other_view = torch.arange(len(embeddings), device=embeddings.device)
        other_view = other_view.roll(len(embeddings) // 2)
        self._log(
            accuracy=(similarities.argmax(dim=1) == other_view).float().mean(),
            candidates=similarities.new_full((), len(embeddings) - 1),
            spread=spread(embeddings),
        )

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and other views next to them: the image's own, and the nearest of another."""
        return among_views(self, self.model, self.model, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """`log(2G - 1)`: one of the other views of the batch."""
        return math.log(row["candidates"]) if isinstance(self.loss, NTXentLoss) else None

    def _caution(self, run: Run) -> str | None:
        return caution_of_one(run)

    def _health(self, row: Row) -> str | None:
        verdict = collapse(row["spread"], self.against_collapse)
        if verdict is not None:
            return verdict
        is_hard = row["candidates"] >= MANY_CANDIDATES
        if is_hard and row["epoch"] <= 5 and row["accuracy"] > 0.99:
            return (
                f"{row['accuracy']:.1%} of the views are found after "
                f"{plural(round(row['epoch']), 'epoch')}: colours or a mark in the images may give "
                "them away; use a stronger augmentation"
            )
        if row["epoch"] >= 5 and row["accuracy"] < 1.2 / row["candidates"]:
            return (
                "views are found no better than by chance "
                f"({1 / row['candidates']:.1%}): train for longer, change lr, or use a milder "
                "augmentation"
            )
        return None
