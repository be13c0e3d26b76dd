"""How the rows of `published_tables.py` are trained, method by method.

Sources: lightly's `cifar10_benchmark.py` and `imagenette_benchmark.py` with the heads of lightly
1.4; solo-learn's `scripts/pretrain/cifar/*.yaml` with its methods.

Whatever a supervisor of ours does otherwise by default is set here as theirs: heads and their last
norms, temperature, momentum, queue, optimizer, schedule, weight decay, views. What stays different
is said in `Setting.differs` and `Row.differs`, and printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from published_tables import Row
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from super_selfish.augmentations import (
    ColorJitter,
    Compose,
    RandomApply,
    RandomGaussianBlur,
    RandomResizedCrop,
    RandomSolarize,
)
from super_selfish.losses import negative_cosine
from super_selfish.models import momentum_at
from super_selfish.supervisors import (
    BarlowTwinsSupervisor,
    BYOLSupervisor,
    MomentumContrastSupervisor,
    SimCLRSupervisor,
    SimSiamSupervisor,
    SwAVSupervisor,
)
from super_selfish.training.schedules import Cosine

WIDTH = 512  # features of ResNet-18
SPLITS = 8  # of a batch, in lightly's MoCo


@dataclass(frozen=True)
class Recipe:
    """How a row is trained.

    Attributes:
        build: Of images and a backbone a supervisor.
        lr: Of the batch.
        optimizer: As for `supervise`.
        schedule: As for `supervise`.
    """

    build: Callable[..., Any]
    lr: float
    optimizer: Callable[..., Optimizer]
    schedule: Cosine


def recipe_of(row: Row, size: int, images: int, width: int = WIDTH) -> Recipe:
    """How a row is trained.

    Args:
        row: Of a table.
        size: Side of the images, pixels.
        images: In the training part; queues and prototypes are no more than these allow.
        width: Of the features.
    """
    own = _solo if row.setting.startswith("solo") else _lightly
    return own(row, size, images, width)


class SteadyBYOL(BYOLSupervisor):
    """BYOL whose momentum stays as it begins."""

    def momentum_now(self, run: Any) -> float:
        """The momentum that was given."""
        return float(self.momentum or 0.0)


class RisingMoCo(MomentumContrastSupervisor):
    """MoCo whose momentum rises from 0.99 to 0.999 along half a cosine."""

    def momentum_now(self, run: Any) -> float:
        """The momentum of this update."""
        done = run.epoch * run.steps_per_epoch + run.step
        share = 1 - momentum_at(min(done, run.total_updates), run.total_updates, 0.0)  # 1 to 0
        return 0.999 - (0.999 - 0.99) * share


class ClippedLARS(Optimizer):
    """LARS as solo-learn's configuration has it: with `clip_lr`, biases and norms left alone.

    Of a weight `w` with gradient `g`, at the rate `lr`: `r = min(eta |w| / (|g| + d |w|) / lr, 1)`,
    `v = momentum v + r (g + d w)`, `w = w - lr v`, with weight decay `d`; of one dimension `v =
    momentum v + g`.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.02,
    ) -> None:
        """Takes the numbers above."""
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Does one step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                change = weight.grad
                if weight.ndim != 1:
                    change = self._scaled(weight, group)
                state = self.state[weight]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(weight)
                state["velocity"].mul_(group["momentum"]).add_(change)
                weight.add_(state["velocity"], alpha=-group["lr"])

    def _scaled(self, weight: Tensor, group: dict[str, Any]) -> Tensor:
        decay, lr = group["weight_decay"], group["lr"]
        size, slope = weight.norm(), weight.grad.norm()
        if size == 0 or slope == 0:
            return weight.grad
        ratio = group["eta"] * size / (slope + decay * size + 1e-8)
        ratio = (ratio / lr).clamp(max=1.0) if lr > 0 else torch.ones_like(ratio)
        return (weight.grad + decay * weight) * ratio


