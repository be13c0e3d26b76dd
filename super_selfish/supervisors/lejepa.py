"""LeJEPA: views agree, and embeddings are spread as an isotropic Gaussian, by a test of that.

Several views of each image pass one network. All views of an image are to be near the centre of its
large ones. What keeps images from being mapped to one point is that the embeddings of a batch, seen
from random directions, shall look as if they were drawn of a standard normal distribution
(SIGReg). There are no negatives, no second network, no stopped gradient and no schedule.

Balestriero, LeCun, 2025, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the
Heuristics", arXiv 2511.08544.

Shapes: `B` images of a process, `N` images of all processes, `V` views of an image, `D` embedding,
`M` directions, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses import LeJEPALoss, sigreg
from super_selfish.losses.gaussian import draw_directions
from super_selfish.losses.redundancy import standardised
from super_selfish.supervisors.augmenting import Pair, or_default
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.following import generator_of_all
from super_selfish.supervisors.multi_crop import (
    Crops,
    MultiCropCollator,
    crop_augmentations,
    crop_projector,
    embedded_crops,
    small_size_for,
)
from super_selfish.supervisors.redundancy import (
    AGREEMENT,
    REDUNDANCY,
    among_standardised,
    ill_in_common,
    ill_of_deviation,
    in_common,
)
from super_selfish.supervisors.refusals import require_counts, require_embedding
from super_selfish.supervisors.traffic import Gathered, rows
from super_selfish.training.distributed import gather
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

LARGE = 96  # pixels from which small crops show something
# Where all embeddings are the same, SIGReg costs 0.4 times the images of a batch, the other term
# nothing: by a weight of 0.05 less than views that are not alike yet, if there are fewer than 32.
# Smooth pictures in batches of 8 collapsed at 0.05, and not at 0.2; in batches of 32 not at 0.05.
FEW_IMAGES = 32
LEAST_WEIGHT = 0.05 * FEW_IMAGES
MEASURED = 64  # directions from which it is measured how Gaussian embeddings are
_STREAM = 4  # of a step's random draws: one that all processes have alike


class LeJEPASupervisor(Supervisor):
    """Brings views to their centre, and all embeddings to a Gaussian (LeJEPA).

    The paper trains with `supervise(optimizer=partial(torch.optim.AdamW, weight_decay=0.05),
    lr=5e-4, lr_scheduler=Cosine(warmup_epochs=1, end_lr=5e-7), precision="bf16")`, and a weight
    decay of 5e-4 for ResNets; `Cosine` is of `super_selfish.training.schedules`. With several
    processes the embeddings are tested over the images of all, from the same directions.

    Differences from the paper: images of less than 96 pixels get four views of the whole size, as
    in the authors' minimal example, and not two large and six small ones. Small crops have 96/224
    of the side of the images instead of 98/224, at least 32 pixels where the backbone wants them.
    Hidden layers are narrower on backbones of fewer than 512 features. The integral goes from -3 to
    3 with 17 points in its half, as in the minimal example, instead of 17 points from -5 to 5.
    Batch norm is computed for each process by itself, unless `sync_batch_norm=True`. By default
    Adam trains at a constant rate of 1e-3 in batches of 32, without weight decay (see above).

    The network sees a batch in two passes, one of all large crops, one of all small ones.
    """

    title = "LeJEPA"
    question = "Which view is close to this one?"
    against_collapse = "lower lr, or raise sigreg_weight"
    meanings: ClassVar[Mapping[str, str]] = {
        "sigreg": (
            "Distance of the embeddings from a Gaussian's: about 1 if they are drawn of one, 0.4 "
            "times the images of a batch if all are the same."
        ),
        "deviation": (
            "Mean standard deviation of a number of the embedding over the images: 1 as of a "
            "standard Gaussian, 0 if all images have the same, which is collapse."
        ),
        "agreement": AGREEMENT,
        "redundancy": REDUNDANCY,
        "constant_loss": "Loss of embeddings that are 0 for all images.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        embedding_size: int = 64,
        hidden_size: int | None = None,
        num_layers: int = 3,
        sigreg_weight: float = 0.05,
        num_directions: int = 1024,
        num_knots: int = 17,
        extent: float = 3.0,
        num_large: int | None = None,
        num_small: int | None = None,
        small_size: Size | None = None,
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
            predictor: Projector from features to `embedding_size`; default: FC, batch norm, ReLU
                and so on, and FC at the end.
            loss: Function of the embeddings `[V, N, D]` of all crops of all processes, large ones
                first, of directions `[D, M]`, and of how many crops are large; default: the mean
                squared distance from the centre and SIGReg.
            embedding_size: Numbers of an embedding. 64: lightly's; the authors have 16 to 512.
            hidden_size: Width of the projector's hidden layers. Default: 2048 (minimal example), at
                most four times the features, at least 256.
            num_layers: Of the projector. 3: minimal example.
            sigreg_weight: Of SIGReg, in [0, 1]; the distance from the centre has the rest. 0.05:
                section 5, lambda.
            num_directions: From which embeddings are tested, drawn anew each step. 1024: authors'
                code.
            num_knots: Points of half the integral. 17: algorithm 1, minimal example.
            extent: To which the integral goes. 3: minimal example; 5: algorithm 1.
            num_large: Large crops of an image, which make its centre, at least 2. Default: 2, for
                images of less than 96 pixels 4 (minimal example).
            num_small: Small crops of an image. Default: 6, for images of less than 96 pixels none.
            small_size: Side or (height, width) of small crops in pixels. Default: 96/224 of the
                image's.
            augmentation: A pair, for large and small crops, or one for both: the name of a recipe,
                such as `"lejepa-large"`, `"lejepa-small"`, `"lejepa-whole"` or `"swav-large"`, an
                `Augmentation`, or torchvision's transforms. None: the pair `("lejepa-large",
                "lejepa-small")`, which is `"lejepa"`; without small crops `"lejepa-whole"` (minimal
                example).
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
            num_layers=num_layers,
            num_directions=num_directions,
        )
        require_counts(2, num_large=num_large)
        require_counts(0, num_small=num_small)
        own = LeJEPALoss(sigreg_weight, num_knots, extent)  # refuses numbers, whatever the loss
        super().__init__(
            None,
            dataset,
            own if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        is_large = min(self.image_size) >= LARGE
        if num_large is None:
            num_large = 2 if is_large else 4
        if num_small is None:
            num_small = 6 if is_large else 0
        self._resolve(num_large=num_large, num_small=num_small)
        self.sigreg_weight = sigreg_weight
        self.num_directions = num_directions
        self.num_knots = num_knots
        self.extent = extent
        self.num_large = num_large
        self.num_small = num_small
        projector = crop_projector(hidden_size, embedding_size, num_layers - 1)
        self.model = self._combine(backbone, predictor, projector, normalize)
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        self.embedding_size = embedding_size
        small = small_size_for(self, num_small, small_size)
        usual = "lejepa" if num_small > 0 else "lejepa-whole"
        augmentation = or_default(self, augmentation, usual)
        large_crops, small_crops = crop_augmentations(self, augmentation, small)
        self.collate_fn = MultiCropCollator(
            large_crops, large_crops, small_crops, num_small, num_large
        )

    def _forward(self, data: Crops) -> Tensor:
        embeddings = embedded_crops(self.model, data)  # (V, B, D)
        embeddings = gather(embeddings.transpose(0, 1)).transpose(0, 1)  # (V, N, D)
        run = self.run if self.training else None  # evaluated always from the same directions
        generator = generator_of_all(run, _STREAM)  # others each step, the same in all processes
        directions = draw_directions(self.embedding_size, self.num_directions, generator)
        directions = directions.to(embeddings, non_blocking=True)  # (D, M)
        with torch.no_grad():
            self._measure(embeddings, directions[:, :MEASURED])
        return self.loss(embeddings, directions, self.num_large)

    def _gathers(self, images: int) -> list[Gathered]:
        views = (self.num_large + self.num_small) * images
        return [rows(self, views, self.embedding_size, has_gradient=True)]  # (B, V, D)

    def _measure(self, embeddings: Tensor, directions: Tensor) -> None:
        """Notes how embeddings `[V, N, D]` are spread, seen from some directions."""
        first, second = embeddings[:2]
        agreement, redundancy = in_common(standardised(first), standardised(second))
        of_zeros = sigreg(torch.zeros_like(first[:, :1]), directions.new_ones(1, 1), *self._knots)
        self._log(
            sigreg=sigreg(embeddings, directions, *self._knots),
            deviation=first.std(dim=0, correction=0).mean(),
            agreement=agreement,
            redundancy=redundancy,
            constant_loss=self.sigreg_weight * of_zeros,
        )

    @property
    def _knots(self) -> tuple[int, float]:
        return self.num_knots, self.extent

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Large crops, and other ones next to them: the image's own, and the nearest of another.

        Numbers are compared less their mean and by their deviation.
        """
        return among_standardised(self, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """That of embeddings that are 0 for all images: `0.402 N lambda`."""
        return row["constant_loss"] if isinstance(self.loss, LeJEPALoss) else None

    def _caution(self, run: Run) -> str | None:
        images = run.batch_size * run.processes
        if self.sigreg_weight * images >= LEAST_WEIGHT or not isinstance(self.loss, LeJEPALoss):
            return None
        return (
            f"of batches of {images} images SIGReg weighs little, since it grows with them, and "
            f"embeddings may collapse: use batch_size={2 * FEW_IMAGES} or more, or raise "
            "sigreg_weight"
        )

    def _health(self, row: Row) -> str | None:
        return ill_of_deviation(row, 1.0, self.against_collapse) or ill_in_common(
            row, "lower lr", "raise sigreg_weight", "lower sigreg_weight"
        )
