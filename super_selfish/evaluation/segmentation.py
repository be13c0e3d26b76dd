"""Segmentation by a linear head on the frozen maps of a backbone.

A 1x1 convolution gives each cell of the map a score for each class; the scores are enlarged to the
mask by bilinear interpolation, and each pixel is given the class with the largest. That is the
"linear" or "dense" probe of segmentation papers, which train it by stochastic gradient descent.

Enlarging the scores of a linear head is the same as a linear head on the enlarged map, so that the
head is a logistic regression of pixels on features that are interpolated between the cells: it is
solved (`logistic.py`) for pixels that are drawn from the training masks, as many from each image,
and as for the linear probe the strength of its penalty is chosen on images held out of the training
part. Each network is given the same pixels. The test part is read once, all of its pixels count.

Shapes: `N` training images, `M` test images, `D` channels, `h, w` map, `H, W` mask, `P` pixels,
`Y` classes, `B` batch.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.data.masks import IGNORED, Masks
from super_selfish.evaluation.feature_maps import FeatureMaps
from super_selfish.evaluation.influences import mean_iou_influences, ratio_influences
from super_selfish.evaluation.linear import regularization_path
from super_selfish.evaluation.logistic import (
    LinearClassifier,
    LogisticRegression,
    fit_standardisation,
)
from super_selfish.evaluation.metrics import confusion_matrix, mean_iou, pixel_accuracy
from super_selfish.evaluation.scoring import Score, Subject, average_draws, measured_once

REGULARIZATIONS = (1e-1, 1e-2, 1e-3, 1e-4)
FALLBACK = 1e-2  # where one image is all there is, so that none can be held out
VALIDATION = 0.2  # of the images
MOST_PIXELS = (
    20_000  # to learn from; with 40,000 of 60 images mean IoU was the same within 0.3 points
)
MOST_NUMBERS = 2**25  # features of all of these: fewer pixels of wide maps
_AT_ONCE = 2**24  # scores of pixels in memory


class Pixels(NamedTuple):
    """Pixels to learn from."""

    features: Tensor  # [P, D] float32, CPU
    classes: Tensor  # [P] int64, numbers in the masks
    images: Tensor  # [P] int64, which image each is of


class Counts(NamedTuple):
    """What a head takes for what, in all test images together and by image."""

    confusion: Tensor  # [Y, Y] int64: rows are the masks, columns the predictions
    hits: Tensor  # [M, Y] int64, pixels of a class that are given it
    unions: Tensor  # [M, Y] int64, pixels of a class or given it


class Head(NamedTuple):
    """A fitted 1x1 convolution."""

    classes: Tensor  # [Y] int64, of each channel
    classifier: LinearClassifier  # of features as they are
    regularization: float


@dataclass(frozen=True)
class Segmentation:
    """The protocol: `Segmentation(images=20)` goes into `PROTOCOLS` under any name.

    Attributes:
        share: Of the training images, in (0, 1], at least one; `None` for all of them.
        images: So many of them instead; of fewer, all.
        draws: How often to draw them, >= 1, if not all are used.
    """

    share: float | None = None
    images: int | None = None
    draws: int = 5
    wants_masks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuses numbers out of range.

        Raises:
            ValueError: If there are both `share` and `images`, or one is out of range.
        """
        if self.share is not None and self.images is not None:
            raise ValueError("give share or images, or neither for all, not both")
        if self.share is not None and not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must be in (0, 1], got {self.share}")
        if self.images is not None and self.images < 1:
            raise ValueError(f"images must be >= 1, got {self.images}")
        if self.draws < 1:
            raise ValueError(f"draws must be >= 1, got {self.draws}")

    def __call__(self, subject: Subject) -> Score:
        """Fits a head to every draw and tests each on all test pixels.

        Returns:
            The mean IoU, "pixel_accuracy" among the metrics, and as settings "pixels", on which a
            head was fitted, and "regularization"; of draws also "labels", the images, and "draws".
        """
        masks, (maps, test_maps) = subject.masks, subject.maps
        train_masks, test_masks = masks
        heads, pixels, images = [], 0, 0
        generator = torch.Generator().manual_seed(subject.seed)
        for number, drawn in enumerate(self.draw(train_masks, generator)):
            some = draw_pixels(maps, train_masks.numbers, drawn, subject.seed + number)
            heads.append(fit_head(some, subject.seed + number))
            pixels, images = len(some.classes), len(drawn)
        classes = torch.cat([train_masks.classes, test_masks.classes]).unique()
        found = count_pixels(heads, test_maps, test_masks, classes)
        settings = {
            "pixels": float(pixels),
            "regularization": statistics.median_low(head.regularization for head in heads),
        }
        scores = [score_counts(counts, settings) for counts in found]
        if self.share is None and self.images is None:
            return scores[0]
        return average_draws(
            scores, {"labels": float(images), "draws": float(self.draws), **settings}
        )

    def draw(self, masks: Masks, generator: torch.Generator) -> list[Tensor]:
        """Draws training images, among those of which any pixel counts.

        Args:
            masks: Of the training part.
            generator: On the CPU.

        Returns:
            Positions `[n]` of the images of every draw, ascending.
        """
        counted = (masks.numbers != IGNORED).flatten(1).any(dim=1).nonzero().flatten()
        if self.share is None and self.images is None:
            return [counted]
        wanted = self.images or max(1, round((self.share or 1.0) * len(counted)))
        return [
            counted[torch.randperm(len(counted), generator=generator)[:wanted]].sort().values
            for _ in range(self.draws)
        ]


