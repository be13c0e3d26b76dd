"""What the measures of a backbone's features mean, in one sentence.

The limits lie between networks that were looked at (512 images of Fashion-MNIST or CIFAR-10, eval
mode). "99 %" is the number of directions that carry 99 % of the variance, of D features:

| network | feature std | 99 % of D | RankMe |
|---|---|---|---|
| rotate, MoCo, denoise, BYOL, 60 to 130 steps | 0.47 to 0.60 | 37 to 89 of 128 | 29 to 52 |
| untrained NarrowResNet, width 8 and 32 | 0.15 to 0.32 | 28 of 64 to 107 of 256 | 14 to 62 |
| untrained EfficientNet-B0, batch and layer norm | 0.51 to 0.89 | 64 to 268 of 1280 | 62 to 204 |
| untrained ResNet-18, MobileNetV3 | 0.17, 0.43 | 120 of 512, 42 of 576 | 61, 29 |
| untrained ResNet-50 | 0.08 to 0.10 | 125 to 145 of 2048 | 42 to 48 |
| BYOL, no momentum, no head, 50, 150, 300 steps | 0.17, 0.10, 0.06 | 51, 50, 48 of 64 | 17, 10, 6 |
| views pulled together, 50, 150, 300 steps | 0.21, 0.13, 0.09 | 50, 48, 44 of 64 | 18, 11, 7 |
| untrained, eight convolutions without a norm | 0.0015 | 18 of 64 | 1.1 |
| a constant, and 1 % or 0.1 % noise | 0.010, 0.001 | 237 of 256 | 3, 1.2 |
| three directions | 0.92 | 3 of 256 | 3.0 |

So the two ways of collapsing are told by different measures: into a point by the feature std, which
batch norm inside the backbone slows down, into few directions by the variance. A deep network that
is untrained may be near a point as well; after a hundred steps of training none was. "Healthy" says
that the features are of use to a classifier at all, not that they are good.
"""

from __future__ import annotations

from typing import NamedTuple

POINT = 0.02  # feature std below which all images have the same features
NEAR = 0.1  # below which they nearly have
FEW = 0.01  # share of the directions that could be used, below which the rank has collapsed
FEW_AT_LEAST = 3  # directions, for networks of so few features that 1 % is less
NARROW = 0.04  # below which it is low
DEAD = 0.5  # share of features

REMEDY = "raise the batch size or lower the learning rate"


class Verdict(NamedTuple):
    """A finding."""

    is_healthy: bool
    sentence: str


def judge(
    *, images: int, features: int, directions: int, feature_std: float, dead: float
) -> Verdict:
    """Judges, by the worst that it finds.

    Args:
        images: `N`.
        features: `D`.
        directions: Principal directions that carry 99 % of the variance; 0 if nothing varies.
        feature_std: Standard deviation of normalised features, relative to 1 / sqrt(D).
        dead: Share of the features that are the same for every image, in [0, 1].

    Returns:
        Whether all is well, and a sentence that begins with the finding.
    """
    possible = min(images - 1, features)  # directions, after centring
    few = max(FEW * possible, min(FEW_AT_LEAST, possible // 8))
    carried = f"{directions} of {features} directions carry 99 % of the variance"
    spread = f"they spread over {feature_std:.1%} of what independent ones would"
    if directions == 0 or dead == 1.0:
        return Verdict(
            False,
            f"collapsed: all {images} images have the same features; lower the learning rate, and "
            "begin again from weights that are not collapsed",
        )
    if feature_std < POINT:
        return Verdict(
            False, f"collapsed: all images have nearly the same features, {spread}; {REMEDY}"
        )
    if directions <= few:
        return Verdict(False, f"collapsed: {carried}; {REMEDY}")
    if dead >= DEAD:
        return Verdict(
            False,
            f"dead features: {dead:.0%} of {features} are the same for every image; lower the "
            "learning rate",
        )
    if feature_std < NEAR:
        return Verdict(
            False,
            f"close to collapse: the features of different images are much alike, {spread}; "
            f"{REMEDY}",
        )
    if directions <= NARROW * possible:
        return Verdict(False, f"low rank: {carried}; {REMEDY}, or make the pretext task harder")
    bound = f" (of {possible} that {images} images can show)" if possible < features else ""
    return Verdict(
        True,
        f"healthy: {carried}{bound}, and images differ: their features spread over "
        f"{feature_std:.0%} of what independent ones would",
    )
