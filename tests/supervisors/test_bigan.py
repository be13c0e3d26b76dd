from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch
from super_selfish.models.discriminators import PairDiscriminator
from super_selfish.supervisors import BiGanSupervisor
from super_selfish.supervisors.augmenting import Unchanged
from super_selfish.supervisors.bigan import ImagesAndLatents, LatentCollator, reconstruction_ratio
from tests.references import adversarial_cross_entropy_in_loops

Backbones = Callable[..., nn.Module]


@pytest.fixture
def supervisor(images: Tensor, tiny_backbone: Backbones) -> BiGanSupervisor:
    torch.manual_seed(0)
    return BiGanSupervisor(images, tiny_backbone(), players="convolutional", latent_channels=4)


def batch_of(supervisor: BiGanSupervisor, images: Tensor) -> ImagesAndLatents:
    assert isinstance(supervisor.collate_fn, LatentCollator)
    generator = torch.Generator().manual_seed(0)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def test_latents_are_uniform_between_minus_one_and_one() -> None:
    images = torch.zeros(500, 3, 2, 2)
    collator = LatentCollator((4, 2, 3), Unchanged())
    batch = collator.augment(Batch(images, torch.arange(500)), torch.Generator().manual_seed(0))
    assert batch.latents.shape == (500, 4, 2, 3)
    assert -1 <= float(batch.latents.min()) < -0.99
    assert 0.99 < float(batch.latents.max()) <= 1
    assert float(batch.latents.std()) == pytest.approx(3**-0.5, rel=0.02)


def test_encoded_and_drawn_latents_have_one_shape_and_one_range(
    supervisor: BiGanSupervisor, images: Tensor
) -> None:
    batch = batch_of(supervisor, images)
    encoded = supervisor.model(batch.images)
    assert encoded.shape == batch.latents.shape == (22, 4, 2, 2)
    assert encoded.abs().max() < 1
    imagined = supervisor.generator(batch.latents)
    assert imagined.shape == batch.images.shape
    assert 0 <= imagined.min() and imagined.max() <= 1


def test_nobody_knows_anything_at_first(supervisor: BiGanSupervisor, images: Tensor) -> None:
    loss: Any = supervisor(batch_of(supervisor, images))
    assert loss["discriminator"].item() == pytest.approx(2 * math.log(2), rel=0.05)
    assert loss["generator"].item() == pytest.approx(2 * math.log(2), rel=0.05)


def test_generator_and_encoder_want_the_contrary_of_the_discriminator(
    supervisor: BiGanSupervisor, images: Tensor
) -> None:
    class Fixed(nn.Module):  # sure of everything: real pairs 3, fake ones -2
        def forward(self, images: Tensor, latents: Tensor) -> Tensor:
            half = len(images) // 2
            return torch.cat([torch.full((half,), 3.0), torch.full((half,), -2.0)])

    supervisor.discriminator = Fixed()
    loss: Any = supervisor(batch_of(supervisor, images))
    good = math.log1p(math.exp(-3)) + math.log1p(math.exp(-2))
    bad = math.log1p(math.exp(3)) + math.log1p(math.exp(2))
    assert loss["discriminator"].item() == pytest.approx(good, rel=1e-5)
    assert loss["generator"].item() == pytest.approx(bad, rel=1e-5)


def test_the_losses_are_those_of_the_paper(supervisor: BiGanSupervisor, images: Tensor) -> None:
    supervisor.eval()
    batch = batch_of(supervisor, images)
    with torch.no_grad():
        real = supervisor.discriminator(batch.images, supervisor.model(batch.images))
        fake = supervisor.discriminator(supervisor.generator(batch.latents), batch.latents)
        loss: Any = supervisor(batch)
    loops = adversarial_cross_entropy_in_loops
    assert loss["discriminator"].item() == pytest.approx(loops(real, True) + loops(fake, False))
    assert loss["generator"].item() == pytest.approx(loops(real, False) + loops(fake, True))


def test_the_discriminator_sees_each_image_with_its_latents(
    supervisor: BiGanSupervisor, images: Tensor
) -> None:
    seen: list[Any] = []
    supervisor.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given))
    batch = batch_of(supervisor, images)
    supervisor(batch)
    ((shown, latents),) = seen  # one batch of both kinds
    assert torch.equal(shown[:22], to_unit_range(images))
    assert torch.equal(latents[22:], batch.latents)
    torch.testing.assert_close(latents[:22], supervisor.model(batch.images))
    torch.testing.assert_close(shown[22:], supervisor.generator(batch.latents))


def test_the_backbone_sees_real_images_only(supervisor: BiGanSupervisor, images: Tensor) -> None:
    seen: list[Tensor] = []
    convolution = next(m for m in supervisor.get_backbone().modules() if isinstance(m, nn.Conv2d))
    convolution.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    supervisor(batch_of(supervisor, images))
    assert len(seen) == 1
    assert torch.equal(seen[0], to_unit_range(images))


def test_measuring_the_reconstruction_leaves_no_trace(
    supervisor: BiGanSupervisor, images: Tensor
) -> None:
    supervisor(batch_of(supervisor, images))
    norms = [m for m in supervisor.generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training and int(norm.num_batches_tracked or 0) == 1 for norm in norms)


def test_the_ratio_is_zero_for_equal_images_and_one_for_unrelated(
    generator: torch.Generator,
) -> None:
    images = torch.rand(5, 3, 4, 4, generator=generator)
    assert float(reconstruction_ratio(images, images)) == 0
    grey = torch.full_like(images, 0.5)
    assert float(reconstruction_ratio(images, grey)) == pytest.approx(1)
    assert float(reconstruction_ratio(images, (images + images.roll(1, 0)) / 2)) == pytest.approx(1)
    assert float(reconstruction_ratio(images, images.roll(1, 0))) > 1e6


def test_networks_of_ones_own_take_the_place_of_the_defaults(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    class Head(nn.Module):
        wants_map = True

        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(16, 5, 8)

        def forward(self, features: Tensor) -> Tensor:
            return self.convolution(features).tanh()

    generator = nn.Sequential(nn.ConvTranspose2d(5, 3, 32), nn.Sigmoid())
    discriminator = PairDiscriminator(tiny_backbone(), 16, 5)
    supervisor = BiGanSupervisor(
        images, tiny_backbone(), Head(), generator=generator, discriminator=discriminator
    )
    assert batch_of(supervisor, images).latents.shape == (22, 5, 1, 1)
    supervisor.supervise(epochs=1, name=None)
    assert math.isfinite(supervisor.history[0]["loss"])


def test_health_tells_of_a_discriminator_that_has_won(supervisor: BiGanSupervisor) -> None:
    row = {"epoch": 5, "discriminator_accuracy": 1.0, "reconstruction_ratio": 0.97}
    assert "the discriminator has won (100.0% of the pairs" in (supervisor._health(row) or "")
    assert "0.97 times" in (supervisor._health(row) or "")
    assert supervisor._health({**row, "discriminator_accuracy": 0.7}) is None


def test_latents_without_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^latent_channels must be at least 1, got 0$"):
        BiGanSupervisor(image_size=32, latent_channels=0)
