"""Networks that are asked about pairs: one backbone sees both, one head sees both features.

Shapes: `K` pairs, `C, H, W` image, `D` features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from super_selfish.models import CombinedNet, feature_shape

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor


def answer_pairs(model: CombinedNet, pairs: Tensor) -> Tensor:
    """What the head says of pairs.

    Args:
        model: Its predictor goes from the features of two images, side by side, `[K, 2 * D]`.
        pairs: `[K, 2, C, H, W]`.

    Returns:
        What the predictor returns.
    """
    features = model.features(pairs.flatten(0, 1))  # (2 * K, D), both of a pair in turn
    answers: Tensor = model.predictor(features.reshape(len(pairs), -1))
    return answers


class _TwiceTheSame(nn.Module):
    """What a head says of an image beside itself, so that its shape can be asked for."""

    def __init__(self, model: CombinedNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The answer."""
        return answer_pairs(self.model, torch.stack((images, images), dim=1))


def require_answers(
    supervisor: Supervisor, number: int, answers: str, image_size: tuple[int, int]
) -> None:
    """Refuses a predictor that does not take both features, or has not one output an answer.

    Args:
        supervisor: Its `model` answers pairs.
        number: The outputs that are wanted.
        answers: What they stand for, in the plural.
        image_size: Height and width of what the backbone sees.

    Raises:
        ValueError: If there are more or fewer, or it does not take features side by side.
    """
    model: CombinedNet = supervisor.model
    dim = feature_shape(model.backbone, supervisor.in_channels, image_size).dim
    try:
        width = feature_shape(_TwiceTheSame(model), supervisor.in_channels, image_size).dim
    except ValueError as error:
        raise ValueError(
            f"predictor= must take the features of two images side by side, [B, {2 * dim}]: {error}"
        ) from error
    if width != number:
        raise ValueError(
            f"predictor= gives {width} numbers, but there are {number} {answers} to tell: "
            f"give it {number} outputs"
        )
