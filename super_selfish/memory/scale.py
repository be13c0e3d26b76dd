"""Where the features of a frozen network lie, and how far they spread, over all that was seen.

Shapes: `B` images, `D` features, `h, w` map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST = 1e6  # vectors that are counted; from there on the newest weigh as much as they would then


class RunningScale(nn.Module):
    """Brings features to a mean of 0 and, over all of them together, a variance of 1.

    The mean is each number's own, the scale one for all, so that directions and distances stay what
    they are to one another ("global standardization" of Ranzinger et al., 2024, "PHI-S:
    Distribution Balancing for Label-Free Multi-Teacher Distillation", arXiv 2410.01680). Before
    anything was noted features stay as they are.

    Attributes:
        mean: `[D]`.
        variance: Mean over the numbers of their variances; scalar.
        count: Vectors that were noted, at most a million; scalar.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, dim: int) -> None:
        """Args: dim: `D`.

        Raises:
            ValueError: If it is below 1.
        """
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be >= 1, got {dim}")
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Standardises `[B, D]` or `[B, D, h, w]`."""
        mean = self.mean if features.ndim == 2 else self.mean[:, None, None]
        # Of one vector, or of equal ones, there is a place and no scale.
        deviation = torch.where(self.variance > 0, self.variance, 1.0).sqrt()
        return (features - mean) / deviation

    @torch.no_grad()
    def sums_of(self, features: Tensor) -> Tensor:
        """What `note` takes of features, to be added up over processes: `[D + 2]`.

        Args:
            features: `[B, D]` or `[B, D, h, w]`.
        """
        vectors = features if features.ndim == 2 else features.movedim(1, 3).flatten(0, 2)
        distances = vectors - self.mean  # whose squares are exact where the mean is large
        number = distances.new_full((1,), len(distances))
        return torch.cat([distances.sum(dim=0), distances.square().mean(dim=1).sum()[None], number])

    @torch.no_grad()
    def note(self, sums: Tensor, about: Tensor) -> None:
        """Moves mean and variance to those of what was seen before and of these features.

        Chan, Golub, LeVeque, 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances".

        Args:
            sums: As `sums_of` gave them.
            about: `[D]`, a copy of the mean as it was then.
        """
        squares, number = sums[-2], sums[-1]
        offset = sums[:-2] / number  # of the new mean from `about`
        within = (squares / number - offset.square().mean()).clamp(min=0)
        distance = about + offset - self.mean
        share = number / (self.count + number)  # of the new ones
        between = share * (1 - share) * distance.square().mean()
        self.variance.copy_((1 - share) * self.variance + share * within + between)
        self.mean.add_(share * distance)
        self.count.copy_((self.count + number).clamp(max=MOST))

    def extra_repr(self) -> str:
        """Shows the width."""
        return f"dim={len(self.mean)}"
