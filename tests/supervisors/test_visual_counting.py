from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.patches import merge_grid
from super_selfish.data.collate import Batch, Collator
from super_selfish.supervisors import VisualCountingSupervisor
from super_selfish.supervisors.visual_counting import WholeAndTiles, next_ones
from tests.references import counting_in_loops

Backbones = Callable[..., nn.Module]


def batch_of(supervisor: Any, images: Tensor, seed: int = 0) -> WholeAndTiles:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(seed)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


class Nothing(nn.Module):
    """A head that counts nothing, the trivial solution."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1000))

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :1].square() * self.scale


def test_counting_nothing_costs_the_margin(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = VisualCountingSupervisor(images, tiny_backbone(), Nothing(), margin=7.0)
    assert float(supervisor(batch_of(supervisor, images)).detach()) == pytest.approx(7.0)
    assert supervisor.chance_loss({}) == 7.0


def test_the_first_counts_are_small_and_alive(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = VisualCountingSupervisor(images, tiny_backbone())
    data = batch_of(supervisor, images)
    counts = supervisor.model(data.whole).detach()
    assert counts.shape == (22, 1000) and float(counts.min()) >= 0
    assert float((counts > 0).float().mean()) > 0.4
    assert 5 < float(supervisor(data).detach()) < 20  # about the margin


def test_the_last_layer_begins_with_a_tenth_of_torch_s_weights_and_just_above_zero(
    tiny_backbone: Backbones,
) -> None:
    torch.manual_seed(0)
    supervisor = VisualCountingSupervisor(None, tiny_backbone(), image_size=32, in_channels=3)
    head: Any = supervisor.get_predictor()
    last = head[-2]
    bound = 0.1 * last.in_features**-0.5
    assert 0.99 * bound < float(last.weight.detach().abs().max()) <= bound
    assert last.bias.tolist() == pytest.approx([0.01] * 1000)


def test_the_loss_is_that_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = VisualCountingSupervisor(
        images, tiny_backbone(), num_counts=13, margin=2.0, weight=0.5
    ).eval()
    with torch.no_grad():
        head: Any = supervisor.get_predictor()
        head[-2].weight.mul_(10)
        data = batch_of(supervisor, images[:5])
        whole = supervisor.model(data.whole)
        parts = torch.stack([supervisor.model(tiles).sum(dim=0) for tiles in data.tiles])
        others = whole[[1, 2, 3, 4, 0]]
        expected = counting_in_loops(whole, parts, others, 2.0, 0.5)
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-5)
        same = (whole - parts).square().sum(dim=1)
        apart = (others - parts).square().sum(dim=1)
        logged = {name: float(value) for name, value in supervisor._logged.items()}
    assert logged["same"] == pytest.approx(float(same.mean()), rel=1e-4)
    assert logged["apart"] == pytest.approx(float(apart.mean()), rel=1e-4)
    assert logged["accuracy"] == pytest.approx(float((same < apart).float().mean()))
    assert logged["counts"] == pytest.approx(float(whole.sum(dim=1).mean()), rel=1e-4)


def test_tiles_are_quarters_of_what_is_halved(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = VisualCountingSupervisor(images, tiny_backbone(), kernels=["area"])
    data = batch_of(supervisor, images)
    assert data.whole.shape == (22, 3, 16, 16) and data.tiles.shape == (22, 4, 3, 16, 16)
    image = merge_grid(data.tiles, 2)
    torch.testing.assert_close(F.avg_pool2d(image, 2), data.whole)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_an_image_and_its_tiles_are_gray_together(
    p: float, images: Tensor, tiny_backbone: Backbones
) -> None:
    data = batch_of(VisualCountingSupervisor(images, tiny_backbone(), p_grayscale=p), images)
    for part in (data.whole, data.tiles.flatten(0, 1)):
        is_gray = (part - part.mean(dim=1, keepdim=True)).abs().amax(dim=(1, 2, 3)) < 1e-5
        assert is_gray.float().mean() == p
    some = batch_of(VisualCountingSupervisor(images, tiny_backbone()), images)
    gray = [
        (part - part.mean(dim=-3, keepdim=True)).abs().flatten(1).amax(dim=1) < 1e-5
        for part in (some.whole, some.tiles)
    ]
    assert torch.equal(*gray) and 0.3 < gray[0].float().mean() < 0.9


@pytest.mark.parametrize(
    ("size", "tile"), [((32, 32), (16, 16)), ((96, 128), (48, 64)), ((225, 225), (112, 112))]
)
@pytest.mark.parametrize("channels", [1, 5])
def test_any_size_and_number_of_channels(
    size: tuple[int, int],
    tile: tuple[int, int],
    channels: int,
    generator: torch.Generator,
    tiny_backbone: Backbones,
) -> None:
    images = torch.randint(256, (2, channels, *size), generator=generator, dtype=torch.uint8)
    supervisor = VisualCountingSupervisor(images, tiny_backbone(channels))
    data = batch_of(supervisor, images)
    assert data.whole.shape == (2, channels, *tile)
    assert data.tiles.shape == (2, 4, channels, *tile)
    assert math.isfinite(float(supervisor(data).detach()))


def test_tiles_are_enlarged_for_a_backbone_that_refuses_small_ones(images: Tensor) -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 32, stride=32), nn.Flatten())
    data = batch_of(VisualCountingSupervisor(images, backbone), images)
    assert data.whole.shape[-2:] == data.tiles.shape[-2:] == (32, 32)


def test_the_other_image_is_the_next_one() -> None:
    rows = torch.arange(6.0).view(3, 2)
    assert torch.equal(next_ones(rows), rows[[1, 2, 0]])
    with pytest.raises(ValueError, match="compares an image with another one: raise batch_size"):
        next_ones(rows[:1])


def test_counts_add_up_after_training(tiny_backbone: Backbones, generator: torch.Generator) -> None:
    """Images with few or many dots: what there is to count."""
    places = torch.rand(60, 1, 32, 32, generator=generator)
    shares = torch.linspace(0.005, 0.1, 60).view(-1, 1, 1, 1)
    dots = F.max_pool2d((places < shares).float(), 3, 1, 1).expand(-1, 3, -1, -1)
    images = (dots * 255).to(torch.uint8)[torch.randperm(60, generator=generator)]
    torch.manual_seed(0)
    supervisor = VisualCountingSupervisor(
        images, tiny_backbone(), kernels=["area"], p_grayscale=0.0, hidden_size=64
    )
    supervisor.supervise(lr=1e-3, epochs=30, batch_size=20, name=None, progress=False)
    first, last = supervisor.history[0], supervisor.history[-1]
    assert last["loss"] < 0.7 * first["loss"]
    assert last["accuracy"] > 0.75 and last["same"] < 0.5 * last["apart"]


def test_a_head_of_another_width_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="gives 9 numbers, but there are 1000 counts to tell"):
        VisualCountingSupervisor(images, tiny_backbone(), nn.Linear(16, 9))


def test_health_knows_the_trivial_solution_and_chance(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = VisualCountingSupervisor(images, tiny_backbone())
    row = {"epoch": 5, "accuracy": 0.9, "same": 1.0, "apart": 9.0, "counts": 4.0}
    assert supervisor._health(row) is None
    assert "the trivial solution is" in str(supervisor._health({**row, "apart": 0.9, "epoch": 1}))
    assert "only 54% of the tiles" in str(supervisor._health({**row, "accuracy": 0.54}))
    assert supervisor._health({**row, "accuracy": 0.54, "epoch": 4}) is None