def draw_pixels(maps: FeatureMaps, masks: Tensor, positions: Tensor, seed: int) -> Pixels:
    """Draws pixels that count, as many from each image, with the features that they have.

    Args:
        maps: Of all training images.
        masks: `[N, H, W]` uint8 of these.
        positions: `[n]` of the images to use, ascending.
        seed: Of the draw; the pixels of an image depend on it and on the image alone.

    Returns:
        At most `MOST_PIXELS`, or fewer of wide maps. An image with fewer pixels gives all of them.
    """
    features: list[Tensor] = []
    classes: list[Tensor] = []
    images: list[Tensor] = []

    def take(some: Tensor, found: Tensor) -> None:
        most = min(MOST_PIXELS, MOST_NUMBERS // found.shape[1])
        each = max(1, most // len(positions))
        for position, one in zip(some.tolist(), found, strict=True):
            places = _some_pixels(masks[position], each, seed + position)
            features.append(at_pixels(one, places, masks.shape[-2:]).cpu())
            classes.append(masks[position].flatten()[places].long())
            images.append(torch.full((len(places),), position))

    maps.each(positions, take)
    if not features:
        raise ValueError("expected at least one readable image with a mask, got none")
    # Concatenated outside of inference mode: the results are ordinary tensors, fit for autograd.
    return Pixels(torch.cat(features), torch.cat(classes), torch.cat(images))


def at_pixels(one: Tensor, places: Tensor, size: Sequence[int]) -> Tensor:
    """What a map has at some pixels when it is enlarged to a size, without enlarging it.

    Args:
        one: `[D, h, w]`.
        places: `[n]` int64, row times width plus column.
        size: `(H, W)`.

    Returns:
        `[n, D]`, as `F.interpolate(mode="bilinear", align_corners=False)` gives them.
    """
    height, width = size
    rows, columns = places // width, places % width
    x, y = (2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1  # in [-1, 1]
    grid = torch.stack([x, y], dim=-1)[None, None].to(one)  # [1, 1, n, 2]
    found = F.grid_sample(
        one[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T


def fit_head(pixels: Pixels, seed: int) -> Head:
    """Fits the head, with the strength of the penalty that is best on images held out.

    Args:
        pixels: Of at least one image.
        seed: Of the images held out.
    """
    classes, targets = pixels.classes.unique(return_inverse=True)
    standardise = fit_standardisation(pixels.features)
    features = standardise(pixels.features)
    chosen, initial = FALLBACK, None
    is_held_out = _held_out(pixels.images, seed)
    if is_held_out.any():
        path = regularization_path(
            LogisticRegression(features[~is_held_out], targets[~is_held_out], len(classes)),
            REGULARIZATIONS,
        )
        numbers = torch.arange(len(classes))
        figures = {
            strength: mean_iou(
                confusion_matrix(
                    classifier(features[is_held_out]).argmax(dim=1), targets[is_held_out], numbers
                )
            )
            for strength, classifier in path.items()
        }
        # The path runs from strong to weak, and max returns the first of equals.
        chosen = max(figures, key=lambda strength: figures[strength])
        initial = path[chosen]
    weights, bias = LogisticRegression(features, targets, len(classes)).fit(chosen, initial=initial)
    weights = weights * standardise.scale
    return Head(classes, LinearClassifier(weights, bias - weights @ standardise.mean), chosen)


def count_pixels(
    heads: Sequence[Head], maps: FeatureMaps, masks: Masks, classes: Tensor
) -> list[Counts]:
    """Counts what each head takes for what, in one pass over the test images.

    Args:
        heads: At least one.
        maps: Of the test images.
        masks: Of the test images.
        classes: `[Y]` ascending, those of both parts.

    Returns:
        Counts for each head; of images that cannot be read there are none.
    """
    number, width = len(masks.numbers), len(classes)
    counts = [
        Counts(*(torch.zeros(rows, width, dtype=torch.int64) for rows in (width, number, number)))
        for _ in heads
    ]
    size = masks.numbers.shape[-2:]

    def take(some: Tensor, found: Tensor) -> None:
        at_once = max(1, _AT_ONCE // (len(classes) * size[0] * size[1]))
        for part, few in zip(found.split(at_once), some.split(at_once), strict=True):
            true = masks.numbers[few].long()
            does_count = true != IGNORED
            if not does_count.any():
                continue
            for head, count in zip(heads, counts, strict=True):
                predicted = segment(part, head, size).cpu()
                count.confusion.add_(
                    confusion_matrix(predicted[does_count], true[does_count], classes)
                )
                hits, unions = _by_image(predicted, true, does_count, classes)
                count.hits[few], count.unions[few] = hits, unions

    maps.each(torch.arange(len(masks.numbers)), take)
    return counts


def score_counts(counts: Counts, settings: dict[str, float]) -> Score:
    """What counts come to.

    Args:
        counts: Of one head.
        settings: What the protocol chose.
    """
    confusion, hits, unions = counts
    value = mean_iou(confusion)
    figures = {"mean_iou": value, "pixel_accuracy": pixel_accuracy(confusion)}
    pixels = (unions + hits).sum(dim=1) // 2  # each is once in the masks and once predicted
    influences = {
        "mean_iou": mean_iou_influences(hits, unions, confusion.any(dim=1)),
        "pixel_accuracy": ratio_influences(hits.sum(dim=1), pixels),
    }
    measured = measured_once(figures, influences)
    return Score(value, settings, figures, confusion=confusion, measured=measured)


def segment(maps: Tensor, head: Head, size: Sequence[int]) -> Tensor:
    """The class of every pixel.

    Args:
        maps: `[B, D, h, w]`.
        head: Fitted to such maps.
        size: `(H, W)` of the masks.

    Returns:
        `[B, H, W]` int64, numbers of classes.
    """
    weights, bias = (part.to(maps) for part in head.classifier)
    scores = F.conv2d(maps, weights[:, :, None, None], bias)  # [B, Y, h, w]
    height, width = size
    enlarged = F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False)
    return head.classes.to(maps.device)[enlarged.argmax(dim=1)]


def _some_pixels(mask: Tensor, number: int, seed: int) -> Tensor:
    """Places of so many pixels that count, or of all of them, ascending."""
    counted = (mask.flatten() != IGNORED).nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(counted), generator=generator)[:number]
    return counted[chosen].sort().values


def _held_out(images: Tensor, seed: int) -> Tensor:
    """Which pixels `[P]` are of the images held out; none of them if all are of one image."""
    each = images.unique()
    number = min(max(1, round(VALIDATION * len(each))), len(each) - 1)
    generator = torch.Generator().manual_seed(seed)
    return torch.isin(images, each[torch.randperm(len(each), generator=generator)[:number]])


def _by_image(
    predicted: Tensor, true: Tensor, does_count: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Hits and unions `[B, Y]` of masks `[B, H, W]`."""
    images, width = len(true), len(classes)
    image = torch.arange(images)[:, None, None].expand_as(true)[does_count]

    def counted(numbers: Tensor, chosen: Tensor | slice) -> Tensor:
        cells = image * width + torch.searchsorted(classes, numbers[does_count])
        return cells[chosen].bincount(minlength=images * width).view(images, width)

    hits = counted(true, (predicted == true)[does_count])
    return hits, counted(true, slice(None)) + counted(predicted, slice(None)) - hits
