"""How healthy is a backbone? Its features on images without labels, measured and judged.

A network that has collapsed gives all images the same features, or features that vary in a few
directions only, while its loss may look excellent. These measures need no labels.

Shapes: `N` images, `D` features, `B` batch, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import mild_views
from super_selfish.evaluation.features import LabelledSource, extract, open_data
from super_selfish.evaluation.health.measures import (
    alignment,
    rankme,
    retrieval,
    uniformity,
    variance_shares,
)
from super_selfish.evaluation.health.twin import TwinMeasures, measures_of, settling
from super_selfish.evaluation.health.verdict import (
    CLOSE,
    TOO_EARLY,
    Measures,
    Verdict,
    judge,
    judge_images,
)
from super_selfish.evaluation.looking import features_of
from super_selfish.evaluation.rated_network import open_network
from super_selfish.markup import Sentence, card
from super_selfish.training.counting import plural


@dataclass(frozen=True)
class Health:
    """Measures of a backbone's features, and what they mean; prints as a block.

    Attributes:
        images: `N`, images that were looked at.
        features: `D`, features of an image.
        rankme: Effective rank, at most `min(N, D)`; see `measures.rankme`.
        directions: Principal directions that carry 99 % of the variance over images.
        top_variance: Share of the variance that the first of them carries, in [0, 1].
        feature_std: Standard deviation of normalised features over images, relative to
            1 / sqrt(D): about 1 for independent directions, 0 if all images have the same.
        alignment: Mean squared distance of two views of an image, in [0, 4]; lower is better,
            unless all images are near one another.
        uniformity: How evenly the views fill the sphere, at most 0; lower is better.
        dead: Share of features that are the same for every image, in [0, 1].
        retrieval: How often the nearest of the images to a view of one is that one, in [0, 1];
            higher is better. It agrees with accuracy better than the others do, see
            `measures.retrieval`.
        is_healthy: Whether nothing is wrong that these measures can see; no while they cannot tell.
        verdict: One sentence that begins with the finding, such as "healthy: ..." or
            "collapsed: ...".
    """

    images: int
    features: int
    rankme: float
    directions: int
    top_variance: float
    feature_std: float
    alignment: float
    uniformity: float
    dead: float
    retrieval: float
    is_healthy: bool
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, fit for JSON."""
        return asdict(self)

    @property
    def measures(self) -> dict[str, str]:
        """Each measure in words, by name."""
        bound = min(self.images, self.features)
        of_images = " (bounded by the images: give more)" if self.images < self.features else ""
        return {
            "RankMe": f"{self.rankme:.1f} of at most {bound}{of_images}",
            "variance": f"99 % in {self.directions} directions, {self.top_variance:.0%} in one",
            "feature std": f"{self.feature_std:.3f} (1: independent, 0: all the same)",
            "alignment": f"{self.alignment:.3f} (0: views of an image agree)",
            "uniformity": f"{self.uniformity:.3f} (0: all images at one point, -3.9: spread out)",
            "dead features": f"{self.dead:.1%}",
            "retrieval": f"{self.retrieval:.1%} of images are the nearest to a view of themselves",
        }

    @property
    def _looked_at(self) -> str:
        return f"{plural(self.images, 'image')}, {plural(self.features, 'feature')}"

    def __str__(self) -> str:
        """The verdict, and below it a line for each measure."""
        measures = self.measures
        width = max(map(len, measures))
        lines = [f"  {name:<{width}}  {text}" for name, text in measures.items()]
        return "\n".join([self.verdict, *lines, f"  {self._looked_at}"])

    def _repr_html_(self) -> str:
        """The same as a notebook shows it, the verdict marked."""
        unknown = "" if self.verdict.startswith(TOO_EARLY) else "bad"
        return card(
            "Health of the features",
            verdict=Sentence(self.verdict, "good" if self.is_healthy else unknown),
            sentences=[f"{name}: {text}" for name, text in self.measures.items()],
            remarks=[f"{self._looked_at}; judged without labels"],
        )


