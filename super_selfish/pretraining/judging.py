"""By what candidates are ranked: by labels; without any, by whether images are known again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.evaluate import evaluate
from super_selfish.evaluation.features import LabelledSource
from super_selfish.evaluation.health.health import health
from super_selfish.pretraining import rules
from super_selfish.pretraining.subjects import Rated
from super_selfish.supervisors.base import Supervisor

PROTOCOLS = ("knn", "linear")


class Judge(Protocol):
    """Rates a candidate by images that it has not seen."""

    @property
    def number(self) -> int:
        """Images by which candidates are ranked."""

    @property
    def score(self) -> str:
        """What the score is, in words."""

    @property
    def doubt(self) -> str:
        """What is to be known of ranking so, a sentence; empty where there is nothing."""

    def __call__(self, supervisor: Supervisor) -> dict[str, float]:
        """Shares of these images by name; their mean is the score."""


@dataclass(frozen=True)
class ByLabels:
    """Ranks by accuracy, on a part of the labelled images that a rating learns from.

    Attributes:
        learned: Images with labels to learn from.
        asked: Those by which candidates are ranked.
    """

    learned: Any
    asked: Any

    @classmethod
    def of(cls, rated: Rated) -> ByLabels:
        """Divides what a rating learns from; its test is left alone."""
        images, labels, _ = rated.train
        count = max(1, round(rules.VALIDATED * len(labels)))
        first, rest = range(count), range(count, len(labels))
        return cls(
            LabelledSource(images.subset(rest), labels[count:]),
            LabelledSource(images.subset(first), labels[:count]),
        )

    @property
    def number(self) -> int:
        """As for `Judge`."""
        return len(self.asked[1])

    @property
    def score(self) -> str:
        """As for `Judge`."""
        return f"the mean of {' and '.join(PROTOCOLS)} on {self.number:,} images"

    @property
    def doubt(self) -> str:
        """As for `Judge`."""
        return ""

    def __call__(self, supervisor: Supervisor) -> dict[str, float]:
        """As for `Judge`."""
        rated = evaluate(
            supervisor,
            self.learned,
            self.asked,
            protocols=PROTOCOLS,
            untrained=None,
            start=None,
            progress=False,
        )
        return rated.pretrained


@dataclass(frozen=True)
class ByViews:
    """Ranks by how often an image is the nearest to a view of itself, which needs no labels.

    Attributes:
        images: By which candidates are ranked.
    """

    images: ImageSource

    @property
    def number(self) -> int:
        """As for `Judge`."""
        return len(self.images)

    @property
    def score(self) -> str:
        """As for `Judge`."""
        return f"images that are the nearest of {self.number:,} to a view of themselves"

    @property
    def doubt(self) -> str:
        """As for `Judge`."""
        return rules.TRUST_OF_VIEWS

    def __call__(self, supervisor: Supervisor) -> dict[str, float]:
        """As for `Judge`."""
        return {"retrieval": health(supervisor, self.images, num_images=None).retrieval}
