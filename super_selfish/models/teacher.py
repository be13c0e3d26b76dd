"""A frozen network that tells another one what it makes of images.

Shapes: `B` images, `C, H, W` image, `c` channels that the teacher sees, `D` its features, `h, w`
its map.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models.combined_net import feature_map, pooled_features
from super_selfish.models.dry_run import feature_shape, floating_tensor
from super_selfish.models.one_pass import vectors_and_map, way_to_both
from super_selfish.models.wrappers import unwrapped

Size = tuple[int, int]


class Teacher(nn.Module):
    """A network that never learns: in evaluation mode, without gradients, and in no checkpoint.

    It sees its channels of an image, at its size and with its normalisation, whatever a student
    sees of it. It is part of the module tree, so that it goes where the student goes, but
    `state_dict()` holds nothing of it, and loading leaves it as it is; `digest` tells whether two
    are the same.

    Attributes:
        network: The network.
        name: What it is called, in words.
        in_channels: How many channels it eats.
        own_size: (height, width) in pixels for which it was made; None for one that takes any.
        scaling: `(mean, std)` that it wants images to have, unless `preprocess` knows.
        preprocess: What is done to its channels in [0, 1] before it sees them.
        digest: `[32]`, uint8, SHA-256 of its class, its tensors, and their names.
    """

    holds_networks = True  # see models/holders.py

    def __init__(
        self,
        network: nn.Module,
        name: str,
        in_channels: int,
        *,
        own_size: Size | None = None,
        scaling: tuple[Sequence[float], Sequence[float]] | None = None,
        preprocess: nn.Module | None = None,
    ) -> None:
        """Freezes a network.

        Args:
            network: Is frozen itself: give a copy of what shall stay as it is.
            name: What it is called, in words.
            in_channels: How many channels it eats.
            own_size: For which it was made; None for any.
            scaling: `(mean, std)`, a number per channel, or None.
            preprocess: What else is done to images first, or None.
        """
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.name = name
        self.in_channels = in_channels
        self.own_size = own_size
        self.scaling = scaling
        self.preprocess = nn.Identity() if preprocess is None else preprocess.requires_grad_(False)
        self.digest = digest_of(network)
        self.channels: tuple[int, ...] | None = None
        self.size: Size | None = None

    def look_at(
        self, channels: Sequence[int] | None, size: Size, preprocess: nn.Module | None = None
    ) -> tuple[int, int]:
        """Decides what it sees of the images of a student.

        Args:
            channels: Which of theirs, in the order in which it wants them; None for all.
            size: (height, width) in pixels.
            preprocess: In place of its own, if given.

        Returns:
            Its features, and the channels of its map, 0 if it has none.

        Raises:
            ValueError: If it does not take such images, or makes no finite numbers of them.
        """
        self.channels = None if channels is None else tuple(channels)
        self.size = size
        if preprocess is not None:
            self.preprocess = preprocess.requires_grad_(False)
        try:
            self.way = way_to_both(self.network, self.in_channels, size)
            dim = feature_shape(self.network, self.in_channels, size).dim
            self._require_numbers(size)
            if self.way == "vectors":
                return dim, 0
            return dim, feature_shape(self.network, self.in_channels, size, of_map=True).dim
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"the teacher cannot teach from images of {self.in_channels} channels and "
                f"{size[0]}x{size[1]} pixels (teacher_size= is another size): {error}"
            ) from error

    @torch.no_grad()
    def _require_numbers(self, size: Size) -> None:
        """Refuses a network that says NaN or infinity, of which a student would get the blame."""
        weight = floating_tensor(self.network)
        weight = torch.zeros(()) if weight is None else weight
        if weight.device.type == "meta":  # which says nothing
            return
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(1, self.in_channels, *size, generator=generator).to(weight)
        if not bool(pooled_features(self.network, self.preprocess(images)).isfinite().all()):
            raise ValueError(
                "its features are not finite (NaN or infinity): look at its weights, and at "
                "teacher_normalize="
            )

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What it makes of a student's images.

        Args:
            images: `[B, C, H, W]`, in [0, 1], before what the student does to them.

        Returns:
            `[B, D]` and `[B, D', h, w]`; None where it has no maps.
        """
        return vectors_and_map(self.network, self.seen(images), self.way)

    def seen(self, images: Tensor) -> Tensor:
        """What it sees of images `[B, C, H, W]`: `[B, c, *size]`, with its normalisation."""
        if self.channels is not None:
            chosen = torch.tensor(self.channels, device=images.device)
            images = images.index_select(1, chosen)
        if self.size is not None and images.shape[-2:] != self.size:
            images = resampled(images, self.size)
        preprocessed: Tensor = self.preprocess(images)
        return preprocessed

    def features(self, images: Tensor) -> Tensor:
        """Vectors alone, `[B, D]`, of a student's images."""
        return pooled_features(self.network, self.seen(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """Maps alone, `[B, D', h, w]`, of a student's images."""
        return feature_map(self.network, self.seen(images))

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode."""
        return super().train(False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing: whoever goes on brings the same teacher."""
        given = kwargs.get("destination", args[0] if args else None)
        return OrderedDict() if given is None else given

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Lets what is stored of everything else be loaded without it: it gets its own tensors."""
        state_dict.update(super().state_dict(prefix=prefix))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Shows what it is and what it sees."""
        return f"{self.name}, channels={self.channels}, size={self.size}"


def resampled(maps: Tensor, size: Size) -> Tensor:
    """Images or maps at another size, which show the same: bilinear, and smoothed to be smaller.

    Args:
        maps: `[B, C, H, W]`.
        size: (height, width).

    Returns:
        `[B, C, *size]`; the same, if that is their size.
    """
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)


def digest_of(network: nn.Module) -> Tensor:
    """SHA-256 of a network: of its class, and of name, type, shape and content of each tensor.

    Args:
        network: On any device.

    Returns:
        `[32]`, uint8.
    """
    inside = unwrapped(network)
    found = hashlib.sha256(type(inside).__qualname__.encode())
    for name, value in inside.state_dict().items():
        if isinstance(value, Tensor):
            found.update(f"\n{name} {value.dtype} {list(value.shape)} ".encode())
            if value.device.type != "meta":
                plain = value.detach().cpu().contiguous().reshape(-1)
                found.update(plain.view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(found.digest()), dtype=torch.uint8)