def health(
    backbone: Any,
    images: Any,
    *,
    num_images: int | None = 2048,
    augmentation: Augmentation | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    preprocess: nn.Module | None = None,
    seed: int = 0,
) -> Health:
    """Measures and judges the features of a backbone; needs no labels and trains nothing.

    What looks ill is compared with an untrained network of the same kind on the same images: what
    that shows too is no fault of training. So are features near one another: those of the untrained
    network should not lie further apart. A supervisor says what would help its algorithm. While the
    statistics of batch norm are young, the verdict is that it is too early to judge (`settling`).

    The backbone runs in eval mode and is afterwards what it was before. Torch's own random stream
    is left alone.

    Args:
        backbone: Any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`, or a supervisor:
            anything with `get_backbone()`, whose `preprocess`, `image_size` and `in_channels` are
            then used unless they are given here.
        images: Whatever `as_source` takes; labels are not looked at.
        num_images: At most so many of them are used, evenly spread; `None` uses all. RankMe cannot
            exceed it, and is steady from twice the number of features on.
        augmentation: Makes the two views for alignment, uniformity and retrieval from images in
            [0, 1]; it keeps their size. Default: `mild_views`.
        batch_size: Images per forward pass.
        num_workers: Processes that load images; 0 loads in this one.
        image_size: Images are brought to this size in pixels, a side or (height, width).
        in_channels: Images are brought to this many channels.
        preprocess: Applied to images in [0, 1] before the backbone.
        seed: Of the views.

    Returns:
        Measures and verdict.

    Raises:
        ValueError: If there are fewer than two images, or the features are not finite.
        TypeError: If `backbone` is none of the above.
    """
    advice = getattr(backbone, "against_collapse", None)
    network = open_network(backbone, preprocess, image_size, in_channels)
    data = open_data(images, network.image_size, network.in_channels, network.reading)
    source = spread_images(data, num_images)
    views = mild_views(source.images.image_size) if augmentation is None else augmentation
    seen = extract_with_views(
        network.module,
        source,
        views,
        batch_size=batch_size,
        num_workers=num_workers,
        preprocess=network.preprocess,
        seed=seed,
    )
    twin = TwinMeasures(
        network.module,
        source,
        network.preprocess,
        batch_size=batch_size,
        num_workers=num_workers,
    )
    return health_of_features(
        seen.features,
        seen.first,
        seen.second,
        blameless=judge_images(seen.brightest, seen.deviation),
        unsettled=settling(network.module),
        untrained=twin,
        advice=advice,
    )


def health_of_features(
    features: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    blameless: Verdict | None = None,
    unsettled: Verdict | None = None,
    untrained: Callable[[], Measures | None] | None = None,
    advice: str | None = None,
) -> Health:
    """Measures and judges features that are already there.

    Args:
        features: `[N, D]` of the images as they are, at least two.
        first: `[N, D]` of a view of each.
        second: `[N, D]` of another view of each.
        blameless: What is to be said if the features do not look healthy, for a reason that is not
            in them.
        unsettled: What is to be said of a network that cannot be judged yet, however they look.
        untrained: Measures the untrained twin; asked only if the features do not look healthy, or
            lie near one another.
        advice: What would help against a collapse, as the algorithm says it.

    Returns:
        Measures and verdict.

    Raises:
        ValueError: If the shapes do not match, or there are fewer than two images.
    """
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(
            f"health compares images: expected features [N, D] of at least 2, "
            f"got {list(features.shape)}"
        )
    shares = variance_shares(features)
    found = measures_of(features, shares)
    images, dim = features.shape

    def judged_beside(twin: Measures | None) -> Verdict:
        return judge(
            images=images,
            features=dim,
            directions=found.directions,
            feature_std=found.feature_std,
            dead=found.dead,
            untrained=twin,
            advice=advice,
        )

    judged = judged_beside(None)
    if not judged.is_healthy and blameless is not None:
        judged = blameless
    elif unsettled is not None:
        judged = unsettled
    elif untrained is not None and (not judged.is_healthy or found.feature_std < CLOSE):
        judged = judged_beside(untrained())
    return Health(
        images=images,
        features=dim,
        rankme=rankme(features),
        directions=found.directions,
        top_variance=float(shares[0]),
        feature_std=found.feature_std,
        alignment=alignment(first, second),
        uniformity=(uniformity(first) + uniformity(second)) / 2,  # as the authors' code does
        dead=found.dead,
        retrieval=(retrieval(features, first) + retrieval(features, second)) / 2,
        is_healthy=judged.is_healthy,
        verdict=judged.sentence,
    )


