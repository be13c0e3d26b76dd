from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data import as_source, photographs
from super_selfish.evaluation import evaluate
from super_selfish.evaluation.features import open_data
from super_selfish.evaluation.health.twin import TwinMeasures
from super_selfish.evaluation.norm_statistics import (
    ADAPTED,
    _Averages,
    _observe,
    _share,
    _shares,
    adapted,
    lacks_statistics,
)
from super_selfish.models import NarrowResNet
from super_selfish.supervisors import RotateNetSupervisor


def drawn(seed: int, width: int = 8) -> NarrowResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NarrowResNet(3, width)


def seen(network: nn.Module, images: Tensor, times: int = 40) -> nn.Module:
    network.train()
    for part in range(times):
        network(images[part % 4 :: 4].float() / 255)
    return network


def norm_of(network: nn.Module) -> nn.BatchNorm2d:
    return next(part for part in network.modules() if isinstance(part, nn.BatchNorm2d))


def test_a_run_at_a_learning_rate_of_zero_gains_nothing() -> None:
    train, test = (photographs(32, split=s, per_photograph=20) for s in ("train", "test"))
    gains = []
    for seed in range(2):
        supervisor = RotateNetSupervisor(train.images, backbone=drawn(seed, 16))
        options = {"epochs": 3, "batch_size": 16, "name": None, "progress": False, "seed": seed}
        supervisor.supervise(lr=0.0, **options)  # type: ignore[arg-type]
        found = evaluate(supervisor, train, test, protocols=["knn"], progress=False)
        assert found.difference is not None
        assert found.notes["untrained"].endswith(ADAPTED)
        gains.append(found.difference["knn"])
    # 280 test images tell no differences below 0.08. With statistics of 0 and 1: 0.12 and 0.10.
    assert abs(sum(gains) / 2) < 0.05


def test_a_baseline_gets_the_statistics_of_training_images_and_nothing_else(images: Tensor) -> None:
    baseline, rated = drawn(0), seen(drawn(0), images)
    rated_mode = [part.training for part in rated.modules()]
    baseline.train()
    before = {name: value.clone() for name, value in baseline.state_dict().items()}
    stream = torch.get_rng_state()
    source = as_source(images)
    found = adapted(baseline, rated, source, None)
    assert found is not None
    assert torch.equal(torch.get_rng_state(), stream)
    assert [part.training for part in rated.modules()] == rated_mode
    assert all(part.training for part in found.modules())
    for name, value in baseline.state_dict().items():
        assert torch.equal(value, before[name]), name
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(found.state_dict()[name], value), name
    # Both saw these images and have the same weights.
    ours, theirs = found.eval(), rated.eval()
    assert torch.allclose(norm_of(ours).running_mean, norm_of(theirs).running_mean, atol=0.05)  # type: ignore[arg-type]
    with torch.no_grad():
        shown = images.float() / 255
        error = (ours(shown) - theirs(shown)).norm() / theirs(shown).norm()
        without = (baseline.eval()(shown) - theirs(shown)).norm() / theirs(shown).norm()
    assert error < 0.1 < 0.3 < without
    again = adapted(baseline, rated, source, None)
    assert again is not None
    assert all(
        torch.equal(value, again.state_dict()[name]) for name, value in found.state_dict().items()
    )


def test_statistics_are_as_young_as_those_of_the_rated_network(images: Tensor) -> None:
    rated = seen(drawn(0), images, times=1)
    found = adapted(drawn(0), rated, as_source(images), None)
    assert found is not None
    variance, of_rated = norm_of(found).running_var, norm_of(rated).running_var
    assert variance is not None and of_rated is not None
    assert torch.allclose(variance, of_rated, rtol=0.02)  # nine tenths of them are still 1


def test_a_new_network_and_a_baseline_with_statistics_stay_as_they_are(images: Tensor) -> None:
    source = as_source(images)
    assert adapted(drawn(0), drawn(1), source, None) is None
    assert adapted(seen(drawn(0), images), seen(drawn(1), images), source, None) is None
    labels = torch.arange(22) % 2
    found = evaluate(drawn(0), (images, labels), (images, labels), protocols=["knn"])
    assert ADAPTED not in found.notes["untrained"]


def test_a_norm_that_was_frozen_at_0_and_1_has_a_baseline_of_0_and_1(images: Tensor) -> None:
    rated = drawn(0)
    frozen = norm_of(rated)
    seen(rated, images)
    frozen.reset_running_stats()
    found = adapted(drawn(1), rated, as_source(images), None)
    assert found is not None
    assert norm_of(found).running_mean.tolist() == [0.0] * 8  # type: ignore[union-attr]
    assert sum(int(v.any()) for n, v in found.state_dict().items() if "running_mean" in n) > 1


