"""A linear probe that learns from a few labels: 1 %, 10 %, or some images of each class.

Few images are a matter of luck, so several sets of them are drawn; the figure is the mean, with the
spread of the draws beside it. Every network is given the same images.

Shapes: `N` training images, `D` features, `Y` classes.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from super_selfish.evaluation.label_checks import is_multilabel
from super_selfish.evaluation.linear import fit_linear_probe
from super_selfish.evaluation.logistic import fit_standardisation
from super_selfish.evaluation.scoring import Score, Subject, average_draws, score_predictions

# ours: of few images, weaker penalties than these separate the classes all the same
REGULARIZATIONS = (1.0, 1e-1, 1e-2, 1e-3)
FALLBACK = 1.0  # ours: where no image can be held out; with one a class it hardly matters


@dataclass(frozen=True)
class FewLabels:
    """The protocol: `FewLabels(share=0.02)` goes into `PROTOCOLS` under any name.

    The strength of the penalty is chosen for every draw, on a part of its images held out. Where
    no class has two of them, it is `FALLBACK`. Features are standardised by all training images,
    which takes no label, and tames features that are all but constant in a handful of images.

    Attributes:
        share: Of the images of every class, in (0, 1]; at least one of each is drawn, so that the
            share of a small data set may be larger. The setting "labels" is what it came to.
        per_class: Images of every class instead; of a class that has fewer, all.
        draws: How often to draw, >= 1.
    """

    share: float | None = None
    per_class: int | None = None
    draws: int = 5

    def __post_init__(self) -> None:
        """Refuses numbers out of range.

        Raises:
            ValueError: If there are both or neither of `share` and `per_class`, or one is out of
                range.
        """
        if (self.share is None) == (self.per_class is None):
            raise ValueError("give either share or per_class")
        if self.share is not None and not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must be in (0, 1], got {self.share}")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"per_class must be >= 1, got {self.per_class}")
        if self.draws < 1:
            raise ValueError(f"draws must be >= 1, got {self.draws}")

    def __call__(self, subject: Subject) -> Score:
        """Fits a probe to every draw and tests each on the whole test part.

        Returns:
            The mean, the value of every draw, and as settings: "labels", the number of images
            drawn; "draws"; "regularization", the median of those chosen.
        """
        features, labels = subject.train_features
        test_features, test_labels = subject.test_features
        standardise = fit_standardisation(features)
        generator = torch.Generator().manual_seed(subject.seed)
        scores, strengths, drawn = [], [], 0
        for draw in range(self.draws):
            rows = self.draw(labels, generator)
            drawn = len(rows)
            probe = fit_linear_probe(
                features[rows],
                labels[rows],
                regularizations=REGULARIZATIONS,
                seed=subject.seed + draw,
                fallback=FALLBACK,
                standardise=standardise,
            )
            scores.append(score_predictions(probe(test_features), probe.classes, test_labels, {}))
            strengths.append(probe.regularization)
        settings = {
            "labels": float(drawn),
            "draws": float(self.draws),
            "regularization": statistics.median_low(strengths),
        }
        return average_draws(scores, settings)

    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Draws training images.

        Args:
            labels: `[N]` class numbers, of which each class gives its part; or `[N, Y]` zeros and
                ones, of which rows are simply drawn: the share of all, or `per_class` times `Y`,
                and as many as there are classes at least.
            generator: On the CPU.

        Returns:
            Their indices, sorted, on the CPU.
        """
        labels = labels.cpu()
        if is_multilabel(labels):
            count = self._count(len(labels), labels.shape[1])
            return torch.randperm(len(labels), generator=generator)[:count].sort().values
        chosen = []
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            order = torch.randperm(len(members), generator=generator)
            chosen.append(members[order[: self._count(len(members), 1)]])
        return torch.cat(chosen).sort().values

    def _count(self, images: int, classes: int) -> int:
        """How many of so many images to draw for so many classes."""
        if self.share is None:
            return min(images, (self.per_class or 1) * classes)
        return min(images, max(classes, round(self.share * images)))
