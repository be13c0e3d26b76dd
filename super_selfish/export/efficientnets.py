"""The weights of EfficientNets in the names of efficientnet-pytorch and timm.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.export.agreement import Rewritten, TimmCall, check, refuse
from super_selfish.models.efficientnet import EfficientFeatures

_TIMM_NAMES = {
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
    "_depthwise_conv": "conv_dw",
}
# What follows one another in a block: with an expansion, and in the first blocks without.
_WITH_EXPANSION = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_WITHOUT_EXPANSION = {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_AROUND_THE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
}


def in_names_of_efficientnet_pytorch(backbone: nn.Module, images: Tensor) -> Rewritten:
    """Weights for the networks of efficientnet-pytorch.

    Args:
        backbone: An `EfficientFeatures`, or a network of that library.
        images: `[B, C, H, W]`, random ones, of the size that the network shall take.

    Raises:
        ValueError: If it is another network, or one with layer norm.
    """
    from efficientnet_pytorch import EfficientNet

    if isinstance(backbone, EfficientNet):
        return Rewritten(dict(backbone.state_dict()), [], None)
    if not isinstance(backbone, EfficientFeatures):
        refuse(backbone, "efficientnet-pytorch", "it has EfficientNets alone")
    state = _without_normalize(backbone, "efficientnet-pytorch")
    channels = backbone.in_channels
    with torch.random.fork_rng(devices=[]):
        # No image_size: the padding follows from the image then.
        network = EfficientNet.from_name(
            backbone.name, in_channels=channels, image_size=None, include_top=False
        )
    lines = [
        "from efficientnet_pytorch import EfficientNet",
        f"network = EfficientNet.from_name({backbone.name!r}, in_channels={channels}, "
        "image_size=None, include_top=False)",
    ]
    if _stem_stride(backbone) == 1:
        network._conv_stem.stride = (1, 1)
        lines.append("network._conv_stem.stride = (1, 1)")
    check(backbone, network, state, images, "efficientnet-pytorch")
    return Rewritten(state, [backbone.normalize], "\n".join(lines))


def efficientnet_in_timm(backbone: EfficientFeatures, images: Tensor) -> Rewritten:
    """Weights for the `tf_` networks of timm, whose convolutions pad as ours do.

    Args:
        backbone: With batch norm.
        images: `[B, C, H, W]`, random ones, of the size that the network shall take.

    Raises:
        ValueError: If it has layer norm.
    """
    import timm

    name, channels = "tf_" + backbone.name.replace("-", "_"), backbone.in_channels
    call = TimmCall(name, {"num_classes": 0, "in_chans": channels})
    with torch.random.fork_rng(devices=[]):
        network: Any = timm.create_model(name, **call.arguments)
    is_small = _stem_stride(backbone) == 1
    build = call.code
    if is_small:
        network.conv_stem.stride = (1, 1)
        build += "\nnetwork.conv_stem.stride = (1, 1)"
    places = [  # of every block: stages of blocks there, one row here
        f"blocks.{stage}.{block}"
        for stage, blocks in enumerate(network.blocks)
        for block in range(len(blocks))
    ]
    ours = _without_normalize(backbone, "timm")
    state = {_timm_name(name, ours, places): tensor for name, tensor in ours.items()}
    check(backbone, network, state, images, "timm")
    return Rewritten(state, [backbone.normalize], build, None if is_small else call)


def _timm_name(name: str, state: dict[str, Tensor], places: list[str]) -> str:
    parts = name.split(".")
    if parts[0] != "_blocks":
        return ".".join([_AROUND_THE_BLOCKS[parts[0]], *parts[1:]])
    block, layer, rest = parts[1], parts[2], parts[3:]
    expands = f"_blocks.{block}._expand_conv.weight" in state
    names = _TIMM_NAMES | (_WITH_EXPANSION if expands else _WITHOUT_EXPANSION)
    return ".".join([places[int(block)], names[layer], *rest])


def _without_normalize(backbone: EfficientFeatures, library: str) -> dict[str, Tensor]:
    if any(isinstance(module, nn.GroupNorm) for module in backbone.modules()):
        refuse(backbone, library, "its EfficientNets have batch norm, and this one layer norm")
    state = backbone.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("normalize.")}


def _stem_stride(backbone: EfficientFeatures) -> int:
    stem: Any = backbone._conv_stem
    return int(stem.stride[0])