def test_health_compares_with_an_untrained_network_that_has_seen_batches(images: Tensor) -> None:
    rated = seen(drawn(0), images)
    source = open_data(images)
    measures = TwinMeasures(rated, source, None, batch_size=8)()
    new = TwinMeasures(drawn(0), source, None, batch_size=8)()
    again = TwinMeasures(drawn(0), source, None, batch_size=8)()
    assert measures is not None and new is not None
    assert new == again
    assert measures.feature_std > 1.5 * new.feature_std


class Shown(nn.Module):
    """Notes in which mode it preprocesses."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        return 2 * images


@pytest.mark.parametrize("training", [True, False])
def test_a_preprocessing_evaluates_and_has_its_mode_back(training: bool, images: Tensor) -> None:
    preprocess = Shown().train(training)
    source = as_source(images)
    twice = adapted(drawn(0), None, source, preprocess)
    once = adapted(drawn(0), None, source, None)
    assert preprocess.training == training and set(preprocess.modes) == {False}
    assert twice is not None and once is not None
    first, second = norm_of(once), norm_of(twice)
    assert not torch.allclose(second.running_mean, first.running_mean)  # type: ignore[arg-type]
    assert not any(part._forward_pre_hooks for part in once.modules())


def norm(channels: int = 2, seen: int = 0, momentum: float | None = 0.1) -> nn.BatchNorm1d:
    made = nn.BatchNorm1d(channels, momentum=momentum)
    if seen:
        made.num_batches_tracked.fill_(seen)  # type: ignore[union-attr]
        made.running_mean.fill_(0.5)  # type: ignore[union-attr]
    return made


def test_the_share_of_statistics_is_what_is_left_of_new_ones() -> None:
    assert _share(norm(seen=3)) == pytest.approx(1 - 0.9**3)
    assert _share(norm(seen=1)) == pytest.approx(0.1)
    assert _share(norm(seen=0)) == 1.0
    assert _share(norm(seen=3, momentum=None)) == 1.0
    assert _share(nn.BatchNorm1d(2, track_running_stats=False)) == 1.0


def test_norms_that_hold_statistics_of_new_ones_take_those_of_images() -> None:
    new, used = nn.Sequential(norm(), norm()), nn.Sequential(norm(), norm(seen=2))
    assert lacks_statistics(new) and lacks_statistics(used)
    assert not lacks_statistics(nn.Sequential(norm(seen=1))) and not lacks_statistics(nn.ReLU())
    assert _shares(new, None) == {"0": 1.0, "1": 1.0}
    assert _shares(used, None) == {"0": 1.0}
    assert _shares(new, used) == {"1": pytest.approx(1 - 0.9**2)}
    other = nn.ModuleDict({"of another name": norm(seen=2)})
    assert _shares(new, other) == {"0": 1.0, "1": 1.0}
    assert _shares(new, nn.ModuleDict({"new as well": norm()})) == {}
    half = norm()
    half.running_var.fill_(2.0)  # type: ignore[union-attr]
    assert _shares(nn.Sequential(half), None) == {}
    assert _shares(nn.Sequential(nn.LazyBatchNorm1d()), None) == {}


@pytest.mark.parametrize("last", [False, True])
def test_averages_are_those_of_the_batches(last: bool) -> None:
    watched = norm(3).eval()
    averages = _Averages(watched)
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, 3, 5, generator=generator) for _ in range(3)]
    for batch in batches:
        _observe(averages, watched, (batch.movedim(1, -1) if last else batch,))
        means, variances = batch.mean(dim=(0, 2)), batch.var(dim=(0, 2), correction=0)
        torch.testing.assert_close(watched.running_mean, means)
        torch.testing.assert_close(watched.running_var, variances)
    averages.keep(0.25)
    mean = torch.stack([batch.mean(dim=(0, 2)) for batch in batches]).mean(dim=0)
    variance = torch.stack([batch.var(dim=(0, 2)) for batch in batches]).mean(dim=0)
    torch.testing.assert_close(watched.running_mean, 0.25 * mean)
    torch.testing.assert_close(watched.running_var, 0.25 * variance + 0.75)
    assert watched.num_batches_tracked is not None and int(watched.num_batches_tracked) == 3


def test_what_has_no_statistics_is_left_out() -> None:
    watched = norm(3)
    averages = _Averages(watched)
    for given in (torch.ones(1, 3), torch.ones(4, 2, 5)):  # one number a channel; other channels
        _observe(averages, watched, (given,))
    averages.keep(0.5)
    assert averages.count == 0 and watched.running_mean.tolist() == [0.0] * 3  # type: ignore[union-attr]
    _observe(averages, watched, (torch.ones(2, 3),))
    assert averages.count == 1
    told: Any = averages.mean
    assert told.tolist() == [1.0] * 3
