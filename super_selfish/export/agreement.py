"""Whether another network, or another form of a network, computes the same.

Shapes: `B` images, `C, H, W` image, `D` features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from super_selfish.models.combined_net import pooled_features

# Relative to the largest feature: rounding differs where operations are fused.
TOLERANCE = 1e-4
WORKS_FOR_ALL = '"safetensors", "state_dict", "torchscript", "torch.export" and "onnx" work for all'


class TimmCall(NamedTuple):
    """How timm alone makes a network: `timm.create_model(name, **arguments)`."""

    name: str
    arguments: dict[str, Any]

    @property
    def code(self) -> str:
        """The same as code that leaves `network`."""
        options = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"import timm\nnetwork = timm.create_model({self.name!r}, {options})"


class Rewritten(NamedTuple):
    """Weights for a network, and how to build and to feed it."""

    state: dict[str, Tensor]
    inner_steps: list[nn.Module]  # done to images inside our network, before the other one's
    build: str | None  # code that leaves `network`; None if it is the class of the backbone
    by_timm: TimmCall | None = None  # where timm makes it without another layer exchanged


def features_agree(features: Tensor, reference: Tensor) -> bool:
    """Whether features equal others of the same images, but for rounding.

    Args:
        features: `[B, D]`.
        reference: `[B, D]`.
    """
    if features.shape != reference.shape:
        return False
    return bool((features - reference).abs().max() <= TOLERANCE * reference.abs().max())


def gives_the_same(
    backbone: nn.Module, network: nn.Module, state: Mapping[str, Tensor], images: Tensor
) -> bool:
    """Whether a network takes all the weights, and then gives the features of the backbone.

    Args:
        backbone: In eval mode.
        network: Of another library; has the weights afterwards, if it takes them.
        state: Weights in its names.
        images: `[B, C, H, W]`, in [0, 1].
    """
    theirs = network.state_dict()
    if {name: value.shape for name, value in theirs.items()} != {
        name: value.shape for name, value in state.items()
    }:
        return False
    network.load_state_dict(state)
    inner = getattr(backbone, "normalize", nn.Identity())
    with torch.no_grad():
        features = pooled_features(network.eval(), inner(images))
        return features_agree(features, pooled_features(backbone, images))


def check(
    backbone: nn.Module, network: nn.Module, state: dict[str, Tensor], images: Tensor, library: str
) -> None:
    """Refuses weights that do not make another library's network give the same.

    Args:
        backbone: As for `gives_the_same`, like all but the last.
        network: See there.
        state: See there.
        images: See there.
        library: Its name, for the message.

    Raises:
        ValueError: If the network does not take the weights, or gives other features.
    """
    if not gives_the_same(backbone, network, state, images):
        refuse(
            backbone, library, "its network of that name has other layers, or computes another way"
        )


def refuse(backbone: nn.Module, library: str, reason: str) -> NoReturn:
    """Says that a backbone does not go into another library, why, and what works.

    Raises:
        ValueError: Always.
    """
    name = getattr(backbone, "name", None)
    which = type(backbone).__name__ + (f" {name}" if isinstance(name, str) else "")
    raise ValueError(f"{which} cannot be written for {library}: {reason}; {WORKS_FOR_ALL}")
