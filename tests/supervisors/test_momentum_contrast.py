from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply
from super_selfish.augmentations.filters import RandomGaussianBlur
from super_selfish.augmentations.resampling import RandomResizedCrop
from super_selfish.data.collate import Batch
from super_selfish.models import MLP
from super_selfish.supervisors import HealthWarning, MomentumContrastSupervisor
from super_selfish.supervisors.momentum_contrast import (
    ShuffledViewCollator,
    ShuffledViews,
    default_queue_size,
)
from tests.conftest import TinyBackbone
from tests.references import info_nce_in_loops

Backbones = Callable[..., nn.Module]


def small(images: Tensor, backbone: nn.Module, **settings: Any) -> MomentumContrastSupervisor:
    torch.manual_seed(0)
    return MomentumContrastSupervisor(
        images, backbone, **{"embedding_size": 8, "queue_size": 10, **settings}
    )


def views_of(generator: torch.Generator, number: int = 6) -> ShuffledViews:
    first, second = (torch.rand(number, 3, 32, 32, generator=generator) for _ in range(2))
    return ShuffledViews(first, second, torch.randperm(number, generator=generator))


def freeze_norms(supervisor: MomentumContrastSupervisor) -> None:
    """So that what an image becomes does not depend on its batch; the rest stays in training."""
    for norm in (m for m in supervisor.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()


def unit(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return F.normalize(network(images), dim=1)


def test_the_loss_is_that_of_the_paper_and_no_key_is_its_own_negative(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone())
    freeze_norms(supervisor)
    for step in range(3):
        data = views_of(generator)
        negatives = supervisor.queue.snapshot()
        queries = unit(supervisor.model, data.first)
        keys = unit(supervisor.momentum_encoder, data.second)
        expected = info_nce_in_loops(queries, keys, negatives, 0.2)
        assert float(supervisor(data).detach()) == pytest.approx(expected, rel=1e-4)
        places = (torch.arange(6) + 6 * step) % 10
        torch.testing.assert_close(supervisor.queue.keys[places], keys, rtol=0, atol=1e-6)


def test_both_directions_have_the_negatives_from_before_the_step(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), symmetric=True, queue_size=20)
    freeze_norms(supervisor)
    data = views_of(generator)
    negatives = supervisor.queue.snapshot()
    views = data.first, data.second
    queries = [unit(supervisor.model, view) for view in views]
    keys = [unit(supervisor.momentum_encoder, view) for view in views]
    expected = info_nce_in_loops(queries[0], keys[1], negatives, 0.2)
    expected += info_nce_in_loops(queries[1], keys[0], negatives, 0.2)
    assert float(supervisor(data).detach()) == pytest.approx(expected / 2, rel=1e-4)
    torch.testing.assert_close(supervisor.queue.keys[:12], torch.cat(keys), rtol=0, atol=1e-6)
    assert torch.equal(supervisor.queue.keys[12:], negatives[12:])
    assert int(supervisor.queue.num_valid) == 12


def test_random_keys_in_the_queue_cost_what_theory_says(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    # METHODS.md 1.6: log(1 + K exp(-cos / t + 1 / (2 D t^2))) with one cosine for all positives.
    class Parallel(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return F.pad(torch.ones(len(features), 1), (0, 127)) + 0 * features.sum()

    supervisor = small(
        images, tiny_backbone(), predictor=Parallel(), embedding_size=128, queue_size=4096
    )
    data = views_of(torch.Generator().manual_seed(0))
    expected = math.log(1 + 4096 * math.exp(-1 / 0.2 + 1 / (2 * 128 * 0.04)))
    assert float(supervisor(data).detach()) == pytest.approx(expected, rel=0.05)


def test_an_untrained_networks_own_keys_are_told_apart_by_chance(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone(), queue_size=22, embedding_size=128)
    assert isinstance(supervisor.collate_fn, ShuffledViewCollator)
    for seed in range(2):
        data = supervisor.collate_fn.augment(
            Batch(images, torch.arange(22)), torch.Generator().manual_seed(seed)
        )
        loss = float(supervisor(data).detach())
    assert loss == pytest.approx(math.log(23), rel=0.1)


def test_nothing_but_the_network_gets_a_gradient(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone(), symmetric=True)
    supervisor(views_of(generator)).backward()
    assert all(p.grad is not None for p in supervisor.model.parameters())
    assert all(p.grad is None for p in supervisor.momentum_encoder.parameters())
    assert not supervisor.queue.keys.requires_grad


def test_an_update_moves_the_average_by_the_momentum(
    images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = small(images, tiny_backbone(), momentum=0.8)
    average = supervisor.momentum_encoder
    before = [p.clone() for p in average.parameters()]
    for_real, updates = average.update, []

    def update(network: nn.Module, momentum: float) -> None:
        for_real(network, momentum)
        for n, (now, online) in enumerate(
            zip(average.parameters(), network.parameters(), strict=True)
        ):
            torch.testing.assert_close(now, 0.8 * before[n] + 0.2 * online)
            before[n] = now.clone()
        updates.append(momentum)

    monkeypatch.setattr(average, "update", update)
    supervisor.supervise(epochs=2, batch_size=4, accumulate=2, name=None)
    assert updates == [0.8] * 6  # as often as the weights moved: 6 batches, 3 updates an epoch


def test_looking_on_leaves_the_queue_alone(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone()).eval()
    before = {name: value.clone() for name, value in supervisor.queue.state_dict().items()}
    supervisor(views_of(generator))
    for name, value in supervisor.queue.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_keys_are_normalised_in_other_groups_than_their_queries(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    class Marked(nn.Module):
        """Sees the number of an image in its first pixel, and notes who is normalised together."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = tiny_backbone()

        def forward(self, pictures: Tensor) -> Tensor:
            seen.append((pictures[:, 0, 0, 0] * 1000).round().long().tolist())
            features: Tensor = self.layers(pictures)
            return features

    seen: list[list[int]] = []
    supervisor = small(images, Marked())
    seen.clear()
    numbered = torch.zeros(128, 3, 32, 32)
    numbered[:, 0, 0, 0] = torch.arange(128) / 1000
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    supervisor(ShuffledViews(numbered, numbered, order))
    assert [len(group) for group in seen] == [16] * 16
    queries, keys = seen[:8], seen[8:]
    assert [image for group in queries for image in group] == list(range(128))
    assert sorted(image for group in keys for image in group) == list(range(128))
    together = sum(len(set(q) & set(k)) for q, k in zip(queries, keys, strict=True))
    assert together / 128 < 0.3  # 1/8 by chance


@pytest.mark.parametrize(("batch", "groups"), [(8, 1), (31, 1), (32, 2), (100, 6), (128, 8)])
def test_groups_have_sixteen_images_at_least(
    images: Tensor, tiny_backbone: Backbones, batch: int, groups: int
) -> None:
    supervisor = small(images, tiny_backbone())
    calls: list[int] = []
    supervisor.model.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    black = torch.zeros(batch, 3, 32, 32)
    supervisor(ShuffledViews(black, black, torch.arange(batch)))
    assert len(calls) == groups
    assert sum(calls) == batch
    assert groups == 1 or min(calls) >= 16


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_batch_moves_the_running_statistics_as_often_as_the_authors_do(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator, symmetric: bool
) -> None:
    supervisor = small(images, tiny_backbone(), symmetric=symmetric, norm_groups=4)
    supervisor(views_of(generator, 64)).backward()
    passes = 2 if symmetric else 1
    for network in (supervisor.model, supervisor.momentum_encoder):
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(norm.num_batches_tracked == passes for norm in norms)
        assert len(norms) == 2


class LayerNormed(nn.Module):
    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.GroupNorm(1, 16), nn.ReLU())

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.layers(pictures).mean(dim=(2, 3))
        return features


@pytest.mark.parametrize(
    ("backbone", "batch_size", "norm_groups", "said"),
    [
        (TinyBackbone, 32, 8, "batches of 32 make 2 of the 4 groups or more"),
        (TinyBackbone, 63, 8, "batches of 63 make 3 of the 4 groups or more"),
        (TinyBackbone, 64, 8, None),
        (TinyBackbone, 256, 2, "batches of 256 make 2 of the 4 groups or more"),
        (LayerNormed, 8, 8, None),
    ],
)
def test_batches_that_hardly_hide_the_pairs_are_said_once(
    images: Tensor, backbone: type[nn.Module], batch_size: int, norm_groups: int, said: str | None
) -> None:
    supervisor = small(images, backbone(), norm_groups=norm_groups)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        supervisor.supervise(epochs=2, batch_size=batch_size, name=None)
    texts = [str(warning.message) for warning in caught if warning.category is HealthWarning]
    assert [text.partition(" that are needed")[0] for text in texts] == ([said] if said else [])


def test_the_order_of_a_step_is_a_permutation(images: Tensor, tiny_backbone: Backbones) -> None:
    collate_fn = small(images, tiny_backbone()).collate_fn
    assert isinstance(collate_fn, ShuffledViewCollator)
    orders = [
        collate_fn.augment(
            Batch(images, torch.arange(22)), torch.Generator().manual_seed(seed)
        ).order
        for seed in range(2)
    ]
    assert all(torch.equal(order.sort().values, torch.arange(22)) for order in orders)
    assert not torch.equal(*orders)


@pytest.mark.parametrize("side", [32, 64])
def test_both_views_are_cropped_and_small_images_are_not_blurred(
    tiny_backbone: Backbones, side: int
) -> None:
    supervisor = MomentumContrastSupervisor(backbone=tiny_backbone(), image_size=side)
    assert isinstance(supervisor.collate_fn, ShuffledViewCollator)
    for view in (supervisor.collate_fn.first, supervisor.collate_fn.second):
        assert isinstance(view, Compose)
        crop, *others = view.augmentations
        assert isinstance(crop, RandomResizedCrop)

        def is_blur(step: Augmentation) -> bool:
            return isinstance(step, RandomApply) and isinstance(
                step.augmentation, RandomGaussianBlur
            )

        assert any(is_blur(step) for step in others) == (side > 32)


@pytest.mark.parametrize(
    ("images", "size"),
    [
        (None, 4096),
        (1, 1),
        (7, 3),
        (8191, 4095),
        (60_000, 4096),
        (100_000, 4096),
        (100_001, 50_000),
        (1_281_167, 65_536),
    ],
)
def test_the_queue_suits_the_dataset(images: int | None, size: int) -> None:
    assert default_queue_size(images) == size


def test_a_short_dataset_halves_its_queue_and_another_size_may_be_asked_for(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = MomentumContrastSupervisor(images, tiny_backbone())
    assert len(supervisor.queue.keys) == supervisor.arguments["queue_size"] == 11
    assert len(small(images, tiny_backbone(), queue_size=100).queue.keys) == 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"momentum": 1.0}, r"^momentum must be in \[0, 1\), got 1.0$"),
        ({"norm_groups": 0}, "^norm_groups must be at least 1, got 0$"),
        ({"queue_size": 0}, "^queue_size must be at least 1, got 0$"),
        ({"embedding_size": 0}, "^embedding_size must be at least 1, got 0$"),
        ({"temperature": 0.0}, "^temperature must be > 0, got 0.0$"),
        ({"temperature": math.inf}, "^temperature must be finite, got inf$"),
        ({"predictor": MLP(16, (), 5)}, "gives 5 numbers, embedding_size is 8: give embedding"),
    ],
)
def test_wrong_arguments_are_refused(
    images: Tensor, tiny_backbone: Backbones, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small(images, tiny_backbone(), **wrong)


def test_health_knows_collapse_and_a_leak(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = small(images, tiny_backbone())
    row = {"epoch": 3.0, "key_spread": 0.8, "accuracy": 0.995}
    assert supervisor._health(row) is None  # as long as the queue holds random keys
    supervisor.queue.num_valid.fill_(10)
    assert str(supervisor._health(row)).startswith("99.5% of the views are found after 3 epochs")
    assert supervisor._health({**row, "accuracy": 0.9}) is None
    assert supervisor._health({**row, "epoch": 6.0}) is None
    collapsed = supervisor._health({**row, "key_spread": 0.02})
    assert str(collapsed).startswith("the embeddings have collapsed")
