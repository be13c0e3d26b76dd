"""Batched augmentation: draw per-sample parameters, then apply them on any device.

`augmentation=` of the algorithms takes the name of a recipe in `RECIPES`, or an `Augmentation`:
operations of this package in a `Compose`, one of your own, or torchvision's in `FromTorchvision`.
"""

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply
from super_selfish.augmentations.choice import RandomChoice
from super_selfish.augmentations.color_jitter import ColorJitter
from super_selfish.augmentations.crops import RandomCrop, RandomHorizontalFlip
from super_selfish.augmentations.elastic import RandomElastic
from super_selfish.augmentations.erasing import RandomErasing
from super_selfish.augmentations.filters import RandomGaussianBlur
from super_selfish.augmentations.geometry import (
    RandomAffine,
    RandomQuarterTurn,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomTranslation,
)
from super_selfish.augmentations.halving import RandomHalving
from super_selfish.augmentations.low_resolution import LowResolution
from super_selfish.augmentations.noise import PixelDropout, RandomGaussianNoise
from super_selfish.augmentations.optical_flow import RaftFlow
from super_selfish.augmentations.primitives import autoaugment_primitives, cpc_primitives
from super_selfish.augmentations.random_color import (
    KeepOneChannel,
    RandomBrightness,
    RandomContrast,
    RandomGrayscale,
    RandomSaturation,
    ReplaceChannels,
    WithoutGreenMagenta,
)
from super_selfish.augmentations.recipes import (
    RECIPES,
    aet,
    byol,
    cmc,
    context_patch,
    counting,
    cpc_paper,
    cpc_v2,
    instance_discrimination,
    jigsaw_tile,
    mild_views,
    moco_v2,
    pirl,
    pirl_tile,
    recipe,
    rotate,
    simclr,
    split_brain,
)
from super_selfish.augmentations.resampling import RandomResizedCrop, Resize
from super_selfish.augmentations.tone import (
    AutoContrast,
    Equalize,
    Invert,
    RandomPosterize,
    RandomSharpness,
    RandomSolarize,
)
from super_selfish.augmentations.torchvision_adapter import FromFunction, FromTorchvision

__all__ = [
    "RECIPES",
    "Augmentation",
    "AutoContrast",
    "ColorJitter",
    "Compose",
    "Equalize",
    "FromFunction",
    "FromTorchvision",
    "Invert",
    "KeepOneChannel",
    "LowResolution",
    "PixelDropout",
    "RaftFlow",
    "RandomAffine",
    "RandomApply",
    "RandomBrightness",
    "RandomChoice",
    "RandomContrast",
    "RandomCrop",
    "RandomElastic",
    "RandomErasing",
    "RandomGaussianBlur",
    "RandomGaussianNoise",
    "RandomGrayscale",
    "RandomHalving",
    "RandomHorizontalFlip",
    "RandomPosterize",
    "RandomQuarterTurn",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "RandomScale",
    "RandomSharpness",
    "RandomShear",
    "RandomSolarize",
    "RandomTranslation",
    "ReplaceChannels",
    "Resize",
    "WithoutGreenMagenta",
    "aet",
    "autoaugment_primitives",
    "byol",
    "cmc",
    "context_patch",
    "counting",
    "cpc_paper",
    "cpc_primitives",
    "cpc_v2",
    "instance_discrimination",
    "jigsaw_tile",
    "mild_views",
    "moco_v2",
    "pirl",
    "pirl_tile",
    "recipe",
    "rotate",
    "simclr",
    "split_brain",
]
