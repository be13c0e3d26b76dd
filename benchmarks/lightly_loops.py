"""MoCo and BYOL as lightly's users write them: its transforms, heads and losses, a plain loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead, MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from lightly.transforms.moco_transform import MoCoV2Transform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

NO_BLUR_UP_TO = 32  # pixels, as in the papers' recipes for CIFAR


class Transformed(Dataset[Any]):
    """PIL images, through a transform that makes views."""

    def __init__(self, images: Sequence[Image.Image], transform: Any) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        """Views of one image."""
        return self.transform(self.images[index])


class Contrast:
    """MoCo v2: a step gives the loss of two views."""

    def __init__(self, backbone: nn.Module, features: int, queue: int, momentum: float) -> None:
        self.network = nn.Sequential(backbone, MoCoProjectionHead(features, features, 128))
        self.average = copy.deepcopy(self.network)
        deactivate_requires_grad(self.average)
        self.criterion = NTXentLoss(temperature=0.2, memory_bank_size=(queue, 128))
        self.momentum = momentum
        self.trained = nn.ModuleList([self.network])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        update_momentum(self.network, self.average, m=self.momentum)
        return self.criterion(self.network(views[0]), self.average(views[1]).detach())


class Bootstrap:
    """BYOL: a step gives the loss of two views."""

    def __init__(self, backbone: nn.Module, features: int, hidden: int, momentum: float) -> None:
        self.network = nn.Sequential(backbone, BYOLProjectionHead(features, hidden, 256))
        self.prediction_head = BYOLPredictionHead(256, hidden, 256)
        self.average = copy.deepcopy(self.network)
        deactivate_requires_grad(self.average)
        self.criterion = NegativeCosineSimilarity()
        self.momentum = momentum
        self.trained = nn.ModuleList([self.network, self.prediction_head])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        update_momentum(self.network, self.average, m=self.momentum)
        first, second = (self.prediction_head(self.network(view)) for view in views)
        to_first, to_second = (self.average(view).detach() for view in views)
        return (self.criterion(first, to_second) + self.criterion(second, to_first)) / 2


def transform_of(algorithm: str, size: int) -> Any:
    """The recipe of lightly, of the same parameters as ours, without normalisation."""
    blurs = size > NO_BLUR_UP_TO
    settings: dict[str, Any] = {"input_size": size, "normalize": None}
    if algorithm == "moco":
        return MoCoV2Transform(**settings, gaussian_blur=0.5 * blurs)
    return BYOLTransform(
        BYOLView1Transform(**settings, gaussian_blur=1.0 * blurs),
        BYOLView2Transform(**settings, gaussian_blur=0.1 * blurs),
    )


def seconds_of_an_epoch(
    algorithm: str,
    method: Contrast | Bootstrap,
    images: Sequence[Image.Image],
    size: int,
    batch_size: int,
    workers: int,
) -> float:
    """Trains for two epochs with Adam and times the second."""
    loader = DataLoader(
        Transformed(images, transform_of(algorithm, size)),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    optimizer = torch.optim.Adam(method.trained.parameters(), lr=1e-3)
    method.trained.train()
    start = 0.0
    for _ in range(2):
        start = time.perf_counter()
        for views in loader:
            loss = method.step(views)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - start
