"""Learns what a backbone returns by asking it once, without leaving a trace.

Shapes: `C, H, W` image, `D` features, `h, w` map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from super_selfish.models.combined_net import (
    CombinedNet,
    _wants_map,
    as_map,
    as_vectors,
    map_function,
)
from super_selfish.models.wrappers import unwrapped

# What a network raises at images or arguments that do not suit it: torch's checks, asserts,
# indexing.
REFUSALS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)


class FeatureShape(NamedTuple):
    """What a backbone makes of an image of a certain size."""

    dim: int
    height: int | None  # of the map; None if the backbone gives vectors only
    width: int | None

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the map; vectors are maps of one cell."""
        return self.height or 1, self.width or 1


def feature_shape(
    backbone: nn.Module, in_channels: int, image_size: tuple[int, int], *, of_map: bool = False
) -> FeatureShape:
    """Feature width and map size of a backbone, found by one dry run at the real image size.

    The run is in eval mode and without gradient, on the device and in the dtype of the backbone.
    Training flags, buffers and random state are afterwards what they were.

    Args:
        backbone: `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`.
        in_channels: `C`.
        image_size: `(H, W)`, pixels.
        of_map: Whether `dim` is the number of channels of the map instead of the width of the
            pooled vectors. Some networks (timm's MobileNetV3) have a layer in between.

    Returns:
        `dim`, and height and width of the map, `None` if there is none and `of_map` is false.

    Raises:
        ValueError: If the backbone cannot take such an image, or its output has a strange shape.
        TypeError: If it returns no tensor, or vectors where a map was asked for.
    """
    height, width = image_size
    tensor = floating_tensor(backbone)
    device = torch.device("cpu") if tensor is None else tensor.device
    dtype = torch.float32 if tensor is None else tensor.dtype
    images = torch.zeros(1, in_channels, height, width, device=device, dtype=dtype)
    with without_a_trace(backbone):
        output = _ask(backbone, backbone, images)
        to_map = map_function(backbone)
        raw_map = output if to_map is backbone else _ask(backbone, to_map, images)
    if of_map or (isinstance(raw_map, Tensor) and raw_map.ndim == 4):
        features = as_map(backbone, raw_map, images)
        dim = features.shape[1] if of_map else as_vectors(backbone, output).shape[1]
        return FeatureShape(dim, features.shape[2], features.shape[3])
    vectors = as_vectors(backbone, output)
    if isinstance(raw_map, Tensor) and raw_map.ndim == 3:
        try:
            features = as_map(backbone, raw_map, images)
        except ValueError:  # tokens that are no grid: whoever asks for their map is told why
            return FeatureShape(vectors.shape[1], None, None)
        return FeatureShape(vectors.shape[1], features.shape[2], features.shape[3])
    return FeatureShape(vectors.shape[1], None, None)


def floating_tensor(network: nn.Module) -> Tensor | None:
    """A weight or buffer of a network, on whose device and in whose type it computes, if any."""
    tensors = chain(network.parameters(), network.buffers())
    return next((tensor for tensor in tensors if tensor.is_floating_point()), None)


def _ask(backbone: nn.Module, forward: Callable[[Tensor], object], images: Tensor) -> object:
    try:
        return forward(images)
    except REFUSALS as error:
        if isinstance(backbone, CombinedNet):
            _blame_predictor(backbone, images, error)
        raise ValueError(
            f"the backbone {type(unwrapped(backbone)).__name__} could not take images of shape "
            f"{tuple(images.shape)}: {error}"
        ) from error


def _blame_predictor(network: CombinedNet, images: Tensor, error: Exception) -> None:
    """Raises for the head, if the backbone by itself takes the images."""
    wants_map = _wants_map(network.predictor)
    channels, height, width = images.shape[1:]
    shape = feature_shape(network.backbone, channels, (height, width), of_map=wants_map)
    given = f"[B, {shape.dim}, {shape.height}, {shape.width}]" if wants_map else f"[B, {shape.dim}]"
    raise ValueError(
        f"predictor= ({type(network.predictor).__name__}) could not take what the backbone gives "
        f"it, features {given}: {error}"
    ) from error


@contextmanager
def without_a_trace(module: nn.Module) -> Iterator[None]:
    """While entered, a network is in eval mode and learns nothing; afterwards it is as before."""
    flags = [(submodule, submodule.training) for submodule in module.modules()]
    buffers = [
        (submodule, name, buffer, buffer.clone())
        for submodule in module.modules()
        for name, buffer in submodule.named_buffers(recurse=False)
        if not is_lazy(buffer)
    ]
    module.eval()
    try:
        # devices=[]: in eval mode nothing draws on an accelerator.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        for submodule, training in flags:
            submodule.training = training
        for submodule, name, buffer, value in buffers:
            submodule._buffers[name] = buffer
            if not torch.equal(buffer, value):
                buffer.copy_(value)
