from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.data import ImageSource
from super_selfish.data.sources import images_at
from super_selfish.evaluation.features import LabelledSource, extract_features
from super_selfish.evaluation.health.health import Health, health, mild_views, spread_images
from super_selfish.models import CombinedNet, Normalize, build_backbone
from super_selfish.supervisors import BYOLSupervisor, RotateNetSupervisor, Supervisor
from tests.cards import EVIL, Card
from tests.conftest import TinyBackbone
from tests.references import rankme_by_numpy


class Fixed(nn.Module):
    """Features of the pixels: a random projection, then whatever the test does to it."""

    def __init__(self, then: Callable[[Tensor], Tensor], width: int = 64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3 * 32 * 32, width, generator=generator) / 30)
        self.then = then

    def forward(self, images: Tensor) -> Tensor:
        return self.then((images - 0.3).flatten(1) @ self.weight)


@pytest.fixture
def many(generator: torch.Generator) -> Tensor:
    """Two hundred images of noise, which use every direction."""
    return torch.rand(200, 3, 32, 32, generator=generator)


def low_rank(features: Tensor) -> Tensor:
    return features[:, :3].repeat(1, 22)[:, :64]


def dead(features: Tensor) -> Tensor:
    return torch.cat([features[:, :20], torch.full_like(features[:, 20:], 0.3)], dim=1)


@pytest.mark.parametrize(
    ("then", "begins"),
    [
        (lambda features: features, "healthy: "),
        (torch.relu, "healthy: "),
        (lambda features: 1.0 + 0.0 * features, "collapsed: all 200 images have the same"),
        (lambda features: 1.0 + 1e-3 * features, "collapsed: all images have nearly the same"),
        (low_rank, "collapsed: 3 of 64 directions carry 99 % of the variance"),
        (dead, "dead features: 69% of 64"),
    ],
)
def test_the_verdict_names_what_is_wrong(
    then: Callable[[Tensor], Tensor], begins: str, many: Tensor
) -> None:
    assert health(Fixed(then), many).verdict.startswith(begins)


def test_the_measures_are_those_of_the_plain_features(many: Tensor) -> None:
    backbone = Fixed(torch.relu)
    found = health(backbone, many)
    features = extract_features(backbone, many).features
    assert (found.images, found.features) == (200, 64)
    assert found.rankme == pytest.approx(rankme_by_numpy(features), rel=1e-5)
    assert 0.0 < found.alignment < 4.0
    assert found.uniformity < 0.0


def test_a_backbone_that_ignores_the_views_is_aligned(images: Tensor) -> None:
    class Size(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.ones(len(images), 2) * images.shape[-1]

    assert health(Size(), images).alignment == 0.0


def test_health_is_the_same_again_whatever_the_global_stream(images: Tensor) -> None:
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(health(Fixed(torch.relu), images, batch_size=7))
        assert torch.equal(torch.get_rng_state(), state)
    assert found[0] == found[1]
    assert health(Fixed(torch.relu), images, seed=1).alignment != found[0].alignment


def test_the_backbone_is_afterwards_what_it_was(
    images: Tensor, tiny_backbone: Callable[[], nn.Module]
) -> None:
    backbone = tiny_backbone().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    health(backbone, images)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert all(part.training for part in backbone.modules())


def test_a_supervisor_brings_its_preprocessing(images: Tensor) -> None:
    torch.manual_seed(0)
    normalize = Normalize((0.4, 0.4, 0.4), (0.2, 0.2, 0.2))
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2), normalize)
    supervisor = Supervisor(network, images)
    found = health(supervisor, images)
    assert found == health(supervisor.get_backbone(), images, preprocess=normalize)
    assert found != health(supervisor.get_backbone(), images)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_of_any_number_of_channels_have_views(channels: int) -> None:
    images = torch.rand(6, channels, 40, 32, generator=torch.Generator().manual_seed(0))
    assert health(TinyBackbone(channels), images).images == 6
    view = mild_views((40, 32))(images, torch.Generator().manual_seed(0))
    assert view.shape == images.shape


