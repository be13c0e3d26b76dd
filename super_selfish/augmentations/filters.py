"""Gaussian blur with a width of its own per sample.

Separable: one pass down, one pass across. The shortest kernels are sums of shifted images, others a
convolution with one group a sample and channel, on a CPU in oneDNN's own layout; measured there,
the first wins at 3 taps, and compiled always.

Shapes: `B` samples, `C, H, W` image, `k` kernel size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.chunks import map_chunks
from super_selfish.augmentations.compiled import compiled_where_wanted, is_wanted
from super_selfish.augmentations.draws import uniform

LONGEST_SUM = 3  # taps; see the module docstring
BLOCK = 16  # samples; whatever their channels, they fill oneDNN's blocks of 16


def blur_kernel_size(height: int, width: int) -> int:
    """Kernel size that the papers use for an image of this size: odd, a tenth of the side.

    SimCLR (Chen et al. 2020, arXiv 2002.05709, appendix A): "the kernel size is set to be 10 % of
    the image height/width"; 23 at 224 pixels, 3 at 32. We take the shorter side, and 3 at least.

    Args:
        height: Pixels.
        width: Pixels.

    Returns:
        The kernel size in pixels.
    """
    return max(3, 2 * (min(height, width) // 20) + 1)


def gaussian_blur(images: Tensor, sigmas: Tensor, kernel_size: int | None = None) -> Tensor:
    """Blurs every sample with its own Gaussian; borders are reflected.

    Args:
        images: `[B, C, H, W]`, float.
        sigmas: `[B]`, greater than 0, in pixels.
        kernel_size: Odd, in pixels; `blur_kernel_size` of the image if None.

    Returns:
        `[B, C, H, W]`.

    Raises:
        ValueError: If there is not one positive sigma a sample, or the kernel does not fit.
    """
    height, width = images.shape[2:]
    size = blur_kernel_size(height, width) if kernel_size is None else kernel_size
    if sigmas.shape != images.shape[:1]:
        raise ValueError(
            f"sigmas must hold one number per sample, shape ({len(images)},), "
            f"got {tuple(sigmas.shape)}"
        )
    # Only where looking is free: on another device it would wait for everything before it.
    if sigmas.device.type == "cpu" and bool((sigmas <= 0.0).any()):
        raise ValueError(f"sigmas must be > 0 pixels, got {float(sigmas.min()):.4g}")
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and >= 1, got {size}")
    if size // 2 >= min(height, width):
        raise ValueError(
            f"a kernel of {size} pixels needs sides longer than {size // 2}, got {height}x{width}: "
            "pass a smaller kernel_size"
        )
    if len(images) == 0:
        return images.clone()
    kernels = gaussian_kernels(sigmas, size).to(images, non_blocking=True)
    if size <= LONGEST_SUM or is_wanted():
        return map_chunks(_blur_by_sums, images, kernels)
    return _blur_by_convolution(images, kernels)


def gaussian_kernels(sigmas: Tensor, kernel_size: int) -> Tensor:
    """One-dimensional Gaussians that add up to one.

    Args:
        sigmas: `[B]`, in pixels.
        kernel_size: Odd.

    Returns:
        `[B, k]`, on the device of `sigmas`.
    """
    offsets = torch.arange(kernel_size, device=sigmas.device) - kernel_size // 2
    weights = torch.softmax(-0.5 * (offsets / sigmas[:, None]) ** 2, dim=1)
    # What no sum can feel is zero: the tails of a narrow Gaussian are so small that processors
    # leave their fast path for them, which made a blur of 225 pixels take 3 times as long.
    return weights.where(weights > torch.finfo(weights.dtype).eps ** 2, 0.0)


def _blur_by_sums(images: Tensor, kernels: Tensor) -> Tensor:
    padded = F.pad(images, (kernels.shape[1] // 2,) * 4, mode="reflect")
    rows = compiled_where_wanted(_sum_of_rows)(padded, kernels)
    blurred: Tensor = compiled_where_wanted(_sum_of_columns)(rows, kernels)
    return blurred


def _sum_of_rows(padded: Tensor, kernels: Tensor) -> Tensor:
    return _sum_of_shifts(padded, kernels, 2)


def _sum_of_columns(padded: Tensor, kernels: Tensor) -> Tensor:
    return _sum_of_shifts(padded, kernels, 3)


def _sum_of_shifts(padded: Tensor, kernels: Tensor, dim: int) -> Tensor:
    radius = kernels.shape[1] // 2
    length = padded.shape[dim] - 2 * radius
    weights = kernels.view(*kernels.shape, 1, 1, 1).unbind(1)  # k times (b, 1, 1, 1)
    blurred = padded.narrow(dim, radius, length) * weights[radius]
    for shift in range(radius):  # a Gaussian is symmetric: two shifts share a weight
        left = padded.narrow(dim, shift, length)
        right = padded.narrow(dim, 2 * radius - shift, length)
        blurred = blurred.addcmul_(left + right, weights[shift])
    return blurred


def _blur_by_convolution(images: Tensor, kernels: Tensor) -> Tensor:
    in_blocks = _can_block(images)
    count = round(len(images) / BLOCK) if in_blocks else 1
    if count <= 1:
        return _convolve(images, kernels, in_blocks)
    parts = zip(images.chunk(count), kernels.chunk(count), strict=True)
    return torch.cat([_convolve(*part, in_blocks) for part in parts])


def _convolve(images: Tensor, kernels: Tensor, in_blocks: bool) -> Tensor:
    batch, channels, height, width = images.shape
    radius = kernels.shape[1] // 2
    weights = kernels.repeat_interleave(channels, dim=0)[:, None]  # (B * C, 1, k)
    padded = F.pad(images, (radius,) * 4, mode="reflect")
    planes = padded.view(1, batch * channels, height + 2 * radius, width + 2 * radius)
    if in_blocks:
        planes = planes.to_mkldnn()
    planes = F.conv2d(planes, weights[..., :, None], groups=batch * channels)
    planes = F.conv2d(planes, weights[..., None, :], groups=batch * channels)
    return (planes.to_dense() if in_blocks else planes).view(images.shape)


def _can_block(images: Tensor) -> bool:
    """Whether oneDNN can lay sixteen channels side by side: twice as fast for so many groups."""
    library = torch.backends.mkldnn
    if images.device.type != "cpu" or not (library.is_available() and library.enabled):
        return False
    is_plain = images.dtype == torch.float32 and not images.requires_grad
    return is_plain and not torch.is_autocast_enabled("cpu") and not torch.jit.is_tracing()


class BlurParameters(NamedTuple):
    """What a blur drew."""

    sigmas: Tensor  # (B,) pixels


class RandomGaussianBlur(Augmentation):
    """`gaussian_blur` with sigma from U(low, high).

    Sigma is in pixels of the image as it comes, as in the code of SimCLR and MoCo v2, whose 0.1 to
    2.0 belong to 224 pixels. They do not scale it with the image, and neither do we: at another
    resolution, choose the range.
    """

    def __init__(
        self, sigma: tuple[float, float] = (0.1, 2.0), kernel_size: int | None = None
    ) -> None:
        """Takes the range of sigma; its default is SimCLR's and MoCo v2's.

        Args:
            sigma: Lowest and highest, in pixels.
            kernel_size: Odd, in pixels; `blur_kernel_size` of the image if None.

        Raises:
            ValueError: If the range is empty or not positive, or the kernel size is even.
        """
        low, high = sigma
        if not 0.0 < low <= high:
            raise ValueError(f"sigma needs 0 < low <= high, got {sigma}")
        if kernel_size is not None and (kernel_size < 1 or kernel_size % 2 == 0):
            raise ValueError(f"kernel_size must be odd and >= 1, got {kernel_size}")
        self.sigma = sigma
        self.kernel_size = kernel_size

    def draw(self, shape: Shape, generator: torch.Generator) -> BlurParameters:
        """Draws the sigmas."""
        low, high = self.sigma
        return BlurParameters(uniform(shape[0], low, high, generator))

    def apply(self, images: Tensor, parameters: BlurParameters) -> Tensor:
        """Blurs every sample."""
        return gaussian_blur(images, parameters.sigmas, self.kernel_size)
