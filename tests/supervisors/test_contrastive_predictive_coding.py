from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.random_color import KeepOneChannel
from super_selfish.augmentations.recipes import cpc_v2
from super_selfish.data.collate import Batch, Collator
from super_selfish.models import EfficientFeatures
from super_selfish.models.context import GridPredictions
from super_selfish.supervisors import ContrastivePredictiveCodingSupervisor
from super_selfish.supervisors.patch_grid import (
    PatchCollator,
    Patches,
    fitting_grid,
)
from tests.references import predictive_coding_in_loops

Backbones = Callable[..., nn.Module]
# How a direction of the image moves (row, column), written by hand.
MOVES = {"down": (1, 0), "up": (-1, 0), "right": (0, 1), "left": (0, -1)}


def small(images: Tensor | None, backbone: nn.Module, **more: Any) -> Any:
    torch.manual_seed(0)
    return ContrastivePredictiveCodingSupervisor(images, backbone, **more)


def batch_of(supervisor: Any, images: Tensor) -> Patches:
    assert isinstance(supervisor.collate_fn, Collator)
    generator = torch.Generator().manual_seed(0)
    patches: Patches = supervisor.collate_fn.augment(
        Batch(images, torch.arange(len(images))), generator
    )
    return patches


class Oracle(nn.Module):
    """Names every cell of the batch by a unit vector, and foretells perfectly, by hand."""

    def __init__(self, offsets: tuple[int, ...], side: int, moves: dict[str, Any]) -> None:
        super().__init__()
        self.offsets, self.side, self.moves = offsets, side, moves

    def forward(self, latents: Tensor) -> GridPredictions:
        batch, side, last = len(latents), self.side, self.side - 1
        number = batch * side * side
        names = torch.eye(number).view(batch, side, side, number)  # (B, n, n, E)
        predictions = torch.zeros(4, batch, len(self.offsets), number, side, side)
        for d, (down, right) in enumerate(self.moves.values()):
            for k, offset in enumerate(self.offsets):
                for row in range(side):
                    for column in range(side):
                        ahead = row + offset * down, column + offset * right
                        if not all(0 <= place <= last for place in ahead):
                            continue
                        i = row if down == 1 else last - row if down == -1 else 0
                        i = column if right == 1 else last - column if right == -1 else i
                        j = column if down else row
                        predictions[d, :, k, :, i, j] = names[:, ahead[0], ahead[1]]
        return GridPredictions(1000 * predictions, names.permute(0, 3, 1, 2))


@pytest.mark.parametrize("num_negatives", [None, 4])
def test_every_direction_is_asked_for_the_cells_that_lie_there(
    images: Tensor, tiny_backbone: Backbones, num_negatives: int | None
) -> None:
    oracle = Oracle((1, 2), 3, MOVES)
    options: dict[str, Any] = {"offsets": (1, 2), "num_negatives": num_negatives}
    supervisor = small(images, tiny_backbone(), predictor=oracle, **options)
    data = batch_of(supervisor, images[:3])
    assert float(supervisor(data).detach()) == pytest.approx(0, abs=1e-6)
    swapped = {"down": MOVES["down"], "up": MOVES["up"], "right": (0, -1), "left": (0, 1)}
    wrong = small(images, tiny_backbone(), predictor=Oracle((1, 2), 3, swapped), **options)
    assert float(wrong(data).detach()) > 1
    assert wrong._logged["down"] < 1e-6
    assert wrong._logged["up"] < 1e-6
    assert wrong._logged["right"] > 1
    assert wrong._logged["left"] > 1


