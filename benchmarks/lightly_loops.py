"""Algorithms as lightly's users write them: its transforms, heads and losses, a plain loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightly.loss import (
    DINOLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SwaVLoss,
)
from lightly.models.modules import (
    BYOLPredictionHead,
    BYOLProjectionHead,
    DINOProjectionHead,
    MaskedVisionTransformerTIMM,
    MoCoProjectionHead,
    NNMemoryBankModule,
)
from lightly.models.utils import (
    deactivate_requires_grad,
    get_at_index,
    normalize_mean_var,
    normalize_weight,
    patchify,
    random_token_mask,
    repeat_token,
    set_at_index,
    update_momentum,
)
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from lightly.transforms.dino_transform import DINOTransform
from lightly.transforms.mae_transform import MAETransform
from lightly.transforms.moco_transform import MoCoV2Transform
from lightly.transforms.simclr_transform import SimCLRTransform
from lightly.transforms.simsiam_transform import SimSiamTransform
from lightly.transforms.swav_transform import SwaVTransform
from peers import Transformed
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

SMALL_SHARE = 96 / 224  # of the side: small crops of SwAV and DINO
NO_BLUR_UP_TO = 32  # pixels, as in the papers' recipes for CIFAR


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

    def __init__(
        self, backbone: nn.Module, features: int, hidden: int, momentum: float, size: int = 256
    ) -> None:
        self.network = nn.Sequential(backbone, BYOLProjectionHead(features, hidden, size))
        self.prediction_head = BYOLPredictionHead(size, hidden, size)
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


class Batch:
    """SimCLR: a step gives the loss of two views."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        self.network = network
        self.criterion = NTXentLoss(temperature=temperature)
        self.trained = nn.ModuleList([network])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        return self.criterion(self.network(views[0]), self.network(views[1]))


class Siamese:
    """SimSiam: a step gives the loss of two views."""

    def __init__(self, network: nn.Module, prediction_head: nn.Module) -> None:
        self.network = network
        self.prediction_head = prediction_head
        self.criterion = NegativeCosineSimilarity()
        self.trained = nn.ModuleList([network, prediction_head])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        first, second = (self.network(view) for view in views)
        forth = self.criterion(self.prediction_head(first), second.detach())
        back = self.criterion(self.prediction_head(second), first.detach())
        return (forth + back) / 2


class Twins:
    """Barlow Twins and VICReg: a step gives the loss of two views."""

    def __init__(self, network: nn.Module, criterion: nn.Module) -> None:
        self.network = network
        self.criterion = criterion
        self.trained = nn.ModuleList([network])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        return self.criterion(self.network(views[0]), self.network(views[1]))


class Neighbors:
    """NNCLR: a step gives the loss of two views.

    By NT-Xent, as lightly's examples have it: neighbours are negatives of each other, and
    predictions as well, which the paper's equation does not have. First views go into the queue.
    """

    def __init__(
        self,
        network: nn.Module,
        prediction_head: nn.Module,
        queue: int,
        size: int,
        temperature: float,
    ) -> None:
        self.network = network
        self.prediction_head = prediction_head
        self.nearest = NNMemoryBankModule(size=(queue, size))
        self.criterion = NTXentLoss(temperature=temperature)
        self.trained = nn.ModuleList([network, prediction_head])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        first, second = (self.network(view) for view in views)
        from_first, from_second = self.prediction_head(first), self.prediction_head(second)
        near_second = self.nearest(second.detach(), update=False)
        near_first = self.nearest(first.detach(), update=True)
        forth = self.criterion(near_first, from_second)
        back = self.criterion(near_second, from_first)
        return (forth + back) / 2


class SelfDistilled:
    """DINO: a step gives the loss of two large crops and the small ones."""

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        hidden: int,
        bottleneck: int,
        classes: int,
        momentum: float,
        frozen: int,
    ) -> None:
        sizes = (features, hidden, bottleneck, classes)
        self.network = nn.Sequential(backbone, DINOProjectionHead(*sizes, batch_norm=True))
        # The head is made anew: a weight norm is not copied.
        self.average = nn.Sequential(
            copy.deepcopy(backbone), DINOProjectionHead(*sizes, batch_norm=True)
        )
        deactivate_requires_grad(self.average)
        self.criterion = DINOLoss(output_dim=classes)
        self.momentum = momentum
        self.frozen = frozen
        self.steps = 0
        self.trained = nn.ModuleList([self.network])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        update_momentum(self.network, self.average, m=self.momentum)
        self.network[1].last_layer.weight_v.requires_grad_(self.steps >= self.frozen)
        self.steps += 1
        said = [self.average(view) for view in views[:2]]
        return self.criterion(said, [self.network(view) for view in views])


