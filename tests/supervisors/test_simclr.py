from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models import MLP
from super_selfish.supervisors import SimCLRSupervisor
from super_selfish.supervisors.two_views import TwoViews
from tests.references import nt_xent_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> SimCLRSupervisor:
    torch.manual_seed(0)
    return SimCLRSupervisor(images, backbone, **{"embedding_size": 16, **settings})


def views_of(generator: torch.Generator, number: int = 6) -> TwoViews:
    first, second = (torch.rand(number, 3, 32, 32, generator=generator) for _ in range(2))
    return TwoViews(first, second, torch.arange(number))


def test_the_loss_is_that_of_the_paper(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), temperature=0.3).eval()
    data = views_of(generator)
    with torch.no_grad():
        first, second = (
            F.normalize(supervisor.model(view), dim=1) for view in (data.first, data.second)
        )
        expected = nt_xent_in_loops(first, second, 0.3)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-5)


class Random(nn.Module):
    """Embeddings that have nothing to do with the image."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, features: Tensor) -> Tensor:
        return torch.randn(len(features), 128, generator=self.generator)


def test_independent_embeddings_cost_what_theory_says(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    # METHODS 1.6: log(2N - 1) + 1 / (2 D t^2) = 6.25 for 256 images, 128 numbers, 0.5
    supervisor = small(
        images, tiny_backbone(), predictor=Random(generator), embedding_size=128, temperature=0.5
    )
    assert float(supervisor(views_of(generator, 256))) == pytest.approx(6.25, rel=0.02)
    assert supervisor.chance_loss({"candidates": 511.0}) == pytest.approx(6.24, abs=0.01)


def test_both_views_pass_the_network_at_once(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone())
    sizes: list[int] = []
    supervisor.model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    supervisor(views_of(generator))
    assert sizes == [12]


def test_no_view_is_its_own_negative(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    # Of one image there is one candidate, which is right.
    supervisor = small(images, tiny_backbone()).eval()
    with torch.no_grad():
        assert float(supervisor(views_of(generator, 1))) == 0
    assert supervisor._logged["accuracy"] == 1
    assert supervisor._logged["candidates"] == 1


def test_it_learns_to_tell_images_apart(tiny_backbone: Backbones) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(32, 3, 4, 4, generator=generator)
    images = (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)
    supervisor = small(images, tiny_backbone(), augmentation="mild")
    supervisor.supervise(lr=0.01, epochs=40, batch_size=32, name=None, progress=False)
    first, last = supervisor.history[0], supervisor.history[-1]
    assert first["candidates"] == last["candidates"] == 63
    assert first["accuracy"] < 0.2 < 0.5 < last["accuracy"]
    assert last["loss"] < first["loss"] - 1 < math.log(63)
    assert supervisor._health(last) is None


def test_layers_of_the_projector(images: Tensor, tiny_backbone: Backbones) -> None:
    for number in (1, 2, 3):
        head = small(images, tiny_backbone(), num_layers=number).get_predictor()
        assert isinstance(head, MLP)
        layers = [layer for layer in head if isinstance(layer, nn.Linear)]
        assert [layer.out_features for layer in layers] == [*[16] * (number - 1), 16]
