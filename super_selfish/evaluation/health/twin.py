"""What a network shows by its architecture alone, which no training is to blame for.

Shapes: `N` images, `D` features.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.evaluation.features import LabelledSource, extract_features
from super_selfish.evaluation.health.measures import (
    dead_share,
    directions_carrying,
    variance_shares,
)
from super_selfish.evaluation.health.verdict import SETTLED, Measures, Verdict, too_early
from super_selfish.evaluation.norm_statistics import adapted
from super_selfish.models.beginnings import first_weights, network_with
from super_selfish.models.untrained import draw_twin
from super_selfish.supervisors.diagnostics import spread

CARRIED = 0.99  # of the variance, by so many directions


def measures_of(features: Tensor, shares: Tensor | None = None) -> Measures:
    """How much features `[N, D]` vary.

    Args:
        features: Of at least two images.
        shares: Their `variance_shares`, if these are known.
    """
    shares = variance_shares(features) if shares is None else shares
    return Measures(
        directions_carrying(shares, CARRIED),
        float(spread(F.normalize(features.double(), dim=1))),
        dead_share(features),
    )


class TwinMeasures:
    """Measures the untrained twin of a backbone when it is first asked for."""

    def __init__(
        self,
        backbone: nn.Module,
        source: LabelledSource,
        preprocess: nn.Module | None,
        *,
        batch_size: int,
        num_workers: int = 0,
    ) -> None:
        """Takes what to measure, and on which images."""
        self._given = backbone, source, preprocess
        self._options = {"batch_size": batch_size, "num_workers": num_workers}
        self._measured: Measures | None = None
        self._is_measured = False

    def __call__(self) -> Measures | None:
        """The measures; None where it is not known how such a network begins."""
        if not self._is_measured:
            self._measured = self._measure()
            self._is_measured = True
        return self._measured

    def _measure(self) -> Measures | None:
        backbone, source, preprocess = self._given
        first = first_weights(backbone)
        twin = None if first is None else network_with(backbone, first)
        if twin is None:
            drawn = draw_twin(backbone)
            # How a list of torch's layers begins is not known either, but not far from their own.
            kinds = {type(part).__module__.split(".")[0] for part in backbone.modules()}
            if not drawn.is_known and kinds != {"torch"}:
                return None
            twin = drawn.network
        settled = adapted(
            twin,
            backbone,
            source.images,
            preprocess,
            num_workers=self._options["num_workers"],
        )
        found = extract_features(
            twin if settled is None else settled,
            source,
            preprocess=preprocess,
            batch_size=self._options["batch_size"],
            num_workers=self._options["num_workers"],
        )
        return measures_of(found.features)


def settling(backbone: nn.Module) -> Verdict | None:
    """What to say of a backbone whose batch norms are still near their initial statistics.

    In evaluation mode it computes with statistics that are neither those of a new network nor those
    of the images, so its features tell nothing yet, neither ill nor good. What counts is how often
    the statistics have moved, `num_batches_tracked`: once for each batch that passes through the
    network in training, so once a step where its views are one batch (rotation's four) or only one
    of them passes (MoCo), twice where two pass one after the other (BYOL). A statistic of momentum
    m has forgotten all but 5 % of its initial value after log(0.05) / log(1 - m) moves: 29 at
    torch's 0.1, 299 at 0.01.

    Args:
        backbone: Any network.

    Returns:
        `None` for one that has settled, or has no such norms, or has seen no batch at all; of
        several norms the one that has furthest to go decides.
    """
    young: list[tuple[int, int]] = []  # moves needed, seen
    for module in backbone.modules():
        momentum, seen = (getattr(module, n, None) for n in ("momentum", "num_batches_tracked"))
        if not isinstance(seen, Tensor) or not isinstance(momentum, float):
            continue
        needed = math.ceil(math.log(SETTLED) / math.log1p(-momentum)) if 0 < momentum < 1 else 1
        if 0 < int(seen) < needed:
            young.append((needed, int(seen)))
    if not young:
        return None
    needed, moved = max(young, key=lambda counts: counts[0] - counts[1])
    return too_early(moved, needed)
