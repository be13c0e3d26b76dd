"""The maps of a backbone at several strides, as detectors and decoders want them.

Shapes: `B` images, `C, H, W` image, `D` channels of the last map, `h, w` a map.
"""

from __future__ import annotations

from torch import Tensor, nn

from super_selfish.models.block_mixture import maps_of_blocks, outputs_of
from super_selfish.models.wrappers import unwrapped


class StrideMaps(nn.Module):
    """Gives the last map of a backbone at each size that its maps have, the largest first.

    Any backbone whose blocks are modules in a row: those of this library, torchvision's and timm's.
    The last level is the backbone's own map. It is what torchvision calls a body, for
    `BackboneWithFPN`'s pyramid: `examples/detection.py` builds a Faster R-CNN of it.

    Attributes:
        backbone: The very module that was given; it trains with what follows.
        names: Of the block behind each level but the last, as in `named_modules()`.
        strides: Pixels of a cell of each level, ascending.
        widths: Channels of each level.
    """

    def __init__(
        self,
        backbone: nn.Module,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        *,
        levels: int | None = None,
    ) -> None:
        """Finds the levels by one dry run.

        Args:
            backbone: Gives maps.
            in_channels: `C`.
            image_size: `(H, W)` of usual images, pixels; others may follow.
            levels: How many, from the last one on; `None` for all. Fully convolutional detectors
                take four.

        Raises:
            ValueError: If the backbone has fewer levels, or cannot take such images.
            TypeError: If it gives no map.
        """
        super().__init__()
        found, last = maps_of_blocks(backbone, in_channels, image_size)
        by_size = {maps.shape[2:]: (name, maps) for name, maps in found.items()}  # the last wins
        by_size.pop(last.shape[2:], None)
        chosen = sorted(by_size.values(), key=lambda named: -named[1].shape[2])
        if levels is not None and not 1 <= levels <= len(chosen) + 1:
            sizes = [f"{maps.shape[2]}x{maps.shape[3]}" for maps in (*(m for _, m in chosen), last)]
            raise ValueError(
                f"levels must be from 1 to {len(sizes)}, since of such images "
                f"{type(unwrapped(backbone)).__name__} has maps of {', '.join(sizes)}, got {levels}"
            )
        kept = chosen if levels is None else chosen[len(chosen) + 1 - levels :]
        self.backbone = backbone
        self.names = tuple(name for name, _ in kept)
        maps = [*(own for _, own in kept), last]
        self.strides = tuple(round(image_size[0] / own.shape[2]) for own in maps)
        self.widths = tuple(own.shape[1] for own in maps)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps of images `[B, C, H, W]` by the names "0", "1", ..., the largest first."""
        maps = outputs_of(self.backbone, self.names, images)
        return {str(level): own for level, own in enumerate(maps)}
