"""Measures of features without labels: how many directions they use, and how evenly.

Pure functions of tensors, computed in float64 whatever the features are.

Shapes: `N` images, `D` features, `R` singular values, `min(N, D)`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A feature that varies by less, relative to its mean, is constant: float32 itself makes some 1e-7.
CONSTANT = 1e-5
_PAIRS_PER_BLOCK = 2**23  # float64: 64 MiB


def rankme(features: Tensor, eps: float = 1e-7) -> float:
    """Effective rank: exp of the entropy of the normalised singular values.

    p_k = s_k / sum(s) + eps, RankMe = exp(-sum p_k log p_k): Garrido, Balestriero, Najman and
    LeCun, 2022, "RankMe: Assessing the downstream performance of pretrained self-supervised
    representations by their rank", arXiv 2210.02885, equation 1. The features are not centred, as
    in the paper, so a large common mean lowers it. Compare it between runs of one method on the
    same images only.

    Args:
        features: `[N, D]`.
        eps: Added to every share; the paper's, for float32.

    Returns:
        Between 1 and about `min(N, D)`: with fewer images than features it is the number of images
        that bounds it. 0 if all features are zero.
    """
    _check_rows(features)
    singular = torch.linalg.svdvals(features.double())  # [R]
    total = singular.sum()
    if total == 0:
        return 0.0
    shares = singular / total + eps
    entropy = -(shares * shares.log()).sum()
    return float(entropy.exp())


def variance_shares(features: Tensor) -> Tensor:
    """Share of the variance over images that each principal direction carries.

    Args:
        features: `[N, D]`; centred here.

    Returns:
        `[R]` float64, largest first, of sum 1; all 0 if the features do not vary.
    """
    _check_rows(features)
    features = features.double()
    variances = torch.linalg.svdvals(features - features.mean(dim=0)).square()  # [R]
    total = variances.sum()
    return variances / total if total > 0 else torch.zeros_like(variances)


def directions_carrying(shares: Tensor, part: float = 0.99) -> int:
    """How many principal directions together carry a part of the variance.

    Args:
        shares: `[R]`, largest first, as `variance_shares` gives them.
        part: Of the variance, in (0, 1).

    Returns:
        The smallest number; 0 if there is no variance.
    """
    if not 0.0 < part < 1.0:
        raise ValueError(f"part is a share in (0, 1), got {part}")
    if shares.sum() == 0:
        return 0
    return int((shares.cumsum(0) < part).sum()) + 1


def dead_share(features: Tensor) -> float:
    """Share of the features that are the same for every image.

    Args:
        features: `[N, D]`.

    Returns:
        In [0, 1].
    """
    _check_rows(features)
    features = features.double()
    spread = features.std(dim=0, correction=0)
    return float((spread <= CONSTANT * features.mean(dim=0).abs()).double().mean())


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of the directions of two views of an image.

    Wang and Isola, 2020, "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere", arXiv 2005.10242, section 4.1, alpha = 2.

    Args:
        first: `[N, D]`; normalised here.
        second: `[N, D]`, of the same images in the same order.

    Returns:
        In [0, 4], 0 if the views agree; a collapsed network has 0 as well.
    """
    _check_alike(first, second)
    difference = F.normalize(first.double(), dim=1) - F.normalize(second.double(), dim=1)
    return float(difference.square().sum(dim=1).mean())


def uniformity(features: Tensor) -> float:
    """How evenly directions fill the sphere: log of the mean of exp(-2 d^2) over pairs of images.

    Wang and Isola, 2020, arXiv 2005.10242, section 4.1, t = 2.

    Args:
        features: `[N, D]`, at least two rows; normalised here.

    Returns:
        At most 0, which is complete collapse; about -3.9 for independent directions of 64 or more
        dimensions.
    """
    _check_rows(features)
    if len(features) < 2:
        raise ValueError("uniformity is of pairs of images: give at least two")
    units = F.normalize(features.double(), dim=1)
    images = len(units)
    total = torch.zeros((), dtype=units.dtype, device=units.device)
    for block in units.split(max(1, _PAIRS_PER_BLOCK // images)):
        total += (4.0 * (block @ units.T) - 4.0).exp().sum()  # -2 d^2, where d^2 = 2 - 2 cosine
    of_themselves = (4.0 * units.square().sum(dim=1) - 4.0).exp().sum()
    return float(((total - of_themselves) / (images * (images - 1))).log())


def retrieval(features: Tensor, views: Tensor) -> float:
    """How often the nearest of all images to a view of one is that one, by cosine.

    It asks whether features tell images apart and know them again, so neither a network that has
    collapsed nor one that minds every pixel scores high. Over algorithms it agrees with accuracy
    (`benchmarks/results/retrieval.md`); which image is the nearest depends on how many there are,
    so compare it on the same images only.

    Args:
        features: `[N, D]`; normalised here.
        views: `[N, D]` of one view of each, in the same order.

    Returns:
        In [0, 1]; 1 / N where all images have the same features.
    """
    _check_alike(features, views)
    units = F.normalize(features.double(), dim=1)
    asked = F.normalize(views.double(), dim=1)
    own = torch.arange(len(units), device=units.device)
    block = max(1, _PAIRS_PER_BLOCK // len(units))
    found = [(some @ units.T).argmax(dim=1) for some in asked.split(block)]
    return float((torch.cat(found) == own).double().mean())


def _check_alike(first: Tensor, second: Tensor) -> None:
    """Refuses features of views that are not of the same images."""
    _check_rows(first)
    if first.shape != second.shape:
        raise ValueError(
            f"both views must have the same shape, got {[*first.shape]} and {[*second.shape]}"
        )


def _check_rows(features: Tensor) -> None:
    """Refuses anything but `[N, D]` with something in it."""
    if features.dim() != 2 or features.numel() == 0:
        raise ValueError(f"features must be [N, D], got {[*features.shape]}")
