from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply
from super_selfish.augmentations.tone import RandomSolarize
from super_selfish.models import MLP, momentum_at
from super_selfish.supervisors import BYOLSupervisor
from super_selfish.supervisors.byol import hidden_width
from super_selfish.supervisors.diagnostics import spread
from super_selfish.supervisors.two_views import TwoViewCollator, TwoViews
from tests.references import cosine_regression_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> BYOLSupervisor:
    torch.manual_seed(0)
    return BYOLSupervisor(images, backbone, **{"embedding_size": 16, "hidden_size": 32, **settings})


def views_of(generator: torch.Generator, number: int = 6) -> TwoViews:
    first, second = (torch.rand(number, 3, 32, 32, generator=generator) for _ in range(2))
    return TwoViews(first, second, torch.arange(number))


def test_the_loss_is_the_sum_of_both_directions(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone()).eval()
    data = views_of(generator)
    with torch.no_grad():
        predictions = [
            supervisor.prediction_head(supervisor.model(v)) for v in (data.first, data.second)
        ]
        targets = [supervisor.model(v) for v in (data.first, data.second)]  # the copy starts equal
        expected = cosine_regression_in_loops(predictions[0], targets[1])
        expected += cosine_regression_in_loops(predictions[1], targets[0])
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-4)
    assert 0 <= expected <= 8


def test_independent_embeddings_cost_four(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    class Noise(nn.Module):
        def forward(self, embeddings: Tensor) -> Tensor:
            return torch.randn(embeddings.shape, generator=generator)

    supervisor = small(images, tiny_backbone(), embedding_size=256, prediction_head=Noise())
    with torch.no_grad():
        loss = float(supervisor(views_of(generator, 64)))
    assert loss == pytest.approx(4, rel=0.05)


def test_a_network_that_foretells_its_target_costs_nothing(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), prediction_head=nn.Identity()).eval()
    data = views_of(generator)
    with torch.no_grad():
        assert float(supervisor(data._replace(second=data.first))) == pytest.approx(0, abs=1e-6)


def test_the_momentum_encoder_follows_backbone_and_projector_and_has_no_prediction_head(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone())
    names = [name for name, _ in supervisor.momentum_encoder.network.named_parameters()]
    assert names == [name for name, _ in supervisor.model.named_parameters()]
    assert any(name.startswith("predictor.") for name in names)
    assert not any(p.requires_grad for p in supervisor.momentum_encoder.parameters())


def test_an_update_moves_the_average_by_the_momentum_of_its_step(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = small(images, tiny_backbone(), momentum=0.8)
    before = [p.clone() for p in supervisor.momentum_encoder.parameters()]
    used: list[float] = []
    for_real = supervisor.momentum_encoder.update

    def update(network: nn.Module, momentum: float) -> None:
        for_real(network, momentum)
        for n, online in enumerate(network.parameters()):
            expected = momentum * before[n] + (1 - momentum) * online
            now = list(supervisor.momentum_encoder.parameters())[n]
            torch.testing.assert_close(now, expected)
            before[n] = now.clone()
        used.append(momentum)

    monkeypatch.setattr(supervisor.momentum_encoder, "update", update)
    supervisor.supervise(epochs=2, batch_size=8, name=None)
    assert used == pytest.approx([momentum_at(step, 6, 0.8) for step in range(6)])


def test_accumulated_batches_are_one_step_of_the_momentum(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = small(images, tiny_backbone(), momentum=0.5)
    used: list[float] = []
    monkeypatch.setattr(
        supervisor.momentum_encoder, "update", lambda _, momentum: used.append(momentum)
    )
    supervisor.supervise(epochs=2, batch_size=8, accumulate=2, name=None)  # 2 + 1 batches
    assert used == pytest.approx([momentum_at(step, 4, 0.5) for step in range(4)])


def test_views_are_asymmetric(images: Tensor, tiny_backbone: Backbones) -> None:
    def is_solarised(view: Augmentation) -> bool:
        assert isinstance(view, Compose)
        last = view.augmentations[-1]
        return isinstance(last, RandomApply) and isinstance(last.augmentation, RandomSolarize)

    collate_fn = small(images, tiny_backbone()).collate_fn
    assert isinstance(collate_fn, TwoViewCollator)
    assert not is_solarised(collate_fn.first)
    assert is_solarised(collate_fn.second)


class WithoutStop(BYOLSupervisor):
    """The target is the network itself, with gradient, and nothing foretells it."""

    def _forward(self, data: TwoViews) -> Tensor:
        first, second = self.model(data.first), self.model(data.second)
        self._log(target_spread=spread(F.normalize(first.detach(), dim=1)))
        return 2 * self.loss(first, second)


def test_without_prediction_head_and_stopped_gradient_the_embeddings_collapse(
    tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    coarse = torch.rand(32, 3, 4, 4, generator=generator)
    images = (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)
    rows = []
    for kind in (BYOLSupervisor, WithoutStop):
        torch.manual_seed(0)
        supervisor = kind(images, tiny_backbone(), embedding_size=16, hidden_size=32, momentum=0.9)
        supervisor.supervise(lr=0.02, epochs=15, batch_size=32, name=None)
        rows.append((supervisor._health(supervisor.history[-1]), supervisor.history[-1]))
    (verdict, healthy), (ill_verdict, collapsed) = rows
    assert healthy["target_spread"] > 0.3
    assert verdict is None
    assert collapsed["loss"] < 0.1
    assert collapsed["target_spread"] < 0.1
    assert ill_verdict is not None
    assert ill_verdict.startswith("the embeddings have collapsed")


@pytest.mark.parametrize(("features", "width"), [(16, 512), (512, 2048), (1280, 4096)])
def test_hidden_layers_suit_the_backbone(features: int, width: int) -> None:
    assert hidden_width(features) == width


def test_heads_of_the_users_own(images: Tensor, tiny_backbone: Backbones) -> None:
    projector, head = MLP(16, (8,), 12), nn.Linear(12, 12)
    supervisor = BYOLSupervisor(
        images, tiny_backbone(), projector, prediction_head=head, embedding_size=12
    )
    assert supervisor.get_predictor() is projector
    assert supervisor.prediction_head is head
    before = copy.deepcopy(head.weight)
    supervisor.supervise(epochs=1, batch_size=11, name=None)
    assert not torch.equal(head.weight, before)


def test_wrong_arguments_are_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match=r"^momentum must be in \[0, 1\], got 1.5$"):
        small(images, tiny_backbone(), momentum=1.5)
    with pytest.raises(ValueError, match=r"gives 12 numbers, embedding_size is 16: give embedd"):
        small(images, tiny_backbone(), predictor=MLP(16, (8,), 12))
