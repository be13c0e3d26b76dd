"""Self-supervised learning on images: two lines pretrain a backbone."""

from super_selfish.data import Collator, ImageSource
from super_selfish.evaluation.checking import check
from super_selfish.models import CombinedNet, EfficientFeatures
from super_selfish.pretraining import choose, pretrain
from super_selfish.supervisors import *  # noqa: F403
from super_selfish.supervisors import __all__ as _supervisors

__version__ = "0.1.0"

__all__ = [
    "Collator",
    "CombinedNet",
    "EfficientFeatures",
    "ImageSource",
    "check",
    "choose",
    "pretrain",
    *_supervisors,
]