def spread_images(source: LabelledSource, most: int | None) -> LabelledSource:
    """At most so many images of a source, evenly spread over it, always the same.

    Args:
        source: The images, and perhaps labels.
        most: How many; `None` for all.

    Returns:
        A source of the chosen ones.

    Raises:
        ValueError: If `most` is below two.
    """
    if most is not None and most < 2:
        raise ValueError(f"num_images must be at least 2, got {most}")
    total = source.images.at_hand
    if source.images.has_random_access and (most is None or total <= most):
        return source
    most = total if most is None else min(most, total)
    chosen = torch.linspace(0, total - 1, most, dtype=torch.float64).round().long()
    labels = None if source.labels is None else source.labels[chosen]
    return LabelledSource(source.images.subset(chosen.tolist()), labels)


def extract_with_views(
    backbone: nn.Module,
    source: LabelledSource,
    augmentation: Augmentation,
    *,
    batch_size: int,
    num_workers: int = 0,
    preprocess: nn.Module | None = None,
    seed: int = 0,
) -> Seen:
    """Features of each image and of two views of it; every image is read once.

    Args:
        backbone: As for `extract_features`.
        source: As for `extract_features`.
        augmentation: Makes a view of images in [0, 1], of the same size.
        batch_size: Images per batch, each of which makes three forward passes.
        num_workers: As for `extract_features`.
        preprocess: As for `extract_features`.
        seed: Of the views.

    Returns:
        `[N, D]` three times, as they are, first and second view; and what the images show.
    """
    threefold = _Threefold(backbone, preprocess, augmentation, seed)
    found = extract(threefold, source, batch_size=batch_size, num_workers=num_workers)
    plain, first, second = found.features[:, :-1].chunk(3, dim=1)
    return Seen(
        plain,
        first,
        second,
        brightest=float(found.features[:, -1].mean()),
        deviation=threefold.deviation(),
    )


class Seen(NamedTuple):
    """Features of images and of their views, and what the images show."""

    features: Tensor  # [N, D]
    first: Tensor  # [N, D]
    second: Tensor  # [N, D]
    brightest: float  # of an image, mean over the images, in [0, 1]
    deviation: float  # of a pixel over the images, mean over the pixels


class _Threefold(nn.Module):
    """Gives the features of images and of two views of them side by side, and their maximum.

    Shape:
        `[B, C, H, W]` to `[B, 3 D + 1]`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocess: nn.Module | None,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.generator = torch.Generator().manual_seed(seed)
        self.count = 0
        self.sums: tuple[Tensor, Tensor] | None = None  # of values and squares, [C, H, W] each

    def deviation(self) -> float:
        """Standard deviation of a pixel over the images so far, mean over the pixels."""
        if self.sums is None:
            return 0.0
        mean, square = (total / self.count for total in self.sums)
        return float((square - mean.square()).clamp(min=0).sqrt().mean())

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.detach().cpu().double()
        sums = (pixels.sum(dim=0), pixels.square().sum(dim=0))
        self.sums = sums if self.sums is None else (self.sums[0] + sums[0], self.sums[1] + sums[1])
        self.count += len(images)
        views = [images, *(self.augmentation(images, self.generator) for _ in range(2))]
        if self.preprocess is not None:
            views = [self.preprocess(view) for view in views]
        features = [features_of(self.backbone, view) for view in views]
        brightest = images.flatten(1).amax(dim=1, keepdim=True).float()
        return torch.cat([*features, brightest], dim=1)
