"""Other people's augmentation pipelines, with the parameters of a recipe given.

Each is imported where it is used, so that one that is missing leaves out its own row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.transforms import v2

Jitter = tuple[float, float, float, float]


class Transformed(Dataset[Any]):
    """PIL images, through a transform that makes views."""

    def __init__(self, images: Sequence[Image.Image], transform: Any) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        """Views of one image."""
        return self.transform(self.images[index])


def lightly_view(size: int, min_scale: float, jitter: Jitter, blur: float) -> Any:
    """View transform of lightly, from a PIL image to a tensor `[C, H, W]`."""
    from lightly.transforms.simclr_transform import SimCLRViewTransform

    brightness, contrast, saturation, hue = jitter
    return SimCLRViewTransform(
        input_size=size,
        cj_prob=0.8,
        cj_strength=1.0,
        cj_bright=brightness,
        cj_contrast=contrast,
        cj_sat=saturation,
        cj_hue=hue,
        min_scale=min_scale,
        random_gray_scale=0.2,
        gaussian_blur=blur,
        normalize=None,
    )


def torchvision_view(size: int, min_scale: float, jitter: Jitter, blur: float) -> Any:
    """Transform of torchvision v2, from a PIL image to two views `[C, H, W]`, as tensors."""
    steps = [
        v2.ToImage(),
        v2.RandomResizedCrop(size, scale=(min_scale, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(*jitter)], p=0.8),
        v2.RandomGrayscale(0.2),
    ]
    if blur:
        taps = max(3, 2 * (size // 20) + 1)
        steps.append(v2.RandomApply([v2.GaussianBlur(taps, (0.1, 2.0))], p=blur))
    view = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])
    return lambda image: (view(image), view(image))


def kornia_view(size: int, min_scale: float, jitter: Jitter, blur: float, kernel: int) -> Any:
    """Batched view of kornia, from float `[B, C, H, W]` to the same."""
    from kornia import augmentation as kornia

    steps = [
        kornia.RandomResizedCrop((size, size), scale=(min_scale, 1.0)),
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.ColorJitter(*jitter, p=0.8),
        kornia.RandomGrayscale(p=0.2),
    ]
    if blur:
        steps.append(kornia.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=blur))
    return kornia.AugmentationSequential(*steps)


def cpc_of_pil(size: int, seed: int = 0) -> Callable[[Image.Image], Tensor]:
    """The primitives of our CPC recipe by torchvision on PIL images, and by elasticdeform."""
    import elasticdeform

    random = np.random.default_rng(seed)

    def factor() -> float:
        return float(random.uniform(0.1, 1.9))

    def affine(image: Image.Image, **changed: Any) -> Image.Image:
        settings = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **changed}
        return TF.affine(image, interpolation=TF.InterpolationMode.BILINEAR, **settings)

    def shift() -> int:
        return round(float(random.uniform(-0.3, 0.3)) * size)

    erase = transforms.RandomErasing(1.0, (0.02, 0.33), (0.3, 3.3))
    primitives: Sequence[Callable[[Image.Image], Image.Image]] = (
        lambda image: affine(image, angle=float(random.uniform(-30, 30))),
        lambda image: affine(image, shear=[float(random.uniform(-30, 30)), 0.0]),
        lambda image: affine(image, translate=[shift(), shift()]),
        TF.autocontrast,
        TF.invert,
        TF.equalize,
        lambda image: TF.solarize(image, 128),
        lambda image: TF.posterize(image, int(random.integers(5, 9))),
        lambda image: TF.adjust_saturation(image, factor()),
        lambda image: TF.adjust_brightness(image, factor()),
        lambda image: TF.adjust_contrast(image, factor()),
        lambda image: TF.adjust_sharpness(image, factor()),
        lambda image: TF.to_pil_image(erase(TF.to_tensor(image))),
    )

    def view(image: Image.Image) -> Tensor:
        image = TF.resize(image, [size, size])
        for choice in random.integers(len(primitives), size=3):
            image = primitives[choice](image)
        if random.random() < 0.2:
            displacement = random.normal(0.0, 10.0 * size / 225, (2, 3, 3))
            deformed = elasticdeform.deform_grid(np.asarray(image), displacement, axis=(0, 1))
            image = Image.fromarray(deformed)
        if random.random() < 0.25:
            image = TF.rgb_to_grayscale(image, 3)
        return TF.to_tensor(image)

    return view


def on_each(view: Callable[[Image.Image], Tensor], images: Sequence[Image.Image]) -> Tensor:
    """Views of images, one after the other, as a batch."""
    return torch.stack([view(image) for image in images])