def head(
    widths: Sequence[int], *, norm: bool = True, bias: bool | None = None, last: str = ""
) -> nn.Sequential:
    """Linear layers with ReLU between them.

    Args:
        widths: From the features to the output.
        norm: Whether batch norm follows hidden layers.
        bias: Of hidden layers; left out, where no norm follows.
        last: What follows the output: nothing, "norm", or "plain" for a norm without weights.
    """
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(widths)):
        is_last = place == len(widths) - 2
        has_bias = (not last) if is_last else (not norm if bias is None else bias)
        layers.append(nn.Linear(before, after, bias=has_bias))
        if is_last:
            break
        layers += [*([nn.BatchNorm1d(after)] if norm else []), nn.ReLU(inplace=True)]
    if last:
        layers.append(nn.BatchNorm1d(widths[-1], affine=last == "norm"))
    return nn.Sequential(*layers)


def view(
    size: int,
    jitter: tuple[float, float, float, float],
    *,
    least: float = 0.08,
    blur: float = 0.0,
    solarize: float = 0.0,
) -> Compose:
    """A crop of at least so much of the area, flip, jitter (0.8), gray (0.2), blur, solarize."""
    steps = [
        RandomResizedCrop((size, size), scale=(least, 1.0), p_flip=0.5),
        ColorJitter(*jitter, p=0.8, p_grayscale=0.2),
    ]
    if blur:
        steps.append(RandomApply(RandomGaussianBlur((0.1, 2.0)), blur))
    if solarize:
        steps.append(RandomApply(RandomSolarize(0.5, 0.5), solarize))
    return Compose(steps)


