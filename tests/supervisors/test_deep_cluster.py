from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.data import ImageSource
from super_selfish.memory import spherical_kmeans
from super_selfish.supervisors import DeepClusterV2Supervisor
from super_selfish.supervisors.following import generator_of_all
from super_selfish.supervisors.multi_crop import Crops

Backbones = Callable[..., nn.Module]


def small(images: Any, backbone: nn.Module, **settings: Any) -> Any:
    torch.manual_seed(0)
    settings = {"embedding_size": 8, "hidden_size": 16, "num_clusters": (4, 3), **settings}
    return DeepClusterV2Supervisor(images, backbone, **settings)


def crops_of(generator: torch.Generator, number: int = 22, num_small: int = 1) -> Crops:
    first, second = (torch.rand(number, 3, 32, 32, generator=generator) for _ in range(2))
    local = torch.rand(number, num_small, 3, 14, 14, generator=generator)
    return Crops(first, second, local, torch.arange(number))


def unit(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return F.normalize(network(images), dim=1)


def freeze_norms(supervisor: nn.Module) -> None:
    for module in supervisor.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def expected_loss(
    supervisor: Any, data: Crops, clusters: list[Tensor], prototypes: Tensor
) -> float:
    """The mean over groupings, crops and images, one at a time."""
    views = [data.first, data.second, *data.small.unbind(dim=1)]
    losses = []
    for assigned, centroids in zip(clusters, prototypes.split((4, 3)), strict=True):
        for view in views:
            for row, cluster in zip(unit(supervisor.model, view), assigned, strict=True):
                similar = [math.exp(float(row @ centroid) / 0.1) for centroid in centroids]
                losses.append(-math.log(similar[int(cluster)] / sum(similar)))
    return sum(losses) / len(losses)


def test_images_are_grouped_by_what_was_said_of_them_and_all_crops_foretell_that(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone())
    freeze_norms(supervisor)
    first, second = crops_of(generator), crops_of(generator)
    # Nothing is remembered: a guess, from which nothing is learned.
    guess = supervisor(first)
    guess.backward()
    assert float(guess.detach()) == pytest.approx((math.log(4) + math.log(3)) / 2)
    assert all(p.grad is not None and not p.grad.any() for p in supervisor.parameters())
    assert bool((supervisor.assignments == -1).all()) and bool(supervisor.is_remembered.all())
    # Now all are: one grouping for each crop, of what was said of it before.
    draws = generator_of_all(None, 5)
    groups = [
        spherical_kmeans(unit(supervisor.model, view), number, 10, draws)
        for view, number in zip(first[:2], (4, 3), strict=True)
    ]
    centroids = torch.cat([group.centroids for group in groups])
    loss = expected_loss(supervisor, second, [group.assigned for group in groups], centroids)
    assert float(supervisor(second).detach()) == pytest.approx(loss, rel=1e-4)
    torch.testing.assert_close(supervisor.prototypes, centroids)
    assert supervisor.assignments.tolist() == [group.assigned.tolist() for group in groups]
    sizes = [int(group.assigned.bincount().max()) / 22 for group in groups]
    assert float(supervisor.largest) == pytest.approx(sum(sizes) / 2)
    torch.testing.assert_close(supervisor.banks[0].rows, unit(supervisor.model, second.first))


def test_prototypes_and_clusters_do_not_learn(
    images: Tensor, tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    supervisor = small(images, tiny_backbone())
    names = {name for name, _ in supervisor.named_parameters()}
    assert not any(name.startswith(("prototypes", "banks", "assign")) for name in names)
    supervisor(crops_of(generator))
    supervisor(crops_of(generator)).backward()
    assert all(parameter.grad is not None for parameter in supervisor.parameters())


def test_clusters_are_learnt_and_stay_many(tiny_backbone: Backbones) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(96, 3, 4, 4, generator=generator)
    images = (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)
    supervisor = small(images, tiny_backbone(), augmentation="mild", num_small=0)
    supervisor.supervise(lr=3e-3, epochs=12, batch_size=32, name=None, progress=False)
    row = supervisor.history[-1]
    assert supervisor._health(row) is None
    assert row["accuracy"] > 0.5 and row["loss"] < 0.8 * supervisor._chance()


class Groupings:
    """Notes how many images were seen, and how many are remembered, where images are grouped."""

    def __init__(self, supervisor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[int, int]] = []
        for_real = supervisor._group

        def group(seen: int) -> None:
            self.seen.append((seen, int(supervisor.is_remembered.sum())))
            for_real(seen)

        monkeypatch.setattr(supervisor, "_group", group)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_images_are_grouped_after_as_many_as_were_grouped_last(
    accumulate: int, images: Tensor, tiny_backbone: Backbones, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = small(images, tiny_backbone())
    noted = Groupings(supervisor, monkeypatch)
    settings: dict[str, Any] = {"name": None, "progress": False, "accumulate": accumulate}
    supervisor.supervise(epochs=4, batch_size=4 // accumulate, **settings)
    # As soon as 8 are there, twice the clusters; then a pass over them, and over all 22.
    assert noted.seen == [(8, 8), (16, 16), (34, 22), (56, 22), (78, 22)]
    assert supervisor.grouped.tolist() == [78, 22]
    assert bool((supervisor.assignments >= 0).all())
    noted.seen.clear()
    supervisor.supervise(epochs=1, batch_size=22, **{**settings, "accumulate": 1})
    assert noted.seen == []  # 88 images: not yet
    supervisor.supervise(epochs=1, batch_size=22, **{**settings, "accumulate": 1})
    assert noted.seen == [(110, 22)]


def test_a_run_goes_on_with_its_clusters(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    def run(epochs: int, name: str, **more: Any) -> DeepClusterV2Supervisor:
        supervisor = small(images, tiny_backbone())
        supervisor.supervise(
            epochs=epochs, batch_size=6, name=tmp_path / name, progress=False, **more
        )
        return supervisor

    whole = run(5, "whole")
    run(2, "part")
    again = run(5, "part", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    loaded = DeepClusterV2Supervisor(backbone=tiny_backbone()).load(tmp_path / "whole")
    assert loaded.num_clusters == (4, 3)
    assert torch.equal(loaded.assignments, whole.assignments)


def test_images_that_joined_later_belong_where_they_are_nearest(
    tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    images = torch.randint(256, (40, 3, 32, 32), generator=generator, dtype=torch.uint8)
    supervisor = small(images, tiny_backbone())
    freeze_norms(supervisor)
    data = crops_of(generator)
    supervisor(data)
    supervisor(data)  # grouped; of 40 images it has met 22
    assert (supervisor.assignments >= 0).sum(dim=1).tolist() == [22, 22]
    others = data._replace(index=torch.arange(22) + 18)  # 18 of which are new
    nearest = [
        (unit(supervisor.model, view) @ of_one.T).argmax(dim=1)
        for view, of_one in zip(data[:2], supervisor.prototypes.split((4, 3)), strict=True)
    ]
    known = supervisor.assignments[:, others.index]
    clusters = [torch.where(a < 0, b, a) for a, b in zip(known, nearest, strict=True)]
    expected = expected_loss(supervisor, others, clusters, supervisor.prototypes)
    assert float(supervisor.eval()(others).detach()) == pytest.approx(expected, rel=1e-4)


class Flaky:
    """Of 12 images three can be read."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, position: int) -> Tensor:
        if position % 4:
            raise OSError("gone")
        return torch.full((3, 32, 32), 20 * position, dtype=torch.uint8)


@pytest.mark.filterwarnings("ignore:left out")
def test_images_that_are_too_few_for_their_clusters_are_told_of(tiny_backbone: Backbones) -> None:
    source = ImageSource(Flaky(), on_error="skip")
    supervisor = small(source, tiny_backbone())
    with pytest.raises(ValueError, match="of 12 images 3 could be read, which make no 4 clusters"):
        supervisor.supervise(epochs=3, batch_size=12, name=None, progress=False)
    few = small(source, tiny_backbone(), num_clusters=(3, 2))
    few.supervise(epochs=3, batch_size=12, name=None, progress=False)
    assert int(few.grouped[1]) == 3


def test_processes_send_the_number_of_an_image_and_what_was_said_of_both_large_crops(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone(), num_small=1)
    assert [each.size for each in supervisor._gathers(3)] == [3 * 8, 3 * 8 * 4, 3 * 8 * 4]