def test_the_loss_is_that_of_the_pseudo_code_in_four_directions(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    # Untrained, logits are near 0 and would not tell right from wrong: a large scale.
    supervisor = small(images, tiny_backbone(), offsets=(1, 2), logit_scale=1000.0).eval()
    data = batch_of(supervisor, images[:2])
    with torch.no_grad():
        latents = supervisor.get_backbone()(data.patches.flatten(0, 1))  # (B * 9, D)
        grid = latents.view(2, 3, 3, -1).permute(0, 3, 1, 2)
        predictions, targets = supervisor.get_predictor()(grid)
        expected = predictive_coding_in_loops(predictions, targets, (1, 2), 1000.0)
        assert abs(expected - math.log(18)) > 0.01
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("direction", range(4))
def test_no_prediction_sees_a_latent_that_lies_ahead(
    images: Tensor, tiny_backbone: Backbones, direction: int
) -> None:
    supervisor = small(images, tiny_backbone(), grid=7).eval()
    latents = torch.rand(2, 16, 7, 7, generator=torch.Generator().manual_seed(0))
    down, right = list(MOVES.values())[direction]
    for cell in range(7):  # counted in the direction of the prediction
        place = cell if down + right > 0 else 6 - cell
        changed = latents.clone()
        (changed[:, :, place] if down else changed[..., place]).add_(1.0)
        with torch.no_grad():
            before = supervisor.get_predictor()(latents).predictions[direction]
            after = supervisor.get_predictor()(changed).predictions[direction]
        moved = (before != after).flatten(0, 2).any(dim=(0, 2))  # by row of the turned grid
        assert moved.tolist() == [cell <= row <= cell + 4 for row in range(7)]


def test_negatives_are_uniform_over_all_patches_but_the_positive(
    generator: torch.Generator,
) -> None:
    collator = PatchCollator(3, cpc_v2((8, 8)), 500)
    batch = Batch(torch.zeros(4, 3, 16, 16), torch.arange(4))
    after = collator.augment(batch, generator).negatives
    assert after is not None
    assert after.shape == (4, 9, 500)  # how many candidates after the positive, of 36
    counts = after.flatten().bincount(minlength=36).double()
    assert counts[0] == 0  # the positive
    expected = 4 * 9 * 500 / 35
    chi_square = float(((counts[1:] - expected) ** 2 / expected).sum())
    assert abs(chi_square - 34) < 4 * math.sqrt(2 * 34)
    assert after[0, 0].unique().numel() < 36 < 500  # with replacement
    assert not torch.equal(after[0, 0], after[0, 1])


def test_the_papers_recipe_leaves_one_channel_of_each_patch(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = small(images, tiny_backbone(), augmentation="paper")
    patches = batch_of(supervisor, images).patches.flatten(0, 1)  # (198, 3, 16, 16)
    lit = patches.amax(dim=(2, 3)) > 0
    assert lit.sum(dim=1).max() == 1
    kept = lit.float().sum(dim=0)
    assert (kept - 66).abs().max() < 4 * math.sqrt(198 * 2 / 9)
    supervisor.supervise(epochs=1, batch_size=11, name=None)
    assert math.isfinite(supervisor.history[-1]["loss"])


@pytest.mark.parametrize("channels", [1, 4])
def test_images_without_three_channels_keep_them(channels: int, generator: torch.Generator) -> None:
    patches = torch.rand(5, channels, 8, 8, generator=generator)
    assert torch.equal(KeepOneChannel()(patches, generator), patches)


def test_untrained_it_chooses_by_chance_among_all_patches(
    tiny_backbone: Backbones, generator: torch.Generator
) -> None:
    images = torch.randint(256, (4, 3, 64, 64), generator=generator, dtype=torch.uint8)
    supervisor = small(images, tiny_backbone())
    loss = supervisor(batch_of(supervisor, images))
    assert float(loss.detach()) == pytest.approx(math.log(4 * 7 * 7), rel=0.02)
    assert float(supervisor._logged["information"]) == pytest.approx(0, abs=0.1)


def test_drawn_negatives_leave_that_many_choices(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = small(images, tiny_backbone(), num_negatives=5)
    data = batch_of(supervisor, images)
    assert data.negatives is not None
    assert data.negatives.shape == (22, 9, 5)
    assert int(data.negatives.min()) >= 1  # 0 would be the positive
    assert int(data.negatives.max()) < 22 * 9
    assert float(supervisor(data).detach()) == pytest.approx(math.log(6), rel=0.02)


@pytest.mark.parametrize(
    ("side", "grid", "patch"),
    [(28, 3, 14), (32, 3, 16), (48, 5, 16), (64, 7, 16), (96, 7, 24), (224, 7, 56), (225, 7, 56)],
)
def test_patches_suit_the_image(tiny_backbone: Backbones, side: int, grid: int, patch: int) -> None:
    assert fitting_grid((side, side)) == grid
    supervisor = small(None, tiny_backbone(), image_size=side)
    patches = batch_of(supervisor, torch.zeros(1, 3, side, side, dtype=torch.uint8)).patches
    assert patches.shape == (1, grid * grid, 3, patch, patch)


def test_every_patch_is_changed_by_itself(generator: torch.Generator) -> None:
    tile = torch.randint(256, (3, 8, 8), generator=generator, dtype=torch.uint8)
    images = tile.repeat(1, 4, 4)[None].repeat(2, 1, 1, 1)  # period 8: all patches are the same
    collator = PatchCollator(3, cpc_v2((16, 16)), None)
    views = collator.augment(Batch(images, torch.arange(2)), generator).patches.flatten(0, 1)
    equal = (views[:, None] == views[None]).flatten(2).all(dim=2)
    assert int(equal.sum()) < 2 * len(views)  # each equals itself, and hardly any another


def test_the_default_backbone_sees_patches_one_at_a_time(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    supervisor = ContrastivePredictiveCodingSupervisor(image_size=32)
    backbone = supervisor.get_backbone()
    assert isinstance(backbone, EfficientFeatures)
    assert backbone._conv_stem.stride == (1, 1)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in supervisor.modules())
    patches = torch.rand(3, 3, 16, 16, generator=generator)
    changed = patches.clone()
    changed[1] = 0.5
    with torch.no_grad():
        torch.manual_seed(0)
        before = backbone(patches)
        torch.manual_seed(0)
        after = backbone(changed)
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]])
    assert float((before[1] - after[1]).abs().max()) > 1e-3