def _lightly(row: Row, size: int, images: int, width: int) -> Recipe:
    """Both tables of lightly: SGD of 0.06 a `base` images, weight decay 5e-4, a cosine to 0."""
    is_cifar = row.setting == "lightly-cifar10"
    base, blurred = (128, 0.0) if is_cifar else (256, 0.5)
    factor = row.batch / base
    of = partial(view, size)
    strong, mild = (0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.2, 0.1)  # half of SimCLR's; BYOL's
    pair = (
        of(mild, blur=2 * blurred),
        of(mild, blur=blurred / 5, solarize=0.2),
    )
    hidden, small = 2048, size if is_cifar else size // 2  # width; side of small crops
    queue = 8192 if is_cifar and row.batch == 512 else 4096
    build: dict[str, Callable[..., Any]] = {
        "moco": lambda source, network: MomentumContrastSupervisor(
            source,
            network,
            head((width, width if is_cifar else hidden, 128), norm=False),
            queue_size=min(queue, images),
            momentum=0.99,
            temperature=0.1,
            norm_groups=SPLITS if is_cifar else 1,
            symmetric=True,
            augmentation=of(strong, blur=blurred),
            normalize="imagenet",
        ),
        "simclr": lambda source, network: SimCLRSupervisor(
            source,
            network,
            head((width, width, 128), last="norm"),
            embedding_size=128,
            temperature=0.5,
            augmentation=of(strong, blur=blurred),
            normalize="imagenet",
        ),
        "simsiam": lambda source, network: SimSiamSupervisor(
            source,
            network,
            head((width, *[hidden] * (2 if is_cifar else 3)), last="norm"),
            prediction_head=head((hidden, 512, hidden)),
            fix_prediction_lr=False,
            augmentation=of(strong, least=0.2, blur=blurred),
            normalize="imagenet",
        ),
        "barlow_twins": lambda source, network: BarlowTwinsSupervisor(
            source,
            network,
            head((width, *[hidden] * (2 if is_cifar else 3))),
            augmentation=pair,
            normalize="imagenet",
        ),
        "byol": lambda source, network: SteadyBYOL(
            source,
            network,
            head((width, 1024 if is_cifar else 4096, 256)),
            half_negative_cosine,
            prediction_head=head((256, 1024 if is_cifar else 4096, 256)),
            momentum=0.99,
            augmentation=pair,
            normalize="imagenet",
        ),
        "swav": lambda source, network: SwAVSupervisor(
            source,
            network,
            head((width, 512 if is_cifar else hidden, 128)),
            num_prototypes=min(512 if is_cifar else 3000, images // 2),
            temperature=0.1,
            frozen_updates=0,
            queue_size=0,
            num_small=0 if is_cifar else 6,
            small_size=small,
            augmentation=(
                of(strong, least=0.14, blur=blurred),
                Compose(
                    [
                        RandomResizedCrop((small, small), scale=(0.05, 0.14), p_flip=0.5),
                        ColorJitter(*strong, p=0.8, p_grayscale=0.2),
                    ]
                ),
            ),
            normalize="imagenet",
        ),
    }
    if row.method == "swav":
        return Recipe(build["swav"], 1e-3 * factor, partial(Adam, weight_decay=1e-6), Cosine(0))
    lr = 0.06 if row.method == "simsiam" else 0.06 * factor
    return Recipe(build[row.method], lr, partial(SGD, momentum=0.9, weight_decay=5e-4), Cosine(0))


def _solo(row: Row, size: int, images: int, width: int) -> Recipe:
    """The table of solo-learn: ten epochs of warm-up, then a cosine, batches of 256."""
    steps = max(1, images // row.batch)
    strong, weak, mild = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.2, 0.1)
    pair = (view(size, mild), view(size, mild, solarize=0.2))
    hidden = 2048
    normalize = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))  # of CIFAR-100
    build: dict[str, Callable[..., Any]] = {
        "moco": lambda source, network: RisingMoCo(
            source,
            network,
            head((width, hidden, 256), norm=False),
            embedding_size=256,
            queue_size=min(32_768, images),
            momentum=0.99,
            temperature=0.2,
            norm_groups=1,
            symmetric=True,
            augmentation=view(size, weak, blur=0.5),
            normalize=normalize,
        ),
        "simclr": lambda source, network: SimCLRSupervisor(
            source,
            network,
            head((width, hidden, 256), norm=False),
            temperature=0.2,
            augmentation=view(size, strong, blur=0.5),
            normalize=normalize,
        ),
        "simsiam": lambda source, network: SimSiamSupervisor(
            source,
            network,
            head((width, hidden, hidden, hidden), last="plain"),
            prediction_head=head((hidden, 512, hidden)),
            augmentation=view(size, weak, blur=0.5),
            normalize=normalize,
        ),
        "barlow_twins": lambda source, network: BarlowTwinsSupervisor(
            source,
            network,
            head((width, hidden, hidden, hidden), bias=True),
            off_diagonal_weight=0.0051,
            augmentation=pair,
            normalize=normalize,
        ),
        "byol": lambda source, network: BYOLSupervisor(
            source,
            network,
            head((width, 4096, 256), bias=True),
            prediction_head=head((256, 4096, 256), bias=True),
            momentum=0.99,
            augmentation=pair,
            normalize=normalize,
        ),
        "swav": lambda source, network: SwAVSupervisor(
            source,
            network,
            head((width, hidden, 128), bias=True),
            num_prototypes=min(3000, images // 2),
            temperature=0.1,
            frozen_updates=2 * steps,
            queue_size=min(3840, images // 2),
            queue_after=50 * steps,
            num_small=0,
            augmentation=view(size, strong, blur=0.5),
            normalize=normalize,
        ),
    }
    lars: dict[str, tuple[float, float]] = {  # rate, weight decay
        "simclr": (0.4, 1e-4),
        "barlow_twins": (0.3, 1e-4),
        "byol": (1.0, 1e-5),
        "swav": (0.6, 1e-6),
    }
    sgd = {"moco": (0.3, 1e-4), "simsiam": (0.5, 1e-5)}
    lr, decay = (lars | sgd)[row.method]
    kind: Any = ClippedLARS if row.method in lars else SGD
    warmup = min(10.0, row.epochs / math.pi)  # of a short run less, so that there is a cosine
    optimizer = partial(kind, momentum=0.9, weight_decay=decay)
    return Recipe(build[row.method], lr * row.batch / 256, optimizer, Cosine(warmup))


def half_negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Half the negative cosine: both directions together make their mean, as in lightly."""
    return negative_cosine(predictions, targets) / 2
