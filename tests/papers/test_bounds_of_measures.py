"""Numbers of data, training and evaluation at the edge of their range, and just beyond it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from super_selfish.data import ImageSource
from super_selfish.data.fitting import parse_size
from super_selfish.data.frames import parse_pages
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.value_range import parse_value_range
from super_selfish.evaluation import Monitor, extract_features
from super_selfish.evaluation.features import open_data
from super_selfish.evaluation.few_label import FewLabels
from super_selfish.evaluation.finetune import finetune
from super_selfish.evaluation.health.health import health_of_features, spread_images
from super_selfish.evaluation.health.measures import directions_carrying, uniformity
from super_selfish.evaluation.knn import knn_scores
from super_selfish.evaluation.linear import fit_linear_probe
from super_selfish.evaluation.metrics import top_k_accuracy
from super_selfish.training import Cosine, EarlyStopping
from super_selfish.training.optimizers import LARS
from super_selfish.training.schedules import WarmupCosine
from tests.papers.bounds import COUNT, INNER_SHARE, TINY, Part, arguments_of

IMAGES = torch.arange(4 * 3 * 32 * 32, dtype=torch.int64).remainder(251).to(torch.uint8)
IMAGES = IMAGES.view(4, 3, 32, 32)
LABELS = torch.tensor([0, 1, 0, 1])
FEATURES = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
NETWORK = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
OPTIMIZER = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)


def subset(first: int, last: int) -> None:
    ImageSource(IMAGES).subset([first, last])


def rows(number: int) -> None:
    health_of_features(*3 * [FEATURES[:number]])


def spread_of(number: int) -> None:
    uniformity(FEATURES[:number])


def spread(most: int | None) -> None:
    spread_images(open_data((IMAGES, LABELS)), most)


PARTS = {
    "EpochBatches": Part(
        EpochBatches, {"num_images": 2, "batch_size": 2}, {"num_images": COUNT, "batch_size": COUNT}
    ),
    "subset": Part(subset, {"first": 0, "last": 3}, {"first": ([0], [-1]), "last": ([3], [4])}),
    "ImageSource": Part(ImageSource, {"data": IMAGES}, {"in_channels": COUNT}),
    "parse_size": Part(parse_size, {}, {"size": ([1, (1, 1)], [0, (0, 1), (1, 0), (1, 1, 1)])}),
    "parse_pages": Part(parse_pages, {}, {"pages": ([0, None], [-1, True, 0.5])}),
    "parse_value_range": Part(
        parse_value_range,
        {},
        {"value_range": ([(0.0, TINY)], [(0.0, 0.0), (1.0, 0.0), (0.0, math.inf)])},
    ),
    "FewLabels": Part(
        FewLabels,
        {},
        {"share": ([TINY, 1.0], [0.0, 1 + TINY]), "per_class": COUNT},
    ),
    "FewLabels of a class": Part(FewLabels, {"per_class": 1}, {"draws": COUNT}),
    "Monitor": Part(
        Monitor,
        {},
        {
            "every": ([1, "auto"], [0, True, 1.0]),
            "neighbours": ([1, None], [0]),
            "num_images": ([2], [1]),
            "batch_size": COUNT,
        },
    ),
    "health_of_features": Part(rows, {}, {"number": ([2], [1])}),
    "uniformity": Part(spread_of, {}, {"number": ([2], [1])}),
    "spread_images": Part(spread, {}, {"most": ([2, None], [1])}),
    "directions_carrying": Part(
        directions_carrying, {"shares": torch.tensor([0.7, 0.3])}, {"part": INNER_SHARE}
    ),
    "extract_features": Part(
        extract_features,
        {"backbone": NETWORK, "data": IMAGES},
        {"batch_size": COUNT},
    ),
    "finetune": Part(
        finetune,
        {
            "backbone": NETWORK,
            "train": open_data((IMAGES, LABELS)),
            "test": open_data((IMAGES, LABELS)),
            "epochs": 1,
            "lrs": (0.1,),
            "batch_size": 4,
        },
        {
            "max_updates": COUNT,
            "batch_size": ([2], [0]),
            "lrs": ([(TINY,)], [(0.0,), ()]),
            "epochs": ([1], [0, ()]),
        },
    ),
    "knn_scores": Part(
        knn_scores,
        {"train_features": FEATURES, "train_labels": LABELS, "test_features": FEATURES},
        {"k": ([1], [0]), "temperature": ([1e-3], [0.0])},
    ),
    "fit_linear_probe": Part(
        fit_linear_probe,
        {"features": FEATURES, "labels": LABELS, "regularizations": (1.0, 0.1)},
        {"regularizations": ([(TINY,)], [(0.0,), ()]), "validation": INNER_SHARE},
    ),
    "top_k_accuracy": Part(
        top_k_accuracy,
        {"scores": FEATURES, "classes": torch.arange(3), "labels": LABELS},
        {"k": COUNT},
    ),
    "LARS": Part(
        LARS,
        {"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1},
        {
            "lr": ([0.0], [-TINY]),
            "momentum": ([0.0, 1 - TINY], [-TINY, 1.0]),
            "weight_decay": ([0.0], [-TINY]),
            "trust_coefficient": ([TINY], [0.0]),
        },
    ),
    "WarmupCosine": Part(
        WarmupCosine,
        {"optimizer": OPTIMIZER, "total_steps": 4},
        {
            "total_steps": COUNT,
            "warmup_steps": ([0, 3], [-1, 4]),
            "end_lr": ([0.0, 2.0], [-TINY, 2 + TINY]),
        },
    ),
    "Cosine": Part(
        Cosine,
        {},
        {
            "warmup_epochs": ([0.0, None], [-TINY, math.inf]),
            "end_lr": ([0.0], [-TINY, math.inf]),
        },
    ),
    "EarlyStopping": Part(
        EarlyStopping, {"metric": "loss"}, {"patience": COUNT, "min_delta": ([0.0], [-TINY])}
    ),
}


@pytest.mark.parametrize(("name", "argument"), arguments_of(PARTS))
def test_the_edges_of_a_range_are_taken_and_what_lies_beyond_is_refused(
    name: str, argument: str
) -> None:
    PARTS[name].check(argument)
