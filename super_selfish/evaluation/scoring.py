"""What a protocol is given, and what it gives back.

Shapes: `N` training images, `M` test images, `D` features, `Y` classes.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from super_selfish.data.masks import Masks
from super_selfish.data.sources import Sample, labels_of
from super_selfish.evaluation import metrics
from super_selfish.evaluation.feature_cache import FeatureCache
from super_selfish.evaluation.feature_maps import FeatureMaps
from super_selfish.evaluation.features import (
    Features,
    LabelledSource,
    classes_at_hand,
    extract_features,
)
from super_selfish.evaluation.influences import (
    balanced_accuracy_influences,
    mean_average_precision_influences,
    share_influences,
)
from super_selfish.evaluation.intervals import Measured
from super_selfish.evaluation.label_checks import as_classes, check_several_classes, is_multilabel
from super_selfish.evaluation.masked_data import check_masks_fit


@dataclass(frozen=True)
class Score:
    """What a protocol says of a network.

    Attributes:
        value: Accuracy on the test part, in [0, 1]; of a multi-label set the mean average
            precision, of masks the mean intersection over union. Of several draws the mean.
        settings: What the protocol chose for itself, never on the test part.
        metrics: Further figures of the test part, in [0, 1], by name. "accuracy" (the value once
            more), "balanced_accuracy" and, of six classes or more, "top5_accuracy"; of a
            multi-label set "mean_average_precision"; of masks "mean_iou" and "pixel_accuracy".
        draws: The value of every draw, where a protocol draws its training images; else empty.
        confusion: Counts `[Y, Y]` of images, or of the pixels of masks; rows are the labels,
            columns the predictions; classes are those of both parts, ascending. `None` for several
            draws and for multi-label sets.
        measured: Of each of `metrics` the value of every draw (a single one where nothing is
            drawn), with the influences of the `M` test images: what intervals are made of. Of a
            protocol of one's own it may be empty; then differences are judged by a bound.
    """

    value: float
    settings: dict[str, float]
    metrics: dict[str, float] = field(default_factory=dict)
    draws: tuple[float, ...] = ()
    confusion: Tensor | None = field(default=None, compare=False, repr=False)
    measured: dict[str, Measured] = field(default_factory=dict, compare=False, repr=False)

    @property
    def answers(self) -> Measured | None:
        """What is measured of the value: the first of `metrics`, if there is such."""
        return self.measured.get(next(iter(self.metrics), ""))

    @property
    def spread(self) -> float | None:
        """Standard deviation of the draws; `None` if there are less than two."""
        return statistics.stdev(self.draws) if len(self.draws) > 1 else None


@dataclass(frozen=True, eq=False)
class Subject:
    """A network under test, and all that a protocol may use.

    Attributes:
        backbone: The network; a protocol that trains it trains a copy.
        train: Labelled images to learn from.
        test: Labelled images that are looked at last, and for the accuracy only.
        preprocess: Applied to images in [0, 1] before the backbone, or `None`.
        batch_size: Images per forward pass.
        num_workers: Processes that load images.
        seed: Of everything that a protocol draws.
        cache: Where features are kept from one evaluation to the next, or `None`.
        extract: Computes the features of `"train"` or `"test"`, where several processes do so
            together; `None` for this process alone.
    """

    backbone: nn.Module
    train: LabelledSource
    test: LabelledSource
    preprocess: nn.Module | None = None
    batch_size: int = 256
    num_workers: int = 0
    seed: int = 0
    cache: FeatureCache | None = None
    extract: Callable[[str], Features] | None = None

    @cached_property
    def train_features(self) -> tuple[Tensor, Tensor]:
        """Features `[N, D]` and labels `[N]` or `[N, Y]` of the training part, computed once."""
        return self._features(self.train, "train")

    @cached_property
    def test_features(self) -> tuple[Tensor, Tensor]:
        """Features `[M, D]` and labels `[M]` or `[M, Y]` of the test part, computed once."""
        return self._features(self.test, "test")

    @cached_property
    def train_labels(self) -> Tensor:
        """Labels `[N]` or `[N, Y]` of the training part; no image is shown to the network."""
        return self._labels(self.train, "train")

    @cached_property
    def test_labels(self) -> Tensor:
        """Labels `[M]` or `[M, Y]` of the test part; no image is shown to the network."""
        return self._labels(self.test, "test")

    @property
    def masks(self) -> tuple[Masks, Masks]:
        """Masks of the training and of the test part, of a protocol with `wants_masks`."""
        train, test = self.train.masks, self.test.masks
        if train is None or test is None:
            raise ValueError("the data were opened without masks")
        return train, test

    @cached_property
    def maps(self) -> tuple[FeatureMaps, FeatureMaps]:
        """Feature maps of the training and of the test part, computed as they are asked for."""
        train, test = (
            FeatureMaps(
                self.backbone,
                data.images,
                self.preprocess,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
            )
            for data in (self.train, self.test)
        )
        return train, test

    @property
    def labelled_train(self) -> LabelledSource:
        """The training part with its labels, so that nobody reads images again to know them."""
        if self.train.labels is not None or self.train.images.on_error == "skip":
            return self.train  # of images that are skipped there are no labels
        return LabelledSource(self.train.images, self.train_labels)

    def _labels(self, data: LabelledSource, part: str) -> Tensor:
        # Which images cannot be read, and so have no row of features, shows on reading them.
        if f"{part}_features" in vars(self) or data.images.on_error == "skip":
            return self.train_features[1] if part == "train" else self.test_features[1]
        labels = data.labels
        if labels is None:
            labels = labels_of(data.images, instead="; (images, labels) does without")
        if labels is None:
            raise ValueError(no_labels(part))
        labels = as_classes(labels)
        if part == "train":
            check_several_classes(labels)
        return labels

    def _features(self, data: LabelledSource, part: str) -> tuple[Tensor, Tensor]:
        path, stored = None, None
        if self.cache is not None:
            path = self.cache.path(self.backbone, data, self.preprocess)
            stored = self.cache.read(path)
        known = stored
        if known is None and self.extract is not None:
            known = self.extract(part)
        if known is None:
            known = extract_features(
                self.backbone,
                data,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                preprocess=self.preprocess,
            )
        if known.labels is None:
            raise ValueError(no_labels(part))
        if part == "train":
            check_several_classes(known.labels)
        if self.cache is not None and path is not None and stored is None:
            self.cache.write(path, known)
        return known.features, known.labels


def score_predictions(
    scores: Tensor, classes: Tensor, labels: Tensor, settings: dict[str, float]
) -> Score:
    """Compares the scores that a protocol gives to the test images with their labels.

    Args:
        scores: `[M, Y]`, larger means likelier.
        classes: `[Y]` ascending, the class of every column.
        labels: `[M]` of the test part, where classes may be that have no column; or `[M, Y]` zeros
            and ones.
        settings: What the protocol chose.

    Returns:
        The score.

    Raises:
        ValueError: If shapes do not fit each other.
    """
    scores, classes, labels = scores.cpu(), classes.cpu(), labels.cpu()
    if is_multilabel(labels):
        value = metrics.mean_average_precision(scores, labels)
        name = "mean_average_precision"
        measured = measured_once(
            {name: value}, {name: mean_average_precision_influences(scores, labels)}
        )
        return Score(value, settings, {name: value}, measured=measured)
    predictions = classes[scores.argmax(dim=1)]
    value = metrics.accuracy(predictions, labels)
    figures = {
        "accuracy": value,
        "balanced_accuracy": metrics.balanced_accuracy(predictions, labels),
    }
    influences = {
        "accuracy": share_influences(predictions == labels),
        "balanced_accuracy": balanced_accuracy_influences(predictions, labels),
    }
    if len(classes) > metrics.TOP:
        figures["top5_accuracy"] = metrics.top_k_accuracy(scores, classes, labels)
        places = metrics.top_k_places(scores, classes, labels)
        influences["top5_accuracy"] = share_influences(places)
    every = torch.cat([classes, labels]).unique()
    return Score(
        value,
        settings,
        figures,
        confusion=metrics.confusion_matrix(predictions, labels, every),
        measured=measured_once(figures, influences),
    )


def measured_once(figures: dict[str, float], influences: dict[str, Tensor]) -> dict[str, Measured]:
    """Figures of a single draw, with the influences `[M]` on each."""
    return {
        name: Measured(torch.tensor([value], dtype=torch.float64), influences[name][None].float())
        for name, value in figures.items()
    }


def average_draws(draws: Sequence[Score], settings: dict[str, float]) -> Score:
    """The mean of the scores of several draws, with the value of each.

    Args:
        draws: At least one, with the same metrics.
        settings: Of all of them.
    """
    return Score(
        statistics.mean(draw.value for draw in draws),
        settings,
        {name: statistics.mean(d.metrics[name] for d in draws) for name in draws[0].metrics},
        tuple(draw.value for draw in draws),
        measured={
            name: Measured(*map(torch.cat, zip(*(d.measured[name] for d in draws), strict=True)))
            for name in draws[0].measured
        },
    )


def no_labels(part: str) -> str:
    """What to tell a user whose training or test part has no labels."""
    return (
        f"the {part} part has no labels, which evaluation needs: give a dataset whose items are "
        "(image, label), or a pair (images, labels); a label is a whole number, or a row of zeros "
        "and ones"
    )


def check_parts_fit(train: LabelledSource, test: LabelledSource) -> None:
    """Notices, before the first forward pass, parts that cannot be rated by one another.

    Args:
        train: Of which the first image that can be read is looked at.
        test: As `train`.

    Raises:
        ValueError: If a part has no labels, the labels of both are not of one kind, one number
            stands for classes of different names, or training labels or masks have a single class.
        TypeError: If a label is neither an integer nor a row of zeros and ones.
    """
    if train.masks is not None and test.masks is not None:
        check_masks_fit(train.masks, test.masks)
        return
    first, second = _first_label(train, "train"), _first_label(test, "test")
    if first is not None and second is not None and first.shape != second.shape:
        raise ValueError(
            "labels of both parts must be of one kind, "
            f"got {list(first.shape)} and {list(second.shape)} for an image"
        )
    labels = classes_at_hand(train)
    if labels is not None:
        check_several_classes(labels)
    if train.labels is not None or test.labels is not None:
        return
    names = zip(train.images.classes or (), test.images.classes or (), strict=False)
    for number, (ours, theirs) in enumerate(names):
        if ours != theirs:
            raise ValueError(
                f"class {number} is {ours!r} in the train part and {theirs!r} in the test part: "
                "number classes alike, or give (images, labels)"
            )


def require_labels(data: LabelledSource, part: str) -> None:
    """Refuses images without labels, by the first that can be read.

    Args:
        data: Opened images.
        part: What to call them in errors.

    Raises:
        ValueError: If there are none.
        TypeError: If a label is neither an integer nor a row of zeros and ones.
    """
    _first_label(data, part)


def metric_of(train: LabelledSource) -> str:
    """What scores are: of masks "mean IoU", else by the first label an accuracy or mAP."""
    if train.masks is not None:
        return "mean IoU"
    label = _first_label(train, "train")
    return "accuracy" if label is None or label.dim() == 0 else "mean average precision"


def _first_label(data: LabelledSource, part: str) -> Tensor | None:
    """The label of the first image that can be read; `None` if none can."""
    if data.labels is not None:
        return data.labels[0]
    samples = (data.images[index] for index in range(len(data.images)))
    sample = next((sample for sample in samples if isinstance(sample, Sample)), None)
    if sample is None:
        return None
    if sample.label is None:
        raise ValueError(no_labels(part))
    return as_classes(sample.label[None])[0]