def test_patches_that_the_backbone_refuses_are_enlarged(tiny_backbone: Backbones) -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = tiny_backbone()

        def forward(self, images: Tensor) -> Tensor:
            if min(images.shape[-2:]) < 32:
                raise RuntimeError("too small")
            features: Tensor = self.layers(images)
            return features

    supervisor = small(None, Choosy(), image_size=(32, 96))
    patches = batch_of(supervisor, torch.zeros(1, 3, 32, 96, dtype=torch.uint8)).patches
    assert patches.shape == (1, 9, 3, 32, 48)
    assert math.isfinite(float(supervisor(Patches(patches, None)).detach()))
    with pytest.raises(ValueError, match=r"could not take images of shape \(1, 3, 56, 56\)"):
        small(None, nn.Conv2d(3, 8, 60), image_size=224)


def test_gradients_are_clipped_unless_told_otherwise(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    def moved(clip: float | None, **more: float) -> float:
        supervisor = small(images, tiny_backbone(), clip_norm=clip)
        before = [p.detach().clone() for p in supervisor.parameters()]
        supervisor.supervise(
            lr=1.0, optimizer=torch.optim.SGD, epochs=1, batch_size=22, name=None, **more
        )
        steps = [now - old for now, old in zip(supervisor.parameters(), before, strict=True)]
        return float(torch.cat([step.detach().flatten() for step in steps]).norm())

    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(0.01, clip_norm=0.005) == pytest.approx(0.005, rel=1e-3)
    assert moved(None) > 0.012


def test_grey_images_train(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = small(images[:4, :1], tiny_backbone(1))
    supervisor.supervise(epochs=1, batch_size=4, name=None)
    assert math.isfinite(supervisor.history[-1]["loss"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": 2}, r"^grid must be at least 3 patches, got 2$"),
        ({"grid": 32}, r"^32x32 patches need images of more than 32 pixels a side, got \(32, 32\)"),
        ({"offsets": (3,)}, r"from 1 to 2 in a grid of 3, got \(3,\)$"),
        ({"offsets": (1, 1)}, r"from 1 to 2 in a grid of 3, got \(1, 1\)$"),
        ({"offsets": ()}, r"from 1 to 2 in a grid of 3, got \(\)$"),
        ({"num_negatives": 0}, r"^num_negatives must be at least 1, got 0$"),
        ({"clip_norm": 0.0}, r"^clip_norm must be positive, got 0.0$"),
        ({"logit_scale": 0.0}, r"^logit_scale must be > 0, got 0.0$"),
    ],
)
def test_wrong_arguments_are_refused(
    images: Tensor, tiny_backbone: Backbones, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small(images, tiny_backbone(), **settings)


def test_health_names_chance_and_leaks(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = small(images, tiny_backbone())
    chance = supervisor._health({"epoch": 6, "loss": 5.3, "information": 0.0})
    leak = supervisor._health({"epoch": 2, "loss": 0.01, "information": 5.2})
    assert chance.startswith("patches are foretold no better than by chance")
    assert leak.startswith("nearly all patches are foretold after 2 epochs")
    assert supervisor._health({"epoch": 6, "loss": 4.0, "information": 1.3}) is None
