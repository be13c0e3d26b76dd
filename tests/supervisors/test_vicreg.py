from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.supervisors import VICRegSupervisor
from super_selfish.supervisors.two_views import TwoViews
from tests.references import vicreg_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> VICRegSupervisor:
    torch.manual_seed(0)
    settings = {"embedding_size": 8, "hidden_size": 16, **settings}
    return VICRegSupervisor(images, backbone, **settings)


def smooth(number: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 4, 4, generator=generator)
    return F.interpolate(coarse, size=(32, 32), mode="bilinear")


def test_the_loss_is_that_of_the_paper(tiny_backbone: Backbones) -> None:
    first = smooth(12)
    weights = {"invariance_weight": 3.0, "variance_weight": 2.0, "covariance_weight": 0.5}
    supervisor = small(first, tiny_backbone(), deviation=1.5, **weights).eval().double()
    data = TwoViews(first.double(), first.double().flip(3), torch.arange(12))
    with torch.no_grad():
        embeddings = supervisor.model(data.first), supervisor.model(data.second)
        expected = vicreg_in_loops(*embeddings, (3.0, 2.0, 0.5), 1.5)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-9)
    assert float(supervisor._logged["deviation"]) > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"variance_weight": 0.0}, "the embeddings have collapsed: their numbers deviate by 0.0"),
        (
            {"covariance_weight": 0.0, "invariance_weight": 100.0},
            "all numbers of the embedding say",
        ),
    ],
)
def test_each_term_keeps_from_a_failure_of_its_own(
    settings: dict[str, float], words: str | None, tiny_backbone: Backbones
) -> None:
    images = (smooth(64) * 255).to(torch.uint8)
    supervisor = small(images, tiny_backbone(), augmentation="mild", **settings)
    supervisor.supervise(lr=0.01, epochs=40, batch_size=64, name=None, progress=False)
    verdict = supervisor._health(supervisor.history[-1])
    assert (verdict is None) == (words is None), (verdict, supervisor.history[-1])
    assert words is None or str(verdict).startswith(words)


@pytest.mark.parametrize(("batch_size", "is_said"), [(31, True), (32, False)])
def test_batches_that_are_too_small_are_told_of(
    tiny_backbone: Backbones, batch_size: int, is_said: bool
) -> None:
    images = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small(images, tiny_backbone()).supervise(epochs=1, batch_size=batch_size, name=None)
    assert any("batches of 31 images" in str(each.message) for each in caught) == is_said