class Masked:
    """MAE: a step gives the loss of a view, by the patches that are hidden."""

    def __init__(
        self,
        backbone: Any,
        embed: nn.Module,
        decoder: Any,
        paint: nn.Module,
        mask_ratio: float,
    ) -> None:
        kept: Any = {"weight_initialization": "skip", "pos_embed_initialization": "skip"}
        self.network = MaskedVisionTransformerTIMM(backbone, **kept)
        self.embed = embed
        self.decoder = decoder
        self.paint = paint
        self.criterion = nn.MSELoss()
        self.mask_ratio = mask_ratio
        self.patch = backbone.patch_embed.patch_size[0]
        self.trained = nn.ModuleList([backbone, embed, decoder, paint])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        size = (len(views[0]), self.network.sequence_length)
        return self.loss(views[0], *random_token_mask(size, self.mask_ratio))

    def loss(self, images: Tensor, kept: Tensor, masked: Tensor) -> Tensor:
        """That of images, of which some tokens are kept, the class token first."""
        embedded = self.embed(self.network.encode(images, idx_keep=kept))
        size = (len(images), self.network.sequence_length)
        tokens = set_at_index(repeat_token(self.decoder.mask_token, size), kept, embedded)
        painted = self.paint(get_at_index(self.decoder(tokens), masked))
        patches = get_at_index(patchify(images, self.patch), masked - 1)
        return self.criterion(painted, normalize_mean_var(patches))


class Swapped:
    """SwAV: a step gives the loss of two large crops and the small ones.

    The prototypes have no bias, as in the authors' code and unlike lightly's module.
    """

    def __init__(self, network: nn.Module, prototypes: Tensor, epsilon: float, frozen: int) -> None:
        self.network = network
        self.prototypes = nn.Linear(prototypes.shape[1], prototypes.shape[0], bias=False)
        with torch.no_grad():
            self.prototypes.weight.copy_(prototypes)
        self.criterion = SwaVLoss(sinkhorn_epsilon=epsilon)
        self.frozen = frozen
        self.steps = 0
        self.trained = nn.ModuleList([network, self.prototypes])

    def step(self, views: Sequence[Tensor]) -> Tensor:
        """The loss."""
        normalize_weight(self.prototypes.weight)
        self.prototypes.requires_grad_(self.steps >= self.frozen)
        self.steps += 1
        embeddings = [nn.functional.normalize(self.network(view), dim=1) for view in views]
        scores = [self.prototypes(embedding) for embedding in embeddings]
        return self.criterion(scores[:2], scores[2:]).squeeze()


def transform_of(algorithm: str, size: int) -> Any:
    """The recipe of lightly, of the same parameters as ours, without normalisation."""
    blurs = size > NO_BLUR_UP_TO
    settings: dict[str, Any] = {"input_size": size, "normalize": None}
    if algorithm == "simclr":  # half the jitter for small images, as in the paper
        strength = 1.0 if blurs else 0.5
        return SimCLRTransform(**settings, cj_strength=strength, gaussian_blur=0.5 * blurs)
    if algorithm == "simsiam":
        return SimSiamTransform(**settings, gaussian_blur=0.5 * blurs)
    if algorithm == "swav":
        sizes = (size, round(SMALL_SHARE * size))
        return SwaVTransform(sizes, normalize=None, gaussian_blur=0.5 * blurs)
    if algorithm == "moco":
        return MoCoV2Transform(**settings, gaussian_blur=0.5 * blurs)
    if algorithm == "dino":
        blur = (1.0 * blurs, 0.1 * blurs, 0.5 * blurs)
        small = round(SMALL_SHARE * size)
        return DINOTransform(size, local_crop_size=small, normalize=None, gaussian_blur=blur)
    if algorithm == "mae":
        return MAETransform(**settings)
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
