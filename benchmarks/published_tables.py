"""Published tables of self-supervised learning on small images: what other libraries reach.

Three tables, all of ResNet-18:

- `lightly-cifar10`: lightly's documentation, "Benchmarks", CIFAR-10: the best k-NN of all epochs;
- `lightly-imagenette`: the same page, ImageNette at 128 pixels;
- `solo-cifar100`: solo-learn's README, CIFAR-100: a linear head that learns meanwhile.

How their rows are trained is in `published_settings.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What all rows of a table share.

    Attributes:
        data: Of `load` in `datasets.py`, or "imagenette".
        size: Side of the images in pixels.
        images: In the training part.
        figure: "knn" (k = 200, T = 0.1, the best of all epochs) or "linear" (a head that learns
            beside the pretraining, on augmented images, last epoch).
        differs: What is not as published, of all rows.
    """

    data: str
    size: int
    images: int
    figure: str
    differs: tuple[str, ...]


SETTINGS = {
    "lightly-cifar10": Setting("cifar10", 32, 50_000, "knn", ()),
    "lightly-imagenette": Setting(
        "imagenette",
        128,
        9469,
        "knn",
        ("crops are cut from images of 128 pixels, theirs from those of 160",),
    ),
    "solo-cifar100": Setting(
        "cifar100",
        32,
        50_000,
        "linear",
        ("our linear head is fitted to frozen features; theirs learns meanwhile, on crops",),
    ),
}


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        setting: Name of the table.
        method: Short name of the supervisor.
        batch: Images a step.
        epochs: Of training.
        published: Share of right answers.
        minutes: That they say it took on their GPU; `None` where they do not.
        differs: What is not as published, of this row alone.
    """

    setting: str
    method: str
    batch: int
    epochs: int
    published: float
    minutes: float | None = None
    differs: str = ""

    @property
    def key(self) -> str:
        """A name of its own, fit for a file."""
        return f"{self.setting}-{self.method}-{self.batch}-{self.epochs}"


def _rows(setting: str, batch: int, epochs: int, lines: Sequence[tuple[Any, ...]]) -> list[Row]:
    differs = {
        "simclr": "both views pass the network at once, and share the statistics of norms",
    }
    return [
        Row(setting, line[0], batch, epochs, *line[1:], differs=differs.get(line[0], ""))
        for line in lines
    ]


ROWS = [
    *_rows(
        "lightly-cifar10",
        128,
        200,
        [
            ("barlow_twins", 0.842, 375.9),
            ("byol", 0.869, 121.9),
            ("moco", 0.838, 128.8),
            ("simclr", 0.847, 97.7),
            ("simsiam", 0.819, 97.3),
            ("swav", 0.812, 99.6),
        ],
    ),
    *_rows(
        "lightly-cifar10",
        512,
        200,
        [
            ("barlow_twins", 0.819, 153.3),
            ("byol", 0.868, 108.3),
            ("moco", 0.847, 112.2),
            ("simclr", 0.848, 87.1),
            ("simsiam", 0.764, 87.8),
            ("swav", 0.842, 88.7),
        ],
    ),
    *_rows(
        "lightly-cifar10",
        512,
        800,
        [
            ("barlow_twins", 0.859, 517.5),
            ("byol", 0.910, 400.9),
            ("moco", 0.899, 417.8),
            ("simclr", 0.879, 331.1),
            ("simsiam", 0.904, 333.7),
            ("swav", 0.884, 330.5),
        ],
    ),
    *_rows(
        "lightly-imagenette",
        256,
        800,
        [
            ("barlow_twins", 0.852, 298.5),
            ("byol", 0.887, 214.8),
            ("moco", 0.874, 231.7),
            ("simclr", 0.889, 193.5),
            ("simsiam", 0.872, 206.4),
            ("swav", 0.902, 283.2),
        ],
    ),
    *_rows(
        "solo-cifar100",
        256,
        1000,
        [
            ("barlow_twins", 0.7090),
            ("byol", 0.7046),
            ("moco", 0.6989),
            ("simclr", 0.6578),
            ("simsiam", 0.6604),
            ("swav", 0.6488),
        ],
    ),
]


def rows_of(setting: str, methods: Sequence[str] = ()) -> list[Row]:
    """Rows of a table, from the shortest to the longest.

    Args:
        setting: Its name.
        methods: Only of these; none for all.
    """
    chosen = [r for r in ROWS if r.setting == setting and (not methods or r.method in methods)]
    cost = {"moco": 4, "byol": 4}  # passes of a network over an image; of two views without keys: 2
    return sorted(
        chosen,
        key=lambda row: row.minutes or row.epochs * cost.get(row.method, 2),
    )
