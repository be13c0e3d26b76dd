from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch
from super_selfish.supervisors import ContextNetSupervisor
from super_selfish.supervisors.augmenting import Unchanged
from super_selfish.supervisors.context_net import HoleCollator, HoledImages
from tests.references import adversarial_cross_entropy_in_loops, masked_squared_error_in_loops

Backbones = Callable[..., nn.Module]


def batch_of(supervisor: ContextNetSupervisor, images: Tensor) -> HoledImages:
    assert isinstance(supervisor.collate_fn, HoleCollator)
    generator = torch.Generator().manual_seed(0)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def holes_of(p: float, num_blocks: int, number: int = 200, size: int = 40) -> HoledImages:
    collator = HoleCollator(p, num_blocks, (0.05, 0.1), (0.3, 3.3), 0.25, Unchanged())
    images = torch.rand(number, 3, size, size, generator=torch.Generator().manual_seed(1))
    return collator.augment(Batch(images, torch.arange(number)), torch.Generator().manual_seed(2))


def test_images_are_filled_in_the_holes_and_nowhere_else() -> None:
    batch = holes_of(0.3, 10)
    holes = batch.holes.expand_as(batch.images)
    assert (batch.holed[holes] == 0.25).all()
    assert torch.equal(batch.holed[~holes], batch.images[~holes])


def test_every_image_has_a_hole_of_the_right_area() -> None:
    areas = holes_of(1e-9, 10).holes.float().mean(dim=(1, 2, 3))  # one block each, by force
    assert areas.min() > 0.05 * 0.85  # sides are rounded to pixels
    assert areas.max() < 0.1 * 1.15
    assert float(areas.mean()) == pytest.approx(0.075, rel=0.05)


def test_blocks_are_cut_with_their_probability() -> None:
    none, all_of_them = holes_of(0.3, 10).holes, holes_of(1.0, 10).holes
    # About 3 of 10 blocks of 7.5 % each, which overlap now and then.
    assert 0.15 < float(none.float().mean()) < 0.25
    assert float(all_of_them.float().mean()) > 0.4


def test_holes_are_zero_where_the_backbone_sees_them(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = ContextNetSupervisor(images, tiny_backbone(), normalize="imagenet")
    batch = batch_of(supervisor, images)
    seen = supervisor.preprocess(batch.holed)
    assert seen[batch.holes.expand_as(seen)].abs().max() < 1e-6


def test_only_the_holes_count(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ContextNetSupervisor(images[:2], tiny_backbone(), lambda_adv=0.0, lambda_rec=0.5)
    batch = batch_of(supervisor, images[:2])
    painted = supervisor.model(batch.holed).detach()
    loss = supervisor(batch)
    assert isinstance(loss, dict)
    expected = 0.5 * masked_squared_error_in_loops(painted, batch.images, batch.holes)
    assert loss["generator"].item() == pytest.approx(expected, rel=1e-5)


def test_the_losses_are_those_of_the_paper(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ContextNetSupervisor(images[:2], tiny_backbone()).eval()
    batch = batch_of(supervisor, images[:2])
    with torch.no_grad():
        painted = supervisor.model(batch.holed)
        real, fake = supervisor.discriminator(batch.images), supervisor.discriminator(painted)
        loss: Any = supervisor(batch)
    error = masked_squared_error_in_loops(painted, batch.images, batch.holes)
    loops = adversarial_cross_entropy_in_loops
    expected = 0.999 * error + 0.001 * loops(fake, True)
    assert loss["generator"].item() == pytest.approx(expected, rel=1e-5)
    assert loss["discriminator"].item() == pytest.approx(loops(real, True) + loops(fake, False))


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0)])
def test_verdict_and_error_each_teach_the_painter(
    images: Tensor, tiny_backbone: Backbones, weights: tuple[float, float]
) -> None:
    supervisor = ContextNetSupervisor(
        images, tiny_backbone(), lambda_rec=weights[0], lambda_adv=weights[1]
    )
    loss: Any = supervisor(batch_of(supervisor, images))
    for gradient in torch.autograd.grad(loss["generator"], list(supervisor.model.parameters())):
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("least_squares", "start"), [(False, 2 * math.log(2)), (True, 0.5)])
def test_the_discriminator_knows_nothing_at_first(
    images: Tensor, tiny_backbone: Backbones, least_squares: bool, start: float
) -> None:
    torch.manual_seed(0)
    supervisor = ContextNetSupervisor(
        images,
        tiny_backbone(),
        lambda_rec=0.0,
        lambda_adv=1.0,
        least_squares=least_squares,
        discriminator_widths=(64, 128, 256),
    )
    loss: Any = supervisor(batch_of(supervisor, images))
    assert loss["discriminator"].item() == pytest.approx(start, rel=0.2)
    start_of_generator = 0.5 if least_squares else math.log(2)
    assert loss["generator"].item() == pytest.approx(start_of_generator, rel=0.2)


def test_the_discriminator_sees_real_and_painted_images_in_one_batch(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = ContextNetSupervisor(images, tiny_backbone())
    seen: list[Tensor] = []
    supervisor.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    supervisor(batch_of(supervisor, images))
    assert len(seen) == 1
    assert len(seen[0]) == 2 * len(images)
    assert torch.equal(seen[0][: len(images)], to_unit_range(images))


def test_painting_improves(images: Tensor, tiny_backbone: Backbones) -> None:
    torch.manual_seed(0)
    supervisor = ContextNetSupervisor(images, tiny_backbone(), decoder_widths=[64])
    supervisor.supervise(lr=5e-3, epochs=5, batch_size=11, name=None)
    errors = [row["reconstruction"] for row in supervisor.history]
    assert errors[-1] < 0.2 * errors[0]


def test_grey_images_are_painted(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = ContextNetSupervisor(images[:4, :1], tiny_backbone(1))
    supervisor.supervise(epochs=1, name=None)
    assert math.isfinite(supervisor.history[0]["loss"])


def test_health_tells_of_bad_painting_and_of_a_discriminator_that_matters_and_has_won(
    tiny_backbone: Backbones,
) -> None:
    row = {
        "epoch": 3,
        "reconstruction": 0.1,
        "mean_colour": 0.2,
        "discriminator_accuracy": 1.0,
    }
    supervisor = ContextNetSupervisor(backbone=tiny_backbone(), image_size=32)
    assert supervisor._health(row) is None
    assert "worse" in (supervisor._health({**row, "reconstruction": 0.3}) or "")
    equal = ContextNetSupervisor(
        backbone=tiny_backbone(), image_size=32, lambda_rec=1.0, lambda_adv=1.0
    )
    assert "has won" in (equal._health(row) or "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"probability": 0.0},
        {"num_blocks": 0},
        {"scale": (0.2, 0.1)},
        {"lambda_adv": -0.1},
        {"lambda_rec": 0.0, "lambda_adv": 0.0},
    ],
)
def test_wrong_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match="|".join(("probability is", "num_blocks", "scale", "lambda_rec"))
    ):
        ContextNetSupervisor(image_size=32, **wrong)