def test_so_many_images_are_spread_evenly_with_their_labels(images: Tensor) -> None:
    source = LabelledSource(ImageSource(images), torch.arange(22))
    some = spread_images(source, 4)
    assert some.labels is not None
    assert some.labels.tolist() == [0, 7, 14, 21]
    chosen = images_at(some.images, range(4))
    assert torch.equal(chosen, images[[0, 7, 14, 21]])
    assert spread_images(source, None) is source
    assert spread_images(source, 22) is source


def test_health_prints_as_a_block_and_gives_plain_values(many: Tensor) -> None:
    found = health(Fixed(torch.relu), many, num_images=50)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    lines = str(found).splitlines()
    assert lines[0] == found.verdict
    assert "of at most 50 (bounded by the images: give more)" in lines[1]
    assert len(lines) == 9
    assert "bounded" not in str(health(Fixed(torch.relu), many))
    assert set(found.as_dict()) == set(Health.__dataclass_fields__)


def test_what_has_no_health_is_refused(images: Tensor) -> None:
    with pytest.raises(TypeError, match=r"backbone must be an nn.Module or have get_backbone\(\)"):
        health("resnet", images)
    with pytest.raises(ValueError, match="of at least 2"):
        health(TinyBackbone(), images[:1])
    with pytest.raises(ValueError, match="num_images must be at least 2, got 1"):
        health(TinyBackbone(), images, num_images=1)


def resnet() -> nn.Module:
    from torchvision.models import resnet18

    network = resnet18(weights=None)
    network.fc = nn.Identity()
    return network


def test_untrained_networks_are_not_called_collapsed(images: Tensor) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        deep = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()) for _ in range(8)))
        networks = [resnet(), TinyBackbone(), deep, build_backbone("resnet50", 3, (32, 32))]
    for network in networks:
        verdict = health(network, images).verdict
        assert "collapse" not in verdict, verdict
    assert health(networks[0], images).is_healthy


