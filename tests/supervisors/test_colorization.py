from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.lab import lab_to_rgb, rgb_to_lab
from super_selfish.data.collate import Batch
from super_selfish.supervisors import (
    ColorizationSupervisor,
    HealthWarning,
    MultiTaskSupervisor,
    RotateNetSupervisor,
)
from super_selfish.supervisors.color_bins import gamut_centers
from super_selfish.supervisors.color_split import LabCollator, LabTargets
from tests.references import rebalanced_cross_entropy_in_loops, soft_colors_in_loops
from tests.supervisors.test_accumulating import prepared, trained

Backbones = Callable[..., nn.Module]
NAMED = "shufflenet_v2_x0_5"  # small, 1024 features


def batch_of(supervisor: Any, images: Tensor) -> LabTargets:
    assert isinstance(supervisor.collate_fn, LabCollator)
    batch = Batch(images, torch.arange(len(images)))
    return supervisor.collate_fn.augment(batch, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("own", [True, False])
def test_the_loss_begins_at_the_logarithm_of_the_bins(
    images: Tensor, tiny_backbone: Backbones, own: bool
) -> None:
    torch.manual_seed(0)
    supervisor = ColorizationSupervisor(images, tiny_backbone() if own else NAMED)
    found = float(supervisor(batch_of(supervisor, images[:4])).detach())
    assert found == pytest.approx(math.log(261), rel=0.05)


def test_the_loss_is_that_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ColorizationSupervisor(images, tiny_backbone(), neighbors=3).double().eval()
    supervisor.count_colors(supervisor.source)
    data = batch_of(supervisor, images[:2])
    data = LabTargets(data.images.double(), data.lab.double())
    centers = gamut_centers(10.0).tolist()
    targets, weights = [], []
    for lab in data.lab:
        places = lab[1:].flatten(1).T.tolist()
        soft = [soft_colors_in_loops((a, b), centers, 3, 5.0) for a, b in places]
        targets.append(soft)
        likeliest = [max(shares, key=lambda q: shares[q]) for shares in soft]
        weights.append([float(supervisor.bins.weights[q]) for q in likeliest])
    with torch.no_grad():
        logits = supervisor.model(data.images)
        assert logits.shape == (2, 261, 8, 8)
        expected = rebalanced_cross_entropy_in_loops(logits, targets, torch.tensor(weights))
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("own", [True, False])
def test_colours_are_told_from_lightness_alone(
    tiny_backbone: Backbones, own: bool, generator: torch.Generator
) -> None:
    coarse = torch.rand(4, 3, 4, 4, generator=generator, dtype=torch.float64)
    noise = F.interpolate(coarse, size=(32, 32), mode="bilinear")
    lab = noise * 24 + torch.tensor([40.0, -12.0, -12.0], dtype=torch.float64).view(3, 1, 1)
    recolored, relit = lab.clone(), lab.clone()
    recolored[:, 1:] = lab[:, 1:].flip(0)
    relit[:, 0] = lab[:, 0].flip(0)
    torch.manual_seed(0)
    supervisor = ColorizationSupervisor(
        backbone=tiny_backbone() if own else NAMED, image_size=32
    ).double()
    with torch.no_grad():
        logits, same, other = (supervisor.model(lab_to_rgb(x)) for x in (lab, recolored, relit))
        features = supervisor.eval().get_backbone()(lab_to_rgb(lab))
    torch.testing.assert_close(same, logits, atol=1e-8, rtol=0)
    assert float((other - logits).abs().max()) > 1e-5
    assert len(features) == 4  # it eats RGB, by name as well


def test_colours_are_counted_in_the_dataset_when_training_begins(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = ColorizationSupervisor(images, tiny_backbone())
    assert torch.equal(supervisor.bins.prior, torch.full((261,), 1 / 261))
    supervisor.supervise(epochs=1, batch_size=11, name=tmp_path / "base", progress=False)
    ab = F.avg_pool2d(rgb_to_lab(images / 255), 4)[:, 1:].permute(0, 2, 3, 1).reshape(-1, 2)
    nearest = torch.cdist(ab.double(), gamut_centers(10.0).double()).argmin(dim=1)
    expected = nearest.bincount(minlength=261).double() / len(nearest)
    torch.testing.assert_close(supervisor.bins.prior.double(), expected, atol=2e-3, rtol=0)
    loaded = ColorizationSupervisor(backbone=tiny_backbone()).load(tmp_path / "base")
    for name, value in supervisor.bins.state_dict().items():
        assert torch.equal(loaded.bins.state_dict()[name], value), name
    # Other images have other colours, and the networks go on with theirs.
    other = ColorizationSupervisor(images.flip(1).clone() // 2, backbone=tiny_backbone())
    other.load(tmp_path / "base").supervise(epochs=1, batch_size=11, name=None, progress=False)
    assert not torch.allclose(other.bins.prior, supervisor.bins.prior)


def test_colours_are_counted_where_it_is_one_of_several_tasks(images: Tensor) -> None:
    colors = ColorizationSupervisor(images, "narrow-resnet")
    rotations = RotateNetSupervisor(images, colors.get_backbone())
    both = MultiTaskSupervisor([colors, rotations])
    both.supervise(epochs=1, batch_size=11, name=None, progress=False)
    assert int((colors.bins.prior > 0).sum()) > 10
    assert both.get_backbone() is colors.get_backbone()


def test_few_images_are_read_for_it_and_gray_ones_do_not_count(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    read: list[int] = []

    class Dataset:
        def __len__(self) -> int:
            return 22

        def __getitem__(self, index: int) -> Tensor:
            read.append(index)
            return images[index]

    supervisor = ColorizationSupervisor(Dataset(), tiny_backbone(), num_prior_images=5)
    read.clear()
    supervisor.count_colors(supervisor.source)
    assert read == [0, 5, 10, 15, 21]
    gray = images[:, :1].expand(-1, 3, -1, -1).contiguous()
    half = torch.cat([images[:11], gray[11:]])
    mixed, alone = (ColorizationSupervisor(x, tiny_backbone()) for x in (half, images[:11]))
    for one in (mixed, alone):
        one.count_colors(one.source)
    torch.testing.assert_close(mixed.bins.prior, alone.bins.prior)
    nothing = ColorizationSupervisor(gray, tiny_backbone())
    with pytest.warns(HealthWarning, match="none of 22 images has a colour"):
        nothing.supervise(epochs=1, batch_size=11, name=None, progress=False)
    assert torch.equal(nothing.bins.weights, torch.ones(261))


def test_gray_images_teach_nothing(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ColorizationSupervisor(images, tiny_backbone(), crop=False).eval()
    gray = images[:, :1].expand(-1, 3, -1, -1).contiguous()
    both = batch_of(supervisor, torch.cat([images[:3], gray[3:9]]))
    alone = batch_of(supervisor, images[:3])
    torch.testing.assert_close(supervisor(both), supervisor(alone))
    nothing = supervisor(batch_of(supervisor, gray))
    nothing.backward()
    assert float(nothing.detach()) == 0.0


def test_a_table_of_ones_own_is_kept(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    table = [[0, 0], [40, 40], [-40, 40], [40, -40], [-40, -40]]
    supervisor = ColorizationSupervisor(images, tiny_backbone(), bins=table, neighbors=2)
    assert supervisor.model(images[:2] / 255).shape == (2, 5, 8, 8)
    supervisor.supervise(epochs=1, batch_size=11, name=tmp_path / "base", progress=False)
    loaded = ColorizationSupervisor(backbone=tiny_backbone()).load(tmp_path / "base")
    assert loaded.bins.centers.tolist() == table
    for wrong in ([1, 2, 3], [[1, 2, 3]], "no", [[0, 0]], [[0, math.nan], [1, 1]]):
        with pytest.raises(ValueError, match="a table"):
            ColorizationSupervisor(images, tiny_backbone(), bins=wrong)  # type: ignore[arg-type]


def test_a_damaged_prior_is_not_loaded(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    supervisor = ColorizationSupervisor(images, tiny_backbone())
    supervisor.bins.weights[3] = -1.0
    supervisor.save(tmp_path / "base")
    with pytest.raises(ValueError, match=r"'bins\.weights' are not all above 0"):
        ColorizationSupervisor(backbone=tiny_backbone()).load(tmp_path / "base")
    supervisor.bins.prior.fill_(0.5)
    supervisor.save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"'bins\.prior' is no distribution"):
        ColorizationSupervisor(backbone=tiny_backbone()).load(tmp_path / "other")


@pytest.mark.parametrize(
    ("size", "stride", "grid"), [((225, 225), 4, (56, 56)), ((96, 128), 8, (12, 16))]
)
def test_predictions_have_the_grid_of_the_targets(
    tiny_backbone: Backbones,
    generator: torch.Generator,
    size: tuple[int, int],
    stride: int,
    grid: tuple[int, int],
) -> None:
    images = torch.randint(256, (2, 3, *size), generator=generator, dtype=torch.uint8)
    supervisor = ColorizationSupervisor(images, tiny_backbone(), stride=stride)
    data = batch_of(supervisor, images)
    assert supervisor.model(data.images).shape[2:] == data.lab.shape[2:] == grid


def test_images_without_colour_are_refused(tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="needs colour: RGB images of 3 channels, got 1"):
        ColorizationSupervisor(torch.zeros(4, 1, 32, 32, dtype=torch.uint8), tiny_backbone(1))


def test_a_head_of_another_shape_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    class Head(nn.Conv2d):
        wants_map = True

    with pytest.raises(ValueError, match=r"tell colours as \[261, 8, 8\], got \[260, 8, 8\]"):
        ColorizationSupervisor(images, tiny_backbone(), Head(16, 260, 1))


def test_colours_of_things_are_learnt(tiny_backbone: Backbones) -> None:
    """Stripes along are red, stripes across are blue."""
    along = (torch.arange(32)[:, None] // 4 % 2).expand(32, 32).float()
    patterns = [along, along.T]
    tints = torch.tensor([[30.0, 45.0, 30.0], [30.0, 10.0, -45.0]])
    lab = torch.stack(
        [
            torch.stack(
                [20 + 50 * pattern.roll((k, k), (0, 1)), *t[1:, None, None].expand(2, 32, 32)]
            )
            for k in range(8)
            for pattern, t in zip(patterns, tints, strict=True)
        ]
    )
    images = (lab_to_rgb(lab) * 255).round().to(torch.uint8)
    torch.manual_seed(0)
    supervisor = ColorizationSupervisor(images, tiny_backbone(), crop=False)
    supervisor.supervise(lr=1e-2, epochs=40, batch_size=16, name=None, progress=False)
    last = supervisor.history[-1]
    assert last["loss"] < 0.8 * last["constant_loss"]
    supervisor.eval()
    said = supervisor.bins.decode(supervisor.model(images / 255), 0.38).mean(dim=(2, 3))
    assert bool((said[::2, 1] > 0).all()) and bool((said[1::2, 1] < 0).all())


def test_health_knows_gray_images_and_equal_answers(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = ColorizationSupervisor(images, tiny_backbone())
    row = {"epoch": 3, "color_spread": 0.1, "loss": 4.0, "constant_loss": 3.9}
    assert "the same of every place (3.9)" in str(supervisor._health(row))
    assert supervisor._health({**row, "loss": 3.8}) is None
    assert supervisor._health({**row, "epoch": 2}) is None
    assert "hardly any colour" in str(supervisor._health({**row, "color_spread": 0.005}))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(8, 3), (6, 4)])
def test_batches_weigh_by_the_places_that_count(
    batch_size: int, accumulate: int, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = images.clone()
    mixed[:7] = images[:7, :1]  # gray, all in the first batch but one
    mixed[12] = images[12, :1]
    before = prepared("colorization", mixed).state_dict()
    whole, parts = (
        trained("colorization", mixed, *each, monkeypatch, epochs=1).state_dict()
        for each in ((22, 1), (batch_size, accumulate))
    )
    assert max(float((whole[name] - value).abs().max()) for name, value in before.items()) > 1e-3
    for name in before:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-9, atol=1e-9)
