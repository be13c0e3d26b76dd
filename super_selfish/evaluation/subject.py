"""What a protocol is given, and what it gives back.

Shapes: `N` training images, `M` test images, `D` features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from torch import Tensor, nn

from super_selfish.evaluation.features import LabelledSource, extract_features


class Score(NamedTuple):
    """What a protocol says of a network."""

    accuracy: float  # on the test part, in [0, 1]
    settings: dict[str, float]  # what the protocol chose for itself, never on the test part


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
    """

    backbone: nn.Module
    train: LabelledSource
    test: LabelledSource
    preprocess: nn.Module | None = None
    batch_size: int = 256
    num_workers: int = 0
    seed: int = 0

    @cached_property
    def train_features(self) -> tuple[Tensor, Tensor]:
        """Features `[N, D]` and labels `[N]` of the training part, computed once."""
        return self._features(self.train, "train")

    @cached_property
    def test_features(self) -> tuple[Tensor, Tensor]:
        """Features `[M, D]` and labels `[M]` of the test part, computed once."""
        return self._features(self.test, "test")

    def _features(self, data: LabelledSource, part: str) -> tuple[Tensor, Tensor]:
        features, labels = extract_features(
            self.backbone,
            data,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            preprocess=self.preprocess,
        )
        if labels is None:
            raise ValueError(no_labels(part))
        return features, labels


def no_labels(part: str) -> str:
    """What to tell a user whose training or test part has no labels."""
    return (
        f"the {part} part has no labels, which evaluation needs: give a dataset whose items are "
        "(image, label), or a pair (images, labels)"
    )
