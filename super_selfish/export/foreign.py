"""Weights in the names of other libraries, checked against their networks.

Each function builds the other library's network, loads the weights into it and compares its
features with ours; where that fails it says what works instead. Beside the weights it gives the
code that builds the network.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.export.agreement import (
    Rewritten,
    TimmCall,
    check,
    gives_the_same,
    refuse,
)
from super_selfish.export.efficientnets import (
    efficientnet_in_timm,
    in_names_of_efficientnet_pytorch,
)
from super_selfish.models import EfficientFeatures, TorchvisionFeatures, build_backbone
from super_selfish.models.copying import copy_module
from super_selfish.models.fresh import TIMM_ARGUMENTS


def in_names_of_torchvision(backbone: nn.Module, images: Tensor) -> Rewritten:
    """Weights for the networks of torchvision.

    Args:
        backbone: A `TorchvisionFeatures`, or a network of that library.
        images: `[B, C, H, W]`, random ones, of the size that the network shall take.

    Raises:
        ValueError: If it is another network.
    """
    if type(backbone).__module__.startswith("torchvision."):
        return Rewritten(dict(backbone.state_dict()), [], None)
    if isinstance(backbone, EfficientFeatures):
        refuse(
            backbone,
            "torchvision",
            "its EfficientNets pad another way, so they compute something else; their weights "
            'fit "timm" and "efficientnet-pytorch"',
        )
    if not isinstance(backbone, TorchvisionFeatures):
        refuse(backbone, "torchvision", "it does not have this network")
    state = dict(backbone.network.state_dict())
    network, original = _torchvision_original(backbone)
    changes = _changes(backbone.network, network)
    lines = [
        "from torch import nn",
        "from torchvision.models import get_model",
        original,
        *(_exchange(network, path, layer) for path, layer in changes),
    ]
    check(backbone, network, state, images, "torchvision")
    return Rewritten(state, [], "\n".join(lines))


def in_names_of_timm(backbone: nn.Module, images: Tensor) -> Rewritten:
    """Weights for the networks of timm.

    Args:
        backbone: An `EfficientFeatures`, a `TorchvisionFeatures` of which timm has the like, or a
            network of that library.
        images: `[B, C, H, W]`, random ones, of the size that the network shall take.

    Raises:
        ValueError: If timm has no network that computes the same.
    """
    if type(backbone).__module__.startswith("timm."):
        call = timm_call(backbone, images)
        return Rewritten(dict(backbone.state_dict()), [], call and call.code, call)
    if isinstance(backbone, EfficientFeatures):
        return efficientnet_in_timm(backbone, images)
    if isinstance(backbone, TorchvisionFeatures):
        return _torchvision_in_timm(backbone, images)
    refuse(backbone, "timm", "it does not have this network")


REWRITERS: dict[str, Callable[[nn.Module, Tensor], Rewritten]] = {
    "torchvision": in_names_of_torchvision,
    "timm": in_names_of_timm,
    "efficientnet-pytorch": in_names_of_efficientnet_pytorch,
}


# -------------------------------------------------------------------- torchvision


def _torchvision_original(backbone: TorchvisionFeatures) -> tuple[nn.Module, str]:
    """The network of that name of torchvision, as it comes, and the code for it."""
    from torchvision import models

    inception = backbone.name in ("googlenet", "inception_v3")
    options: dict[str, Any] = {"aux_logits": False, "init_weights": False} if inception else {}
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = models.get_model(backbone.name, weights=None, **options)
    arguments = "".join(f", {name}={value}" for name, value in options.items())
    return network, f"network = get_model({backbone.name!r}, weights=None{arguments})"


def _torchvision_in_timm(backbone: TorchvisionFeatures, images: Tensor) -> Rewritten:
    import timm

    if not timm.is_model(backbone.name):
        refuse(backbone, "timm", f'it has no {backbone.name}; "torchvision" works')
    call = TimmCall(backbone.name, {"num_classes": 0, "in_chans": images.shape[1]})
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(backbone.name, **call.arguments)
    original, _ = _torchvision_original(backbone)
    layers = dict(network.named_modules())
    exchanges = [
        _exchange(network, path, layer)
        for path, layer in _changes(backbone.network, original)
        if path in layers and repr(layers[path]) != repr(layer)
    ]
    state = dict(backbone.network.state_dict())
    check(backbone, network, state, images, "timm")
    if not exchanges:
        return Rewritten(state, [], call.code, call)
    return Rewritten(state, [], "\n".join(["from torch import nn", call.code, *exchanges]))


def _changes(ours: nn.Module, original: nn.Module) -> list[tuple[str, nn.Module]]:
    """Where the original must get other layers to be what our copy is, and which."""
    changes: list[tuple[str, nn.Module]] = []
    for path, theirs in original.named_modules():
        if any(path.startswith(changed + ".") for changed, _ in changes):
            continue
        layer = ours.get_submodule(path)
        is_leaf = next(theirs.children(), None) is None
        if type(layer) is not type(theirs) or (is_leaf and repr(layer) != repr(theirs)):
            changes.append((path, layer))
        elif isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size not in (1, (1, 1)):
            changes.append((path, nn.AdaptiveAvgPool2d(1)))  # VGG's classifier wants 7x7
    return changes


def _exchange(network: nn.Module, path: str, layer: nn.Module) -> str:
    """Exchanges a layer, and returns the code for it: torch's layers print as their code."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, copy_module(layer))
    place = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split("."))
    return f"network{place} = nn.{layer!r}"


# -------------------------------------------------------------------- timm


def timm_call(backbone: nn.Module, images: Tensor) -> TimmCall | None:
    """How timm makes a network of its own, unless it is one that its name does not give."""
    import timm

    name = (getattr(backbone, "pretrained_cfg", None) or {}).get("architecture")
    if name is None or not timm.is_model(name):
        return None
    for arguments in _arguments_for_timm(name, backbone, images):
        with torch.random.fork_rng(devices=[]):
            network = timm.create_model(name, **arguments)
        if gives_the_same(backbone, network, backbone.state_dict(), images):
            return TimmCall(name, arguments)
    return None


def _arguments_for_timm(name: str, backbone: nn.Module, images: Tensor) -> Iterator[dict[str, Any]]:
    """What the network may have been built with: as is known, or by its name alone."""
    noted = vars(backbone).get(TIMM_ARGUMENTS)
    if noted is None:
        size = (images.shape[2], images.shape[3])
        with torch.random.fork_rng(devices=[]):
            noted = vars(build_backbone(f"timm/{name}", images.shape[1], size))[TIMM_ARGUMENTS]
    arguments = {key: value for key, value in noted.items() if key != "model_name"}
    yield arguments
    as_published = {"patch_size", "dynamic_img_size"}
    yield {key: value for key, value in arguments.items() if key not in as_published}
