"""Networks: backbones, heads, decoders, and what joins and follows them."""

from super_selfish.models.alexnet import AlexNet
from super_selfish.models.backbones import (
    FeatureShape,
    TorchvisionFeatures,
    build_backbone,
    feature_shape,
    untrained_twin,
)
from super_selfish.models.combined_net import CombinedNet, feature_map, pooled_features
from super_selfish.models.decoders import ImageDecoder
from super_selfish.models.efficientnet import EfficientFeatures
from super_selfish.models.freezing import freeze, freeze_until, parameter_groups, unfreeze
from super_selfish.models.heads import MLP, BottleneckMap, Classification, ProjectionHead
from super_selfish.models.momentum import MomentumEncoder, momentum_at
from super_selfish.models.narrow_resnet import NarrowResNet
from super_selfish.models.normalize import Normalize, build_normalize
from super_selfish.models.pyramid import StrideMaps

__all__ = [
    "MLP",
    "AlexNet",
    "BottleneckMap",
    "Classification",
    "CombinedNet",
    "EfficientFeatures",
    "FeatureShape",
    "ImageDecoder",
    "MomentumEncoder",
    "NarrowResNet",
    "Normalize",
    "ProjectionHead",
    "StrideMaps",
    "TorchvisionFeatures",
    "build_backbone",
    "build_normalize",
    "feature_map",
    "feature_shape",
    "freeze",
    "freeze_until",
    "momentum_at",
    "parameter_groups",
    "pooled_features",
    "unfreeze",
    "untrained_twin",
]
