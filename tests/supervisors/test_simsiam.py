from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models import MLP
from super_selfish.supervisors import SimSiamSupervisor
from super_selfish.supervisors.diagnostics import spread
from super_selfish.supervisors.two_views import TwoViews
from tests.references import negative_cosine_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> SimSiamSupervisor:
    torch.manual_seed(0)
    settings = {"embedding_size": 16, "hidden_size": 32, "bottleneck_size": 8, **settings}
    return SimSiamSupervisor(images, backbone, **settings)


def views_of(generator: torch.Generator, number: int = 6) -> TwoViews:
    first, second = (torch.rand(number, 3, 32, 32, generator=generator) for _ in range(2))
    return TwoViews(first, second, torch.arange(number))


def test_the_loss_is_the_mean_of_both_directions(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone()).eval()
    data = views_of(generator)
    with torch.no_grad():
        first, second = supervisor.model(data.first), supervisor.model(data.second)
        expected = negative_cosine_in_loops(supervisor.prediction_head(first), second)
        expected += negative_cosine_in_loops(supervisor.prediction_head(second), first)
        assert float(supervisor(data)) == pytest.approx(expected / 2, rel=1e-4)
    assert -1 <= expected / 2 <= 1


def test_unrelated_embeddings_cost_nothing_and_foretold_ones_minus_one(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    class Noise(nn.Module):
        def forward(self, embeddings: Tensor) -> Tensor:
            return torch.randn(embeddings.shape, generator=generator)

    guessing = small(images, tiny_backbone(), embedding_size=256, prediction_head=Noise())
    with torch.no_grad():
        assert float(guessing(views_of(generator, 64))) == pytest.approx(0, abs=0.02)
    knowing = small(images, tiny_backbone(), prediction_head=nn.Identity()).eval()
    data = views_of(generator)
    with torch.no_grad():
        same = float(knowing(data._replace(second=data.first)))
    assert same == pytest.approx(-1, abs=1e-6)


def test_no_gradient_reaches_the_targets(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    class Nothing(nn.Module):
        """Foretells without having seen anything: all that is left are the targets."""

        def __init__(self) -> None:
            super().__init__()
            self.direction = nn.Parameter(torch.randn(16))

        def forward(self, embeddings: Tensor) -> Tensor:
            return self.direction.expand(len(embeddings), -1)

    head = Nothing()
    supervisor = small(images, tiny_backbone(), prediction_head=head)
    supervisor(views_of(generator)).backward()
    assert head.direction.grad is not None
    assert all(parameter.grad is None for parameter in supervisor.model.parameters())


@pytest.mark.parametrize("fixed", [True, False])
def test_the_rate_of_the_prediction_head_stays_where_it_began(
    images: Tensor, tiny_backbone: Backbones, fixed: bool
) -> None:
    supervisor = small(images, tiny_backbone(), fix_prediction_lr=fixed)
    rates: list[list[tuple[int, float]]] = []
    step = supervisor._after_step

    def after(run: Any) -> None:
        rates.append([(len(group["params"]), group["lr"]) for group in run.optimizer.param_groups])
        step(run)

    supervisor._after_step = after  # type: ignore[method-assign]
    supervisor.supervise(lr=0.1, epochs=4, batch_size=11, name=None, lr_scheduler="cosine")
    head = len(list(supervisor.prediction_head.parameters()))
    if not fixed:
        assert [len(groups) for groups in rates] == [1] * 8
        assert rates[-1][0][1] < 0.03
        return
    assert all(groups[1] == (head, 0.1) for groups in rates)
    assert rates[-1][0][1] < 0.03


class WithoutStop(SimSiamSupervisor):
    """The target gets the gradient too, and nothing foretells it."""

    def _forward(self, data: TwoViews) -> Tensor:
        first, second = self.model(data.first), self.model(data.second)
        self._log(spread=spread(F.normalize(first.detach(), dim=1)))
        return self.loss(first, second)


def test_without_prediction_head_and_stopped_gradient_the_embeddings_collapse(
    tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    coarse = torch.rand(32, 3, 4, 4, generator=generator)
    images = (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)
    rows = []
    for kind in (SimSiamSupervisor, WithoutStop):
        torch.manual_seed(0)
        # Without the last batch norm, which would keep embeddings apart for longer.
        head = MLP(16, (32,), 16)
        supervisor = kind(images, tiny_backbone(), head, embedding_size=16)
        supervisor.supervise(lr=0.02, epochs=40, batch_size=32, name=None, progress=False)
        rows.append((supervisor._health(supervisor.history[-1]), supervisor.history[-1]))
    (verdict, healthy), (ill_verdict, collapsed) = rows
    assert healthy["spread"] > 0.3
    assert verdict is None
    assert collapsed["loss"] < -0.95
    assert collapsed["spread"] < 0.1
    assert ill_verdict is not None
    assert ill_verdict.startswith("the embeddings have collapsed")


def test_a_projector_of_the_users_own_says_how_wide_the_space_is(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    projector = MLP(16, (8,), 12)
    supervisor = SimSiamSupervisor(images, tiny_backbone(), projector)
    assert supervisor.get_predictor() is projector
    assert isinstance(supervisor.prediction_head, MLP)
    assert supervisor.prediction_head.in_features == 12
    assert supervisor.prediction_head.out_features == 12
    supervisor.supervise(epochs=1, batch_size=11, name=None)


@pytest.mark.parametrize(("size", "narrow"), [(3, 1), (4, 1), (16, 4)])
def test_the_bottleneck_has_a_quarter_of_the_numbers_and_one_at_least(
    images: Tensor, tiny_backbone: Callable[..., nn.Module], size: int, narrow: int
) -> None:
    supervisor = SimSiamSupervisor(images, tiny_backbone(), embedding_size=size, hidden_size=4)
    layers = [part for part in supervisor.prediction_head.modules() if isinstance(part, nn.Linear)]
    assert [part.out_features for part in layers] == [narrow, size]
