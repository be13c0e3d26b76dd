"""Losses of the players of an adversarial game, each on the logits of the discriminator.

A player says for some logits whether it wants them to mean "real" or "fake": the discriminator says
the truth, the generator the contrary.

Shapes: `B` batch.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def adversarial_cross_entropy(logits: Tensor, is_real: bool) -> Tensor:
    """Cross-entropy of one class for all: `-log D`, or `-log(1 - D)`, with `D = sigmoid(logits)`.

    Goodfellow et al., 2014, arXiv 1406.2661, equation 1; a generator that wants its images to be
    `is_real` has the loss of section 3 that does not saturate.

    Args:
        logits: `[B]` or `[B, 1]`, high for real.
        is_real: What all of them should say.

    Returns:
        Scalar, nats, in float32 (float64 for float64); log 2 where the logits are 0.
    """
    return F.softplus(-logits if is_real else logits).mean()


@in_full_precision
def adversarial_least_squares(logits: Tensor, is_real: bool) -> Tensor:
    """Half the squared distance to 1 for real, to 0 for fake (Mao et al., 2016, arXiv 1611.04076).

    Equation 9: the distance keeps its gradient where a cross-entropy is already content.

    Args:
        logits: `[B]` or `[B, 1]`; near 1 for real, near 0 for fake.
        is_real: What all of them should say.

    Returns:
        Scalar, in float32 (float64 for float64).
    """
    return (logits - float(is_real)).square().mean() / 2
