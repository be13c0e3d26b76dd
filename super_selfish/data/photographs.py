"""Patches of the photographs that scikit-image ships: real images without a download.

For trying things out and for tests: learn on the train patches, recognise from which photograph
a test patch comes. Each photograph is cut across its longer side; its middle quarter gives the
test patches and the two outer parts the train patches, so that no pixel is in both.

Shapes: `N` patches, `H, W` of a photograph, `p` side of a patch.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
_SCALES = (1, 2, 4)  # a photograph is cut as it is, and at a half and a quarter of its size
_LEAST_CONTRAST = 6.0  # standard deviation in grey levels of 255; below it, black border or sky

Split = Literal["train", "test", "all"]


class PhotographPatches(Dataset[tuple[Tensor, int]]):
    """Patches in memory; item `i` is `(images[i], label)`.

    Attributes:
        classes: Names of the photographs, in the order of the labels.
        images: `[N, 3, p, p]` uint8.
        labels: `[N]` int64, the photograph that the patch was cut from.
    """

    def __init__(self, classes: list[str], images: Tensor, labels: Tensor) -> None:
        self.classes = classes
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """A patch `[3, p, p]` and the number of its photograph."""
        return self.images[index], int(self.labels[index])


def photographs(
    patch: int = 64,
    stride: int | None = None,
    split: Split = "train",
    *,
    per_photograph: int = 300,
) -> PhotographPatches:
    """Cuts the photographs of scikit-image into patches; the same ones every time.

    Args:
        patch: Side of a patch, in pixels.
        stride: Step from patch to patch, in pixels; left out, a quarter of `patch`.
        split: Which part of each photograph; "all" makes no difference between the parts, so
            that patches of "all" overlap those of both.
        per_photograph: Most patches of one photograph, spread evenly over it and its smaller
            copies. A small photograph gives fewer.

    Raises:
        ValueError: An option is out of range, or `patch` is too large for one of the photographs.
        FileNotFoundError: This release of scikit-image does not ship them.
    """
    if split not in ("train", "test", "all"):
        raise ValueError(f"split must be 'train', 'test' or 'all', got {split!r}")
    stride = max(1, patch // 4) if stride is None else stride
    for name, value in (("patch", patch), ("stride", stride), ("per_photograph", per_photograph)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    cut: list[Tensor] = []
    for file in PHOTOGRAPHS:
        patches = _patches_of(_read(file), patch, stride, split, per_photograph)
        if len(patches) == 0:
            raise ValueError(
                f"patch must fit every photograph, but {patch} pixels leave no patch of {file} "
                f"for split {split!r}: choose a smaller one"
            )
        cut.append(patches)
    counts = torch.tensor([len(patches) for patches in cut])
    classes = [file.partition(".")[0] for file in PHOTOGRAPHS]
    return PhotographPatches(
        classes, torch.cat(cut), torch.arange(len(cut)).repeat_interleave(counts)
    )


def _read(file: str) -> Image.Image:
    """One photograph in RGB, from the installed package; never from the network."""
    with as_file(files("skimage") / "data" / file) as path:
        if not path.is_file():
            raise FileNotFoundError(
                f"scikit-image does not ship {file} where it is installed ({path}): "
                "install one of its wheels, version 0.19 or newer"
            )
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return image.convert("RGB")


def _patches_of(image: Image.Image, patch: int, stride: int, split: Split, most: int) -> Tensor:
    """At most so many patches with some contrast, `[N, 3, p, p]`, evenly spread."""
    corners: list[tuple[Tensor, int, int]] = []  # pixels, top, left
    for part in _parts(image, split):
        for scale in _SCALES:
            # Reduced after cutting, by whole blocks of pixels: the parts stay disjoint.
            smaller = part.reduce(scale)
            if min(smaller.size) < patch:
                continue
            pixels = torch.from_numpy(np.array(smaller)).permute(2, 0, 1)  # [3, H, W]
            grey = pixels.to(torch.float64).mean(dim=0, keepdim=True)
            mean, square = (F.avg_pool2d(x, patch, stride)[0] for x in (grey, grey.square()))
            contrasts = (square - mean.square()).clamp(min=0).sqrt()
            rich = (contrasts >= _LEAST_CONTRAST).nonzero() * stride
            corners += [(pixels, top, left) for top, left in rich.tolist()]
    count = min(most, len(corners))
    chosen = [corners[position * len(corners) // count] for position in range(count)]
    if not chosen:
        return torch.empty(0, 3, patch, patch, dtype=torch.uint8)
    return torch.stack([p[:, t : t + patch, x : x + patch] for p, t, x in chosen])


def _parts(image: Image.Image, split: Split) -> list[Image.Image]:
    """The regions of a photograph that belong to a split."""
    if split == "all":
        return [image]
    width, height = image.size
    length = max(width, height)
    first, last = length * 3 // 8, length - length * 3 // 8
    spans = [(first, last)] if split == "test" else [(0, first), (last, length)]
    if width >= height:
        return [image.crop((start, 0, stop, height)) for start, stop in spans]
    return [image.crop((0, start, width, stop)) for start, stop in spans]
