"""What guessing costs, and what the columns of the history mean: every algorithm says it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation.report.course import MEANINGS
from super_selfish.supervisors import SUPERVISORS

Backbones = Callable[..., nn.Module]
IMAGES = 22
ROW = {
    "epoch": 3.0,
    "constant_loss": 4.5,
    "loss": 3.0,
    "information": 0.5,
    "variance": 0.25,
    "candidates": 43.0,
    "unrelated": 321.0,
    "guess": 0.75,
}


def build(algorithm: str, images: Tensor, backbone: Any, **arguments: Any) -> Any:
    return SUPERVISORS[algorithm](images, backbone=backbone, **arguments)


@pytest.mark.parametrize(
    ("algorithm", "arguments", "expected"),
    [
        ("rotate", {}, math.log(4)),
        ("rotate", {"rotations": (0, 90, 180)}, math.log(3)),
        ("rotate", {"loss": nn.MultiMarginLoss()}, None),
        ("jigsaw", {}, math.log(24)),
        ("exemplar", {}, math.log(IMAGES)),
        ("context_prediction", {}, math.log(8)),
        ("cpc", {}, 3.5),
        ("denoise", {}, 0.25),
        ("mae", {}, 0.25),
        ("colorization", {}, 4.5),
        ("counting", {"margin": 4.0, "weight": 0.5}, 2.0),
        ("context", {}, None),
        ("bigan", {}, None),
        ("instance", {"num_negatives": 9}, math.log(10)),
        ("instance", {"num_negatives": 500}, math.log(IMAGES)),  # the whole memory
        ("instance", {"form": "nce"}, None),
        ("pirl", {"num_negatives": 9}, math.log(10)),
        ("cmc", {"num_negatives": 9}, 2 * math.log(10)),
        ("moco", {"queue_size": 7}, math.log(8)),
        ("byol", {}, 4.0),
        ("dino", {}, math.log(512)),
        ("dino", {"num_classes": 7}, math.log(7)),
        ("dino", {"loss": nn.MSELoss()}, None),
        ("swav", {}, math.log(11)),
        ("swav", {"num_prototypes": 7}, math.log(7)),
        ("swav", {"loss": nn.MSELoss()}, None),
        ("barlow_twins", {}, 321.0),
        ("barlow_twins", {"loss": nn.MSELoss()}, None),
        ("vicreg", {}, 24.75),  # METHODS 1.6
        ("vicreg", {"variance_weight": 2.0, "deviation": 0.5}, 0.98),
        ("vicreg", {"deviation": 0.005}, 0.0),  # equal embeddings have more, by the epsilon
        ("vicreg", {"loss": nn.MSELoss()}, None),
        ("deep_cluster", {}, math.log(2)),
        ("deep_cluster", {"num_clusters": (2, 8)}, math.log(4)),
        ("deep_cluster", {"loss": nn.MSELoss()}, None),
        ("lejepa", {}, 4.5),
        ("lejepa", {"loss": nn.MSELoss()}, None),
        ("distillation", {}, 0.75),
        ("distillation", {"loss": nn.MSELoss()}, None),
        ("nnclr", {}, math.log(43)),
        ("nnclr", {"loss": nn.CosineEmbeddingLoss()}, None),
        ("simsiam", {}, 0.0),
        ("simsiam", {"loss": nn.CosineEmbeddingLoss()}, None),
        ("simclr", {}, math.log(43)),
        ("simclr", {"loss": nn.CosineEmbeddingLoss()}, None),
    ],
)
def test_chance_is_what_guessing_costs(
    algorithm: str,
    arguments: dict[str, Any],
    expected: float | None,
    images: Tensor,
    tiny_backbone: Backbones,
) -> None:
    supervisor = build(algorithm, images[:IMAGES], tiny_backbone(), **arguments)
    assert supervisor.chance_loss(ROW) == (None if expected is None else pytest.approx(expected))


def test_split_brain_guesses_among_the_bins(images: Tensor) -> None:
    supervisor = SUPERVISORS["split_brain"](images, backbone="narrow-resnet")
    l_size, a_size, b_size = supervisor.bins.sizes
    assert supervisor.chance_loss(ROW) == pytest.approx(math.log(l_size * a_size * b_size))


@pytest.mark.parametrize("algorithm", SUPERVISORS)
def test_every_column_of_the_history_has_a_caption(
    algorithm: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    torch.manual_seed(0)
    backbone = "narrow-resnet" if algorithm == "split_brain" else tiny_backbone()
    supervisor = build(algorithm, images, backbone)
    supervisor.supervise(epochs=1, batch_size=len(images), name=None, progress=False)
    told = {*MEANINGS, *supervisor.meanings, "epoch", "loss", "seconds", "waited_for_data"}
    columns = {name for name in supervisor.history[0] if name.rpartition(".")[2] not in told}
    assert columns - told <= {"unreadable"}
    assert set(supervisor.meanings) <= set(supervisor.history[0])  # none for what is not logged
