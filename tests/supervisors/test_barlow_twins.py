from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.evaluation import show_algorithm
from super_selfish.supervisors import BarlowTwinsSupervisor
from super_selfish.supervisors.two_views import TwoViews
from tests.references import barlow_twins_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> BarlowTwinsSupervisor:
    torch.manual_seed(0)
    settings = {"embedding_size": 8, "hidden_size": 16, **settings}
    return BarlowTwinsSupervisor(images, backbone, **settings)


def views_of(generator: torch.Generator, number: int = 12) -> TwoViews:
    coarse = torch.rand(number, 3, 4, 4, generator=generator)
    first = F.interpolate(coarse, size=(32, 32), mode="bilinear")
    second = (first + 0.1 * torch.rand(first.shape, generator=generator)).clamp(max=1)
    return TwoViews(first, second, torch.arange(number))


class Tenfold(nn.Module):
    """Larger numbers, beside whose variances the 1e-5 of batch norm is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 8)

    def forward(self, features: Tensor) -> Tensor:
        return 1000 * self.layer(features)


def test_the_loss_is_that_of_the_paper(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), predictor=Tenfold(), off_diagonal_weight=0.02)
    supervisor.eval()
    data = views_of(generator)
    with torch.no_grad():
        first, second = supervisor.model(data.first), supervisor.model(data.second)
        expected = barlow_twins_in_loops(first, second, 0.02)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-3)


def test_numbers_that_have_to_do_with_nothing_cost_what_is_told(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    class Random(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return torch.randn(len(features), 32, generator=generator)

    supervisor = small(images, tiny_backbone(), predictor=Random(), embedding_size=32)
    loss = float(supervisor(views_of(generator, 256)))
    told = supervisor.chance_loss({"unrelated": float(supervisor._logged["unrelated"])})
    assert loss == pytest.approx(told, rel=0.05)
    assert float(supervisor._logged["agreement"]) == pytest.approx(0, abs=0.05)
    assert float(supervisor._logged["redundancy"]) == pytest.approx(256**-0.5, rel=0.1)


def test_without_the_second_term_all_numbers_say_the_same(tiny_backbone: Backbones) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(64, 3, 4, 4, generator=generator)
    images = (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)
    rows, verdicts = [], []
    for weight in (0.3, 0.0):
        supervisor = small(images, tiny_backbone(), augmentation="mild", off_diagonal_weight=weight)
        supervisor.supervise(lr=0.01, epochs=40, batch_size=64, name=None, progress=False)
        rows.append((supervisor.history[0], supervisor.history[-1]))
        verdicts.append(supervisor._health(supervisor.history[-1]))
    (before, healthy), (_, alike) = rows
    assert healthy["loss"] < 0.5 * before["loss"]
    assert healthy["agreement"] > before["agreement"]
    assert healthy["redundancy"] < 0.7 * before["redundancy"]
    assert verdicts[0] is None
    assert alike["redundancy"] > 0.9
    assert verdicts[1] is not None
    assert verdicts[1].startswith("all numbers of the embedding say the same")


@pytest.mark.parametrize(("batch_size", "is_said"), [(31, True), (32, False)])
def test_batches_that_are_too_small_are_told_of(
    tiny_backbone: Backbones, batch_size: int, is_said: bool
) -> None:
    images = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small(images, tiny_backbone()).supervise(epochs=1, batch_size=batch_size, name=None)
    said = [str(each.message) for each in caught]
    expected = "correlations over batches of 31 images are mostly chance: use batch_size=64 or more"
    assert said == ([expected] if is_said else [])


def test_what_is_shown_does_not_depend_on_what_all_embeddings_have_in_common(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    head = nn.Linear(16, 8)
    supervisor = small(images, tiny_backbone(), predictor=head)
    captions = []
    for offset in (0.0, 50.0):
        with torch.no_grad():
            head.bias.add_(offset)
        groups = show_algorithm(supervisor, [0, 5, 9]).groups
        captions.append([shown.caption for group in groups for shown in group])
    assert captions[0] == captions[1]
    assert len(set(captions[0])) > 4
