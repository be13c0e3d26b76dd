"""Every network by every protocol: by this process, or by several with the first one in charge.

Of several processes all compute features, each of a part of the images. Whatever follows on them
(k-NN, probes, fine-tuning) the first one does by itself, and tells the others what it has found:
so all of them end with the same figures, and files are written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor

from super_selfish.evaluation.feature_cache import FeatureCache
from super_selfish.evaluation.features import (
    Features,
    LabelledSource,
    classes_of,
    extract_features,
)
from super_selfish.evaluation.looking import device_of
from super_selfish.evaluation.protocols import Protocol
from super_selfish.evaluation.rated_network import Network
from super_selfish.evaluation.scoring import Score, Subject
from super_selfish.evaluation.shares import led, look_in_shares
from super_selfish.training.display import DELAY, open_bar, quiet
from super_selfish.training.distributed import rank
from super_selfish.training.exchange import Exchange

Asked = tuple[str, str]  # name of a network, and "train" or "test"


class Rated(NamedTuple):
    """What was found."""

    scores: dict[str, dict[str, Score]]  # by network, then by protocol
    train_labels: Tensor | None  # [N] or [N, Y] int64; None of masks
    test_labels: Tensor | None  # [M] or [M, Y] int64


@dataclass(frozen=True, eq=False)
class Rating:
    """What to rate, and how.

    Attributes:
        networks: By name, at least one.
        columns: Protocols by name.
        train: Labelled images to learn from.
        test: Labelled images that scores are of.
        batch_size: Images per forward pass.
        num_workers: Processes that load images.
        seed: Of everything that protocols draw.
        cache: Where features are kept, or `None`.
        progress: Whether to show how far it is.
    """

    networks: Mapping[str, Network]
    columns: Mapping[str, Protocol]
    train: LabelledSource
    test: LabelledSource
    batch_size: int
    num_workers: int
    seed: int
    cache: FeatureCache | None
    progress: bool

    def __call__(self) -> Rated:
        """Rates; every process that was started together must call it."""
        device = device_of(next(iter(self.networks.values())).module)
        rated: Rated = led(device, self._rated, self._features)
        return rated

    def _rated(self, ask: Callable[[Asked], Features]) -> Rated:
        scores: dict[str, dict[str, Score]] = {}
        number = len(self.networks) * len(self.columns)
        with (
            quiet(not self.progress),
            open_bar("Evaluating", number, "score", shown=rank() == 0, delay=DELAY) as bar,
        ):
            for name, network in self.networks.items():
                subject = Subject(
                    network.module,
                    self.train,
                    self.test,
                    network.preprocess,
                    self.batch_size,
                    self.num_workers,
                    self.seed,
                    self.cache,
                    partial(_of_network, ask, name),
                )
                scores[name] = {}
                for column, rate in self.columns.items():
                    scores[name][column] = rate(subject)
                    bar.update()
        if self.train.masks is not None:
            return Rated(scores, None, None)
        return Rated(scores, subject.train_labels, subject.test_labels)

    def _features(self, others: Exchange | None, asked: Asked) -> Features:
        """Features of a network and a part, with labels where they are wanted."""
        name, part = asked
        network, data = self.networks[name], self.train if part == "train" else self.test
        if others is None:
            return extract_features(
                network.module,
                data,
                batch_size=self.batch_size,
                num_workers=self.num_workers,
                preprocess=network.preprocess,
            )
        is_first = others.rank == 0
        found = look_in_shares(
            others,
            network.module,
            *data[:2],
            network.preprocess,
            wanted=is_first,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
        )
        return Features(found.features, classes_of(found) if is_first else None)


def _of_network(ask: Callable[[Asked], Features], name: str, part: str) -> Features:
    return ask((name, part))
