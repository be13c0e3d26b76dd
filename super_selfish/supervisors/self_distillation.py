"""DINO: foretell from a crop what a slower copy of the network makes of the large crops.

A network and its slowly moving average, the teacher, give each crop of an image scores for many
classes that nobody has named. The network, from every crop, has to foretell what the teacher says
of the large ones. That all images could get one class is kept off by taking from the teacher's
scores their mean, the centre; that all could get each class alike, by sharpening them.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin, 2021, "Emerging Properties in
Self-Supervised Vision Transformers", arXiv 2104.14294.

Shapes: `B` images of a process, `K` classes, `E` bottleneck, `V` crops of an image, of which the
first two are large, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.pictures import Group
from super_selfish.losses.clusters import SwappedPredictionLoss
from super_selfish.losses.full_precision import in_full
from super_selfish.models import FeatureShape, MomentumEncoder
from super_selfish.models.beginnings import begins_as
from super_selfish.models.copying import copy_module
from super_selfish.models.heads import HeadNorm, PrototypeHead, suited_width
from super_selfish.models.norm_groups import has_batch_norm
from super_selfish.supervisors.augmenting import Triple, or_default
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import FEW_CLASSES, LEAST_OF_TEACHER
from super_selfish.supervisors.following import (
    rising_line,
    rising_momentum,
    said_of_momentum,
    thaws_after,
    updates_before,
)
from super_selfish.supervisors.likenesses import among_views
from super_selfish.supervisors.multi_crop import (
    LARGE_CROPS,
    Crops,
    MultiCropCollator,
    embedded_crops,
    small_size_for,
    three_augmentations,
)
from super_selfish.supervisors.refusals import (
    require_counts,
    require_logits,
)
from super_selfish.supervisors.remembering import MANY_IMAGES
from super_selfish.supervisors.traffic import Gathered, rows
from super_selfish.training.distributed import gather_one
from super_selfish.training.given import clip_norm_of
from super_selfish.training.history import Row
from super_selfish.training.run import Run
from super_selfish.training.typed import as_number, both_of, is_several

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

MOMENTUM = 0.996  # with which the paper begins
FROZEN_UPDATES = 1251  # of the last layer: an epoch of ImageNet in batches of 1024 (authors' code)
SHARPENED_EPOCHS = 30  # in which the teacher's temperature rises, of 100 to 800 (section 3.2)
_ALL_CLASSES = 0.98  # of log K: above it they say nothing


class DINOSupervisor(Supervisor):
    """Predicts from crops what a momentum encoder makes of the image's large crops (DINO).

    `get_backbone()` returns a copy of the teacher's backbone, which the paper evaluates, or with
    `keep="student"` the network that trains, so the very module that was given.

    The paper trains transformers: `backbone="timm/vit_tiny_patch16_224"` and, in long runs,
    `teacher_temperature=(0.04, 0.07)`, with `supervise(optimizer="adamw", lr=5e-4,
    lr_scaling="linear", lr_scheduler=Cosine(warmup_epochs=10, end_lr=1e-6), weight_decay=(0.04,
    0.4))`; `Cosine` is of `super_selfish.training`.

    Differences from the paper: up to 100,000 images there are 512 classes instead of 65,536, and
    six small crops instead of eight. The momentum rises from 0.99 to the paper's through the first
    2,240 updates. The last layer is frozen for an epoch of ImageNet, at most a tenth of the run.
    Hidden layers are narrower on backbones of fewer than 512 features; they have batch norm where
    the backbone has it, as the authors' do for convolutional networks by option. Small crops have
    96/224 of the side of the images, of transformers in whole patches. Gradients are clipped all
    together, where the authors' code clips those of each tensor by itself. A teacher's temperature
    that rises does so with every update, at most through three tenths of the run, where theirs
    rises once an epoch. By default Adam trains at a constant rate of 1e-3 in batches of 32, without
    weight decay, instead of AdamW at 5e-4 times batch size / 256 down a cosine, in batches of 1024,
    with a weight decay that rises from 0.04 to 0.4 (see above).

    The network sees a batch in two passes, one of all large crops, one of all small ones; the
    teacher sees the large ones, in one pass.
    """

    center: Tensor
    pending: Tensor

    former_arguments: ClassVar[Mapping[str, Any]] = {
        "clip_norm": None,
        "teacher_warmup_epochs": None,
    }
    title = "DINO"
    question = "What does my slower copy make of the whole of this image?"
    against_collapse = "lower teacher_temperature or lr, or raise momentum"
    meanings: ClassVar[Mapping[str, str]] = {
        "accuracy": "Share of large crops whose most likely class is the teacher's of the other.",
        "teacher_entropy": (
            "How undecided the teacher is of a crop, as a share of log K: 1 says nothing, 0 names "
            "one class."
        ),
        "classes": (
            "Number of classes over which what the teacher says is spread: 1 if all crops get one."
        ),
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        num_classes: int | None = None,
        bottleneck_size: int = 256,
        hidden_size: int | None = None,
        temperature: float = 0.1,
        teacher_temperature: float | tuple[float, float] = 0.04,
        teacher_warmup_epochs: float | None = None,
        center_momentum: float = 0.9,
        momentum: float | None = None,
        frozen_updates: int | None = None,
        clip_norm: float | None = 3.0,
        keep: str = "teacher",
        num_small: int = 6,
        small_size: Size | None = None,
        augmentation: RecipeLike | Triple | None = "dino",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Head from features to scores `[B, K]`; default: three FC layers with GELU to
                a bottleneck of unit length, then cosines with K directions (section 3.1, appendix
                C).
            loss: Function of the teacher's shares `[2, B, K]` and scores `[V, B, K]` of all crops,
                of which the first two are the large ones; default: cross-entropy of each share with
                the predictions of the other crops (equation 3).
            num_classes: K. Default: 512, for more than 100,000 images 65,536 (section 3.1).
            bottleneck_size: E. 256: appendix C.
            hidden_size: Width of the head's hidden layers. Default: 2048 (appendix C), at most four
                times the features, at least 256.
            temperature: Of the network's shares, in the default loss. 0.1: section 3.2.
            teacher_temperature: Of the teacher's shares; the smaller, the more decided they are.
                Two, such as `(0.04, 0.07)`: it rises in a line from the first to the second. 0.04:
                section 3.2, where it rises to 0.07.
            teacher_warmup_epochs: Epochs, or parts of one, in which it rises; 0 for none. Default:
                30 (section 3.2), at most three tenths of the run, as 30 of the paper's shortest,
                100. A temperature of one number has none.
            center_momentum: Weight of the old centre in an update, in [0, 1]. 0.9: appendix D.
            momentum: Weight of the old teacher in the first update, in [0, 1]; it rises to 1 over
                the run. Default: the paper's 0.996, which rises so, but after `t` updates at most
                `(1 + t) / (10 + t)` or 0.99.
            frozen_updates: For which the last layer stays as it is at first. Default: 1251
                (authors' code, an epoch), at most a tenth of the run.
            clip_norm: Largest norm of the gradients, where `supervise()` is given none; None does
                not clip. 3.0: authors' code.
            keep: Whose backbone `get_backbone()` returns, `"teacher"` or `"student"`.
            num_small: Small crops of an image, beside two large ones. The paper: 8.
            small_size: Side or (height, width) of small crops in pixels. Default: 96/224 of the
                image's.
            augmentation: Of the first large crop, the second one and small ones, a triple; a pair
                for large and small ones, or one for all: names of recipes, such as `"dino-1"`,
                `"dino-2"`, `"dino-small"`, an `Augmentation`, or torchvision's transforms. `"dino"`
                or None: those three.
            image_size: Side or (height, width) in pixels, that of large crops.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, `keep` is neither, the predictor gives
                another number of scores, the backbone takes no crops of `small_size`, or the
                augmentation makes no crops of the sizes.
        """
        for name, value in (("momentum", momentum), ("center_momentum", center_momentum)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        _first_and_last(teacher_temperature)
        _require_warmup(teacher_warmup_epochs, rises=is_several(teacher_temperature))
        clip_norm = clip_norm_of(clip_norm)
        if keep not in ("teacher", "student"):
            raise ValueError(f'keep is "teacher" or "student", got {keep!r}')
        require_counts(bottleneck_size=bottleneck_size, hidden_size=hidden_size)
        require_counts(2, num_classes=num_classes)
        require_counts(0, frozen_updates=frozen_updates, num_small=num_small)
        super().__init__(
            None,
            dataset,
            SwappedPredictionLoss(temperature) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        if num_classes is None:
            num_classes = default_num_classes(
                None if self.source is None else self.source.num_images
            )
        self._choose(num_classes=num_classes)
        self.num_classes = num_classes
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature
        self.teacher_warmup_epochs = teacher_warmup_epochs
        self.clip_norm = clip_norm
        self.center_momentum = center_momentum
        self.momentum = momentum
        self.frozen_updates = frozen_updates
        self.keep = keep
        backbone = self._build(backbone, self.image_size)
        norm: HeadNorm = "batch" if has_batch_norm(backbone) else None

        def head(features: FeatureShape) -> nn.Module:
            hidden = suited_width(features.dim, 2048) if hidden_size is None else hidden_size
            return PrototypeHead(features.dim, hidden, bottleneck_size, num_classes, norm=norm)

        self.model = self._combine(backbone, predictor, head, normalize)
        if predictor is not None:
            require_logits(self, num_classes, "classes")
        small = small_size_for(self, num_small, small_size)
        augmentation = or_default(self, augmentation, "dino")
        first, second, of_small = three_augmentations(self, augmentation, small)
        self.momentum_encoder = MomentumEncoder(self.model)
        self.register_buffer("center", torch.zeros(num_classes))
        # Sums of the teacher's scores since the last update, and of how many crops.
        self.register_buffer("pending", torch.zeros(num_classes + 1), persistent=False)
        self.collate_fn = MultiCropCollator(first, second, of_small, num_small)

    def get_backbone(self, *, averaged: bool = False) -> nn.Module:
        """A copy of the teacher's backbone; with `keep="student"` the network that trains.

        Args:
            averaged: Gives a copy of the latter with the averaged weights, of a run with
                `averaging=`.

        Raises:
            ValueError: If there are no averaged weights.
        """
        if averaged or self.keep == "student":
            return super().get_backbone(averaged=averaged)
        teacher: Any = self.momentum_encoder.network
        copied = copy_module(teacher.backbone).requires_grad_(True)
        begins_as(copied, self._backbone_in_training())
        return copied

    def _backbone_in_training(self) -> nn.Module:
        return super().get_backbone()

    def _forward(self, data: Crops) -> Tensor:
        large = data.large_crops()  # (2 B, C, H, W)
        scores = embedded_crops(self.model, data)  # (V, B, K)
        with torch.no_grad():
            said = in_full(self.momentum_encoder(large))  # (2 B, K)
            shares = ((said - self.center) / self.temperature_now(self.run)).softmax(dim=1)
            shares = shares.unflatten(0, (LARGE_CROPS, -1))  # (2, B, K)
            if self.training:
                self._write_memory(self._remember, _sums(said))
            self._measure(shares, scores)
        return self.loss(shares, scores)

    def _gathers(self, images: int) -> list[Gathered]:
        return [rows(self, 1, self.num_classes + 1), rows(self, 1, self.num_classes)]

    def _remember(self, sums: Tensor) -> None:
        self.pending += gather_one(sums).sum(dim=0)  # of all processes

    def _thaws_after(self, run: Run) -> int:
        """Updates for which the last layer is frozen."""
        return thaws_after(run, self.frozen_updates, FROZEN_UPDATES)

    def _before_step(self) -> None:
        head = self.get_predictor()
        if self.run is None or not isinstance(head, PrototypeHead):
            return
        if updates_before(self.run) < self._thaws_after(self.run):
            head.prototypes.grad = None  # as if the optimizer did not have them

    @torch.no_grad()
    def _after_step(self, run: Run) -> None:
        self.momentum_encoder.update(self.model, self.momentum_now(run))
        sums, number = self.pending[:-1], self.pending[-1]
        # Where other tasks took their turn there is nothing; asking whether there is would wait.
        weight = (1 - self.center_momentum) * (number > 0).to(sums)
        self.center.lerp_(sums / number.clamp(min=1), weight)
        self.pending.zero_()

    def momentum_now(self, run: Run) -> float:
        """Weight of the old teacher in the update under way, from where the run stands.

        Args:
            run: The run, before its position moves on.

        Returns:
            The momentum, in [0, 1].
        """
        return rising_momentum(run, self.momentum, MOMENTUM, LEAST_OF_TEACHER)

    @property
    def teacher_temperatures(self) -> tuple[float, float]:
        """The teacher's temperature in the first update, and after its warm-up."""
        return _first_and_last(self.teacher_temperature)

    def temperature_now(self, run: Run | None) -> float:
        """Temperature of the teacher in the update under way, from where the run stands.

        `tau_t = first + (last - first) * min(1, t / w)` after `t` updates, of which `w` are in
        `teacher_warmup_epochs`.

        Args:
            run: The run, before its position moves on; None: that after the warm-up.

        Returns:
            The temperature.
        """
        first, last = self.teacher_temperatures
        return last if run is None else rising_line(run, first, last, self._warmup_epochs(run))

    def _warmup_epochs(self, run: Run) -> float:
        if self.teacher_warmup_epochs is not None:
            return self.teacher_warmup_epochs
        return min(SHARPENED_EPOCHS, 0.3 * run.epochs)

    def _fit_to_run(self, run: Run) -> dict[str, Any]:
        said = said_of_momentum(self.momentum, MOMENTUM, LEAST_OF_TEACHER)
        if is_several(self.teacher_temperature) and self.teacher_warmup_epochs is None:
            said["teacher_warmup_epochs"] = f"{self._warmup_epochs(run):g}"
        return said

    def _measure(self, shares: Tensor, scores: Tensor) -> None:
        """Notes what the teacher's shares `[2, B, K]` and all scores `[V, B, K]` say."""
        foretold = scores[:LARGE_CROPS].argmax(dim=2)  # (2, B)
        wanted = shares.flip(0).argmax(dim=2)  # (2, B), of the other large crop
        entropy = torch.special.entr(shares).sum(dim=2).mean()
        everywhere = gather_one(shares.flatten(0, 1).mean(dim=0)).mean(dim=0)  # (K,)
        self._log(
            accuracy=(foretold == wanted).float().mean(),
            teacher_entropy=entropy / math.log(shares.shape[2]),
            classes=torch.special.entr(everywhere).sum().exp(),
        )

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Large crops, and what the teacher finds nearest to them among other ones."""
        return among_views(self, self.model, self.momentum_encoder, index, seed)

    def chance_loss(self, row: Row) -> float | None:
        """`log K`: one of the classes."""
        return math.log(self.num_classes) if isinstance(self.loss, SwappedPredictionLoss) else None

    def _health(self, row: Row) -> str | None:
        if row["classes"] < 2:
            return (
                f"collapsed: the teacher gives all crops {row['classes']:.1f} of "
                f"{self.num_classes} classes; lower center_momentum or lr, or raise batch_size"
            )
        if row["teacher_entropy"] > _ALL_CLASSES and row["epoch"] >= 1:
            return (
                "collapsed: the teacher gives every crop all classes alike "
                f"({100 * row['teacher_entropy']:.1f} % of log K); {self.against_collapse}"
            )
        return None


def default_num_classes(num_images: int | None) -> int:
    """Classes where nobody says how many.

    Args:
        num_images: Of the dataset, or None where there is none yet.

    Returns:
        512, or for more than 100,000 images 65,536 as in the paper.
    """
    return FEW_CLASSES if num_images is None or num_images <= MANY_IMAGES else 65_536


def _first_and_last(given: Any) -> tuple[float, float]:
    """Two temperatures of the teacher, which are one where one is given."""
    name = "teacher_temperature"
    both = both_of(name, given, "after its warm-up") if is_several(given) else (given, given)
    first, last = (as_number(name, each) for each in both)
    if not (0 < first < math.inf and 0 < last < math.inf):
        raise ValueError(f"{name} must be > 0 and finite, got {given}")
    return first, last


def _require_warmup(epochs: float | None, *, rises: bool) -> None:
    if epochs is None:
        return
    if not 0 <= epochs < math.inf:
        raise ValueError(f"teacher_warmup_epochs must be >= 0 and finite, got {epochs}")
    if not rises:
        raise ValueError(
            "teacher_warmup_epochs is of a temperature that rises, such as "
            f"teacher_temperature=(0.04, 0.07), and this one does not, got {epochs}"
        )


def _sums(scores: Tensor) -> Tensor:
    """The sum of scores `[N, K]` and their number, `[K + 1]`."""
    return torch.cat([scores.sum(dim=0), scores.new_full((1,), len(scores))])