@pytest.mark.filterwarnings("ignore:images use .* of black to white:UserWarning")
def test_black_and_constant_images_are_told_of_and_not_the_network(images: Tensor) -> None:
    network = resnet()
    for shown, words in (
        (torch.zeros_like(images), "the images are nearly black"),
        (images // 40, "the images are nearly black"),
        (torch.full_like(images, 130), "the images are nearly all the same"),
    ):
        found = health(network, shown)
        assert found.is_healthy or found.verdict.startswith(words)
        assert "collapse" not in found.verdict
    assert health(network, torch.zeros_like(images)).verdict.startswith("the images are nearly bl")


@pytest.mark.parametrize(("momentum", "needed"), [(0.1, 29), (0.5, 5), (0.01, 299)])
def test_nothing_is_judged_before_batch_norm_has_settled(
    images: Tensor, momentum: float, needed: int
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TinyBackbone()
    assert health(network, images).is_healthy  # of no batch at all: as it was built
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = momentum
        norm.num_batches_tracked = torch.tensor(needed)
    assert health(network, images).is_healthy
    norms[-1].num_batches_tracked = torch.tensor(needed - 1)  # one of them is enough
    found = health(network, images)
    assert found.verdict == (
        f"too early to judge: the statistics of batch norm are those of {needed - 1} batches so "
        f"far (one or more a step) and settle after some {needed}; train on"
    )
    assert not found.is_healthy


@pytest.mark.parametrize(("kind", "batches"), [(RotateNetSupervisor, 1), (BYOLSupervisor, 2)])
def test_what_counts_is_how_often_the_network_has_seen_a_batch(
    images: Tensor, kind: Any, batches: int
) -> None:
    supervisor = kind(images, backbone=TinyBackbone())
    supervisor.supervise(epochs=1, batch_size=11, name=None, progress=False)  # two steps
    words = f"those of {2 * batches} batches so far"
    assert words in health(supervisor, images).verdict


def test_features_closer_together_than_untrained_are_told(many: Tensor) -> None:
    class Closer(nn.Module):
        """A shift that is trained draws all directions together."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64))
            self.shift = nn.Parameter(torch.zeros(1))

        def forward(self, images: Tensor) -> Tensor:
            features: Tensor = self.layers(images - 0.5) + self.shift
            return features

    torch.manual_seed(0)
    supervisor = Supervisor(CombinedNet(Closer(), nn.Linear(64, 2)), many)
    backbone = supervisor.get_backbone()
    assert health(supervisor, many).is_healthy
    assert health(supervisor, many).feature_std > 0.2
    with torch.no_grad():
        backbone.shift.fill_(4.0)  # type: ignore[operator]
    found = health(supervisor, many)
    assert 0.1 < found.feature_std < 0.2
    assert found.verdict.startswith("closer together than untrained: ")
    assert "those of an untrained network over " in found.verdict
    assert not found.is_healthy


def test_a_network_of_one_step_is_too_young_to_be_judged(images: Tensor) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(TinyBackbone(), nn.BatchNorm1d(16, affine=False))
    network.train()
    network(images.float() / 255)
    network[0].layers[3].weight.data.mul_(1e-6)  # type: ignore[union-attr, index]
    network[0].layers[3].bias.data.add_(1.0)  # type: ignore[union-attr, index]
    network[0].layers[4].weight.data.mul_(1e-6)  # type: ignore[union-attr, index]
    network[0].layers[4].bias.data.add_(1.0)  # type: ignore[union-attr, index]
    found = health(network[0], images)
    assert found.verdict.startswith(
        "too early to judge: the statistics of batch norm are those of 1 b"
    )
    assert not found.is_healthy
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.num_batches_tracked = torch.tensor(29)
    assert health(network[0], images).verdict.startswith("collapsed")


@pytest.mark.parametrize(
    ("kind", "advice"),
    [(RotateNetSupervisor, "; lower lr"), (BYOLSupervisor, ", or raise momentum")],
)
def test_a_supervisor_says_what_would_help_its_algorithm(
    images: Tensor, kind: Any, advice: str
) -> None:
    backbone = TinyBackbone()
    with torch.no_grad():
        norm = backbone.layers[4]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.weight.copy_(torch.linspace(1e-6, 2e-6, 16))
        norm.bias.add_(1.0)
        norm.num_batches_tracked = torch.tensor(100)  # it was trained
    verdict = health(kind(images, backbone=backbone), images).verdict
    assert verdict.startswith("collapsed")
    assert verdict.endswith(advice)
    assert health(backbone, images).verdict == verdict.rpartition(";")[0]


def test_measuring_the_twin_changes_nothing(images: Tensor) -> None:
    network = resnet().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    health(network, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.training


@pytest.mark.parametrize(
    ("is_healthy", "verdict", "kind"),
    [
        (True, "healthy: all is well", "good"),
        (False, f"collapsed: {EVIL}", "bad"),
        (False, "too early to judge: train on", ""),
    ],
)
def test_a_notebook_shows_the_verdict_marked_and_every_measure(
    is_healthy: bool, verdict: str, kind: str
) -> None:
    found = Health(200, 64, 40.5, 50, 0.25, 0.5, 0.1, -2.0, 0.0, 0.4, is_healthy, verdict)
    shown = Card(found._repr_html_())
    assert shown.text.startswith(f"Health of the features {verdict} RankMe: 40.5 of at most 64")
    assert shown.classes[:3] == ["super-selfish", "verdict", kind or "quiet"]
    assert len(found.measures) == 7
    for name, words in found.measures.items():
        assert f"{name}: {words}" in shown.text
        assert re.search(rf"^  {name} +{re.escape(words)}$", str(found), re.MULTILINE)
