"""Numbers of layers, losses and augmentations at the edge of their range, and just beyond it.

`test_bounds` has those of the algorithms.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from super_selfish import augmentations, losses
from super_selfish.augmentations.color import adjust_brightness
from super_selfish.augmentations.composites import FixedComposites
from super_selfish.augmentations.crops import crop
from super_selfish.augmentations.filters import gaussian_blur
from super_selfish.augmentations.patches import RandomTileCrop, cell_size, overlapping_patches
from super_selfish.augmentations.permutations import maximal_hamming_permutations
from super_selfish.augmentations.tone import posterize
from super_selfish.augmentations.transformations import (
    AffineTransformations,
    ProjectiveTransformations,
)
from super_selfish.losses.clusters import check_sinkhorn, swapped_prediction
from super_selfish.losses.counting import CountingLoss
from super_selfish.losses.redundancy import VICRegTerms
from super_selfish.models import heads, momentum
from super_selfish.models.alexnet import AlexNet
from super_selfish.models.bottlenecks import ChannelwiseLinear, LatentMap
from super_selfish.models.color_split import SplitHead
from super_selfish.models.context import ResidualContextNetwork
from super_selfish.models.decoders import ImageDecoder
from super_selfish.models.discriminators import DiscriminatorFeatures, PairDiscriminator
from super_selfish.models.freezing import parameter_groups
from super_selfish.models.narrow_resnet import NarrowResNet
from super_selfish.models.normalize import Normalize
from tests.papers.bounds import COUNT, INNER_SHARE, SHARE, TINY, Part, arguments_of

IMAGES = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def blurred(sigma: float = 1.0, kernel_size: int = 3) -> torch.Tensor:
    return gaussian_blur(IMAGES, torch.full((2,), sigma), kernel_size)


def cropped(size: tuple[int, int]) -> torch.Tensor:
    return crop(IMAGES, torch.zeros(2, 2, dtype=torch.int64), size)


def posterized(bits: int) -> torch.Tensor:
    return posterize(IMAGES, torch.tensor([4, bits]))


def brightened(factor: float) -> torch.Tensor:
    return adjust_brightness(IMAGES, torch.tensor([1.0, factor]))


def predicted(codes: int, views: int, temperature: float = 1.0) -> torch.Tensor:
    return swapped_prediction(torch.ones(codes, 2, 3), torch.ones(views, 2, 3), temperature)


def averaged(momentum_: float) -> None:
    network = nn.Linear(2, 2)
    momentum.MomentumEncoder(network).update(network, momentum_)


def placed(padding: int, size: tuple[int, int]) -> None:
    random = augmentations.RandomCrop(size, padding)
    random.draw((2, 3, 8, 10), torch.Generator())


PARTS = {
    "AlexNet": Part(
        AlexNet,
        {"stem": "small"},
        {"in_channels": COUNT, "grid": ([(1, 1)], [(0, 1), (1, 0)]), "dropout": ([0], [-TINY, 1])},
    ),
    "ChannelwiseLinear": Part(
        ChannelwiseLinear,
        {"channels": 2, "grid": (2, 2)},
        {"channels": COUNT, "grid": ([(1, 1)], [(0, 1), (1, 0)])},
    ),
    "LatentMap": Part(
        LatentMap,
        {"in_channels": 2, "channels": 2, "grid": (2, 2)},
        {"in_channels": COUNT, "channels": COUNT, "grid": ([(1, 1)], [(0, 1), (1, 0)])},
    ),
    "SplitHead": Part(
        SplitHead,
        {"lightness": nn.Identity(), "color": nn.Identity(), "wants_map": False},
        {"dim": COUNT},
    ),
    "ResidualContextNetwork": Part(
        ResidualContextNetwork,
        {"in_channels": 2, "hidden": 2, "num_blocks": 2},
        {"in_channels": COUNT, "hidden": COUNT, "num_blocks": COUNT},
    ),
    "ImageDecoder": Part(
        ImageDecoder,
        {"in_channels": 2, "out_channels": 2, "channels": (2,), "size": (2, 2), "map_size": (1, 1)},
        {
            "in_channels": COUNT,
            "out_channels": COUNT,
            "channels": ([(1,)], [(), (0,), (2, 0)]),
            "size": ([(1, 1)], [(0, 1), (1, 0)]),
            "map_size": ([(1, 1)], [(0, 1), (1, 0)]),
        },
    ),
    "DiscriminatorFeatures": Part(
        DiscriminatorFeatures,
        {"in_channels": 2, "image_size": (8, 8), "channels": (2,)},
        {
            "in_channels": COUNT,
            "image_size": ([(1, 1)], [(0, 1), (1, 0)]),
            "channels": ([(1,)], [(), (0,), (2, 0)]),
        },
    ),
    "PairDiscriminator": Part(
        PairDiscriminator,
        {"image_features": nn.Flatten(), "num_features": 2, "num_latents": 2, "hidden": (2,)},
        {"num_features": COUNT, "num_latents": COUNT, "hidden": ([(1,)], [(0,)])},
    ),
    "parameter_groups": Part(
        parameter_groups,
        {"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2), "lr": 0.1},
        {
            "lr": ([0.0], [-TINY]),
            "backbone_lr_factor": ([0.0], [-TINY]),
            "layer_decay": ([TINY, 1.0], [0.0, 1 + TINY]),
        },
    ),
    "MLP": Part(
        heads.MLP,
        {"in_features": 2, "hidden": (2,), "out_features": 2},
        {"in_features": COUNT, "hidden": ([(), (1,)], [(0,)]), "out_features": COUNT},
    ),
    "BottleneckMap": Part(
        heads.BottleneckMap,
        {"in_channels": 2, "channels": 2, "size": 2},
        {"in_channels": COUNT, "channels": COUNT, "size": COUNT},
    ),
    "momentum_at": Part(
        momentum.momentum_at,
        {"step": 1, "total_steps": 2, "base": 0.5},
        {"step": ([0], [-1]), "total_steps": COUNT, "base": SHARE},
    ),
    "MomentumEncoder.update": Part(averaged, {}, {"momentum_": SHARE}),
    "NarrowResNet": Part(
        NarrowResNet, {"in_channels": 2, "width": 2}, {"in_channels": COUNT, "width": COUNT}
    ),
    "Normalize": Part(
        Normalize,
        {"mean": (0.5, 0.5)},
        {"std": ([(TINY, 1.0)], [(0.0, 1.0), (1.0, -1.0), (1.0,)])},
    ),
    "RandomApply": Part(
        augmentations.RandomApply, {"augmentation": augmentations.Invert()}, {"p": SHARE}
    ),
    "ColorJitter": Part(
        augmentations.ColorJitter,
        {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1},
        {
            "brightness": ([0.0], [-TINY]),
            "contrast": ([0.0], [-TINY]),
            "saturation": ([0.0], [-TINY]),
            "hue": ([0.0, 0.5], [-TINY, 0.5 + TINY]),
            "p": SHARE,
            "p_grayscale": SHARE,
        },
    ),
    "FixedComposites": Part(
        FixedComposites,
        {
            "size": (8, 8),
            "count": 2,
            "places": 2,
            "p": 0.5,
            "generator": torch.Generator(),
            "primitives": (augmentations.Invert(),),
        },
        {"count": COUNT, "places": COUNT, "p": ([TINY, 1.0], [0.0, 1 + TINY])},
    ),
    "crop": Part(cropped, {}, {"size": ([(8, 10), (1, 1)], [(9, 10), (8, 11), (0, 1), (1, 0)])}),
    "RandomCrop": Part(
        placed,
        {"padding": 1, "size": (2, 2)},
        {"padding": ([0], [-1]), "size": ([(10, 12)], [(11, 12), (10, 13)])},
    ),
    "RandomHorizontalFlip": Part(augmentations.RandomHorizontalFlip, {}, {"p": SHARE}),
    "brightness": Part(brightened, {}, {"factor": ([0.0], [-TINY])}),
    "RandomElastic": Part(
        augmentations.RandomElastic,
        {"sigma": 1.0, "points": 3},
        {"sigma": ([0.0], [-TINY]), "points": ([2], [1])},
    ),
    "RandomErasing": Part(
        augmentations.RandomErasing,
        {},
        {
            "scale": ([(0.0, 0.0), (1.0, 1.0)], [(-TINY, 0.5), (0.5, 1 + TINY), (0.5, 0.4)]),
            "ratio": ([(TINY, TINY)], [(0.0, 1.0), (1.0, 0.9)]),
            "value": ([0.0, 1.0, (0.0, 1.0)], [-TINY, 1 + TINY, (0.5, 1.5), (-1.0, 0.5), ()]),
        },
    ),
    "gaussian_blur": Part(
        blurred, {}, {"sigma": ([TINY], [0.0, -1.0]), "kernel_size": ([1, 15], [0, -1, 2, 17])}
    ),
    "RandomGaussianBlur": Part(
        augmentations.RandomGaussianBlur,
        {},
        {
            "sigma": ([(TINY, TINY)], [(0.0, 1.0), (1.0, 0.9)]),
            "kernel_size": ([1, 3, None], [0, -1, 2]),
        },
    ),
    "RandomAffine": Part(
        augmentations.RandomAffine,
        {},
        {
            "degrees": ([0.0, (5.0, 5.0)], [-TINY, (5.0, 4.0)]),
            "scale": ([(TINY, 1.0), 0.0], [(0.0, 1.0), 1.0]),
            "shear": ([89.9], [90.0, (0.0, 90.0), (-90.0, 0.0)]),
            "shear_y": ([89.9], [90.0, (-90.0, 0.0)]),
            "elastic_sigma": ([0.0], [-TINY]),
            "elastic_points": ([2], [1]),
            "p_elastic": SHARE,
        },
    ),
    "LowResolution": Part(
        augmentations.LowResolution,
        {"low": 0.5, "high": 0.5},
        {
            "low": ([TINY, 0.5], [0.0, 0.6]),
            "high": ([1.0], [1 + TINY, 0.4]),
            "least": ([1], [0]),
        },
    ),
    "PixelDropout": Part(augmentations.PixelDropout, {}, {"p": SHARE}),
    "RandomGaussianNoise": Part(
        augmentations.RandomGaussianNoise,
        {"low": 0.5, "high": 0.5},
        {"low": ([0.0, 0.5], [-TINY, 0.6]), "high": ([0.5], [0.4])},
    ),
    "cell_size": Part(
        cell_size,
        {"height": 3, "width": 4, "grid": 2},
        {"grid": ([1, 3], [0, 4]), "width": ([2], [1])},
    ),
    "RandomTileCrop": Part(
        RandomTileCrop, {"grid": 2}, {"grid": COUNT, "fraction": ([TINY, 1.0], [0.0, 1 + TINY])}
    ),
    "overlapping_patches": Part(
        partial(overlapping_patches, IMAGES), {}, {"count": ([1, 7], [0, 8, 9])}
    ),
    "maximal_hamming_permutations": Part(
        maximal_hamming_permutations,
        {"count": 1, "tiles": 3},
        {"count": ([1, 6], [0, 7]), "tiles": ([1], [0, -1])},
    ),
    "RandomBrightness": Part(
        augmentations.RandomBrightness,
        {"low": 0.5, "high": 0.5},
        {"low": ([0.0, 0.5], [-TINY, 0.6]), "high": ([0.5], [0.4])},
    ),
    "RandomGrayscale": Part(augmentations.RandomGrayscale, {}, {"p": SHARE}),
    "cpc_v2": Part(augmentations.cpc_v2, {"size": 8}, {"count": ([0], [-1])}),
    "posterize": Part(posterized, {}, {"bits": ([0, 8], [-1, 9])}),
    "RandomPosterize": Part(
        augmentations.RandomPosterize,
        {"low": 4, "high": 4},
        {"low": ([0, 4], [-1, 5]), "high": ([4, 8], [3, 9])},
    ),
    "RandomSolarize": Part(
        augmentations.RandomSolarize,
        {"low": 0.5, "high": 0.5},
        {"low": ([0.0, 0.5], [-TINY, 0.6]), "high": ([1.0, 0.5], [1 + TINY, 0.4])},
    ),
    "AffineTransformations": Part(
        AffineTransformations,
        {},
        {
            "degrees": ([TINY, 180.0], [0.0, 180.1]),
            "translate": INNER_SHARE,
            "shear": ([TINY, 89.9], [0.0, 90.0]),
            "scale": ([(TINY, 1.0)], [(0.0, 1.0), (1.0, 1.0), (1.0, math.inf), (1.0,)]),
        },
    ),
    "ProjectiveTransformations": Part(
        ProjectiveTransformations, {"scale": (0.8, 1.2)}, {"shift": ([TINY, 0.199], [0.0, 0.2])}
    ),
    "swapped_prediction": Part(
        predicted,
        {"codes": 1, "views": 2},
        {"codes": ([1, 2], [0, 3]), "views": ([2], [1]), "temperature": ([TINY], [0.0, math.inf])},
    ),
    "check_sinkhorn": Part(
        check_sinkhorn,
        {"epsilon": 1.0, "iterations": 2},
        {"epsilon": ([TINY], [0.0, math.inf]), "iterations": COUNT},
    ),
    "InfoNCELoss": Part(losses.InfoNCELoss, {}, {"temperature": ([TINY], [0.0, math.inf])}),
    "NTXentLoss": Part(losses.NTXentLoss, {}, {"temperature": ([TINY], [0.0, math.inf])}),
    "NCELoss": Part(
        losses.NCELoss,
        {"num_images": 2, "temperature": 0.1},
        {"num_images": COUNT, "temperature": ([TINY], [0.0, math.inf])},
    ),
    "CountingLoss": Part(
        CountingLoss,
        {},
        {"margin": ([TINY], [0.0, math.inf]), "weight": ([TINY], [0.0, math.inf])},
    ),
    "CandidateInfoNCELoss": Part(
        losses.CandidateInfoNCELoss, {}, {"logit_scale": ([TINY], [0.0, math.inf])}
    ),
    "BarlowTwinsLoss": Part(
        losses.BarlowTwinsLoss, {}, {"off_diagonal_weight": ([0.0], [-TINY, math.inf])}
    ),
    "ClusterPredictionLoss": Part(
        losses.ClusterPredictionLoss, {}, {"temperature": ([TINY], [0.0, math.inf])}
    ),
    "LeJEPALoss": Part(
        losses.LeJEPALoss,
        {},
        {"sigreg_weight": SHARE, "num_knots": ([2], [1]), "extent": ([TINY], [0.0, math.inf])},
    ),
    "NeighborLoss": Part(losses.NeighborLoss, {}, {"temperature": ([TINY], [0.0, math.inf])}),
    "VICRegLoss": Part(
        losses.VICRegLoss,
        {},
        {
            **{f"{term}_weight": ([0.0], [-TINY, math.inf]) for term in VICRegTerms._fields},
            "deviation": ([TINY], [0.0, math.inf]),
        },
    ),
}


@pytest.mark.parametrize(("name", "argument"), arguments_of(PARTS))
def test_the_edges_of_a_range_are_taken_and_what_lies_beyond_is_refused(
    name: str, argument: str
) -> None:
    PARTS[name].check(argument)
