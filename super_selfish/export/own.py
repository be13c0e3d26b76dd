"""The code that builds a network of this library, or of timm, under its own parameter names.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from super_selfish.export.agreement import features_agree
from super_selfish.export.foreign import timm_call
from super_selfish.models import (
    AlexNet,
    EfficientFeatures,
    NarrowResNet,
    TorchvisionFeatures,
    pooled_features,
)


def own_recipe(backbone: nn.Module, images: Tensor) -> str | None:
    """The code that leaves a `network` which takes the backbone's weights as they are.

    What it builds is built here too, given the weights, and compared.

    Args:
        backbone: In eval mode.
        images: `[B, C, H, W]`, random ones.

    Returns:
        None if its class is of neither library, so the reader must have it, or the network was
        changed after it was built.
    """
    if type(backbone).__module__.startswith("timm."):
        call = timm_call(backbone, images)
        return call and call.code
    arguments = _arguments(backbone, images)
    if arguments is None:
        return None
    kind = type(backbone)
    with torch.random.fork_rng(devices=[]):
        network = kind(**arguments)
    state = backbone.state_dict()
    if {name: value.shape for name, value in network.state_dict().items()} != {
        name: value.shape for name, value in state.items()
    }:
        return None
    network.load_state_dict(state)
    with torch.no_grad():
        features = pooled_features(network.eval(), images)
        if not features_agree(features, pooled_features(backbone, images)):
            return None
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"from super_selfish.models import {kind.__name__}\nnetwork = {kind.__name__}({given})"


def _arguments(backbone: nn.Module, images: Tensor) -> dict[str, Any] | None:
    """With what a network of this library was built."""
    _, channels, height, width = images.shape
    if type(backbone) is NarrowResNet:
        return {"in_channels": channels, "width": backbone.width}
    if type(backbone) is AlexNet:
        found = {"in_channels": channels, "stem": backbone.stem, "grid": backbone.grid}
        return found | {"dropout": backbone.dropout.p}
    if type(backbone) is TorchvisionFeatures:
        size = (height, width)
        found = {"name": backbone.name, "in_channels": channels, "image_size": size}
        return found | {"stem": backbone.stem}
    if type(backbone) is EfficientFeatures:
        has_batch_norm = any(isinstance(part, _BatchNorm) for part in backbone.modules())
        return {
            "name": backbone.name,
            "norm_type": "batch" if has_batch_norm else "layer",
            "in_channels": channels,
            "stem_stride": 2 if backbone.stem == "imagenet" else 1,
        }
    return None
