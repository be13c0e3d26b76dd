"""Backbones by name: efficientnet-pytorch, torchvision, timm, or a module of the user's own."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import nn

from super_selfish.models.alexnet import NAME as ALEXNET
from super_selfish.models.alexnet import AlexNet, alexnet_for
from super_selfish.models.dry_run import FeatureShape, feature_shape
from super_selfish.models.efficientnet import EFFICIENTNETS, EfficientFeatures
from super_selfish.models.freezing import release
from super_selfish.models.fresh import TIMM_ARGUMENTS
from super_selfish.models.narrow_resnet import NarrowResNet
from super_selfish.models.number_format import require_float32
from super_selfish.models.stems import (
    efficientnet_stride,
    refuse_stem,
    tell_choice,
    tell_difference,
)
from super_selfish.models.torchvision_features import TorchvisionFeatures, torchvision_names
from super_selfish.models.transformers import patch_of, resized
from super_selfish.models.untrained import untrained_twin
from super_selfish.models.wrappers import unwrapped, without_processes

__all__ = [
    "FeatureShape",
    "TorchvisionFeatures",
    "build_backbone",
    "feature_shape",
    "untrained_twin",
]


def build_backbone(
    backbone: nn.Module | str | None,
    in_channels: int,
    image_size: tuple[int, int],
    stem: str = "auto",
    *,
    size_name: str = "image_size",
) -> nn.Module:
    """The network that a `backbone=` argument means.

    Args:
        backbone: A module, which is returned untouched (but without `DistributedDataParallel`,
            which a run puts around everything, and without what a probe froze); `None` for
            EfficientNet-B0; or a name: `"efficientnet-b0"` to `"efficientnet-b7"`,
            `"narrow-resnet"` for minutes on a CPU, `"alexnet-bn"`, a classification network of
            torchvision (`"resnet18"`), or `"timm/<name>"` (`"timm/convnext_tiny"`). Named networks
            are drawn at random.
        in_channels: Channels of the images.
        image_size: Height and width of the images, pixels.
        stem: How EfficientNets, torchvision's ResNets and AlexNet begin: `"imagenet"` as published;
            `"small"` with a convolution of stride 1, ResNets of 3x3 and without pooling;
            `"medium"`, for ResNets so with pooling, for AlexNet with a stride of 2. `"auto"`:
            `"small"` up to 64 pixels, for ResNets and AlexNet `"medium"` below 128; one line says
            so. Transformers of timm have patches that suit the images with `"auto"` (4 pixels for
            32, 8 for 64), with `"imagenet"` the published ones.
        size_name: The argument by which whoever is told of another size would change it.

    Returns:
        A module from `[B, C, H, W]` to `[B, D]`, with `forward_features` if it was built here.

    Raises:
        ValueError: If the name is unknown (it lists names that are near), there is no such stem, or
            a module keeps other weights than float32.
        TypeError: If it is neither module nor name.
        ImportError: If the name asks for timm and timm is missing.
    """
    if isinstance(backbone, nn.Module):
        refuse_stem(stem, f"your {type(unwrapped(backbone)).__name__}")
        require_float32(backbone)
        release(backbone)
        return without_processes(backbone)
    name = "efficientnet-b0" if backbone is None else backbone
    if not isinstance(name, str):
        raise TypeError(f"backbone is an nn.Module, a name or None, got {type(name).__name__}")
    if name in EFFICIENTNETS or name == ALEXNET or name in torchvision_names():
        built = _with_stem(name, in_channels, image_size, stem)
        tell_choice(name, (image_size[0], image_size[1]), stem, built.first_layers)
        return built
    if name.startswith("timm/"):
        return _timm_backbone(name, in_channels, (image_size[0], image_size[1]), stem, size_name)
    refuse_stem(stem, name)
    if name == "narrow-resnet":
        return NarrowResNet(in_channels)
    raise ValueError(
        _unknown(name, [*EFFICIENTNETS, ALEXNET, "narrow-resnet", *torchvision_names()])
    )


def _with_stem(
    name: str, in_channels: int, image_size: tuple[int, int], stem: str
) -> EfficientFeatures | TorchvisionFeatures | AlexNet:
    if name == ALEXNET:
        return alexnet_for(in_channels, image_size, stem)
    if name in EFFICIENTNETS:
        stride = efficientnet_stride(stem, image_size)
        return EfficientFeatures(name, in_channels=in_channels, stem_stride=stride)
    return TorchvisionFeatures(name, in_channels, image_size, stem)


def _timm_backbone(
    name: str, in_channels: int, image_size: tuple[int, int], stem: str, size_name: str
) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"the backbone {name!r} needs timm: pip install timm") from error
    model_name = name.removeprefix("timm/")
    settings = timm_settings(name)
    options: dict[str, Any] = {"model_name": model_name, "num_classes": 0, "in_chans": in_channels}
    if settings is None or not settings.fixed_input_size:
        refuse_stem(stem, name)
    else:
        # Networks with learned positions are built for one size: for that of the images.
        with torch.device("meta"):
            published = timm.create_model(**options, pretrained=False)
        options["img_size"] = image_size
        found = resized(published, image_size, stem, name)
        options |= found
        if not found or stem != "imagenet":
            refuse_stem(stem, name)
        published_size = tuple(settings.input_size[1:])
        is_other = published_size != image_size
        remedy = f"{size_name}={published_size} gives that one" if is_other else None
        _tell_of_size(name, image_size, remedy, stem, published, options)
    network: nn.Module = timm.create_model(**options, pretrained=False)
    vars(network)[TIMM_ARGUMENTS] = options  # by which it can be drawn anew
    return network


def timm_settings(name: str) -> Any:
    """What timm says of the published weights of a network; None where there are none.

    Args:
        name: `"timm/..."`; timm is installed.

    Raises:
        ValueError: If timm has no such network, or no weights of it that are called so.
    """
    import timm

    model_name = name.removeprefix("timm/")
    if not timm.is_model(model_name):
        raise ValueError(_unknown(name, [f"timm/{n}" for n in timm.list_models()]))
    try:
        return timm.models.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        tagged = timm.list_pretrained(f"{model_name.partition('.')[0]}.*")
        raise ValueError(_unknown(name, [f"timm/{n}" for n in tagged])) from error


def _tell_of_size(
    name: str,
    image_size: tuple[int, int],
    remedy: str | None,
    stem: str,
    published: nn.Module,
    options: dict[str, Any],
) -> None:
    """Says how the network differs from the one that was published for another size."""
    patch = options.get("patch_size")
    if patch not in (None, patch_of(published)):
        beginning = f"patches of {patch}x{patch} pixels and positions for that size"
        tell_choice(name, image_size, stem, beginning)
    elif remedy is not None:
        tell_difference(name, image_size, "positions for that size", remedy)


def _unknown(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return (
        f"unknown backbone {name!r}: {hint}Names are efficientnet-b0 to -b7, alexnet-bn, "
        "torchvision's classification networks (not its ViT and MaxViT, built for one image size: "
        "timm has others) and timm/<name>; any nn.Module will do as well"
    )
