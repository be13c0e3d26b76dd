from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import Batch
from super_selfish.models import ImageDecoder
from super_selfish.supervisors import DenoiseNetSupervisor
from super_selfish.supervisors.augmenting import Unchanged
from super_selfish.supervisors.denoise_net import DenoiseCollator, NoisedImages
from tests.references import squared_error_in_loops

Backbones = Callable[..., nn.Module]


def batch_of(supervisor: Any, images: Tensor, seed: int = 0) -> NoisedImages:
    assert isinstance(supervisor.collate_fn, DenoiseCollator)
    generator = torch.Generator().manual_seed(seed)
    return supervisor.collate_fn.augment(Batch(images, torch.arange(len(images))), generator)


def test_the_loss_is_the_squared_error_of_all_pixels(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = DenoiseNetSupervisor(images, tiny_backbone()).eval()
    data = batch_of(supervisor, images[:2])
    with torch.no_grad():
        restored = supervisor.model(data.noised)
        assert restored.shape == data.images.shape
        expected = squared_error_in_loops(restored, to_unit_range(images[:2]))
        assert float(supervisor(data)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("p", [0.1, 0.7])
def test_pixels_are_erased_with_their_probability_in_all_channels_at_once(p: float) -> None:
    images = torch.full((50, 3, 32, 32), 0.5)
    batch = DenoiseCollator(p, 0.0, Unchanged()).augment(
        Batch(images, torch.arange(50)), torch.Generator().manual_seed(0)
    )
    erased = batch.noised == 0
    assert torch.equal(erased, erased[:, :1].expand_as(erased))
    assert (batch.noised[~erased] == 0.5).all()
    assert torch.equal(batch.images, images)
    # 51,200 pixels: the deviation of their share is at most 0.0021.
    assert float(erased.float().mean()) == pytest.approx(p, abs=4 * 0.0021)


def test_erased_pixels_are_zero_where_the_backbone_sees_them(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = DenoiseNetSupervisor(images, tiny_backbone(), normalize="imagenet")
    data = batch_of(supervisor, images)
    erased = data.noised != data.images
    assert supervisor.preprocess(data.noised)[erased].abs().max() < 1e-6


def test_it_beats_a_copy_of_its_input_and_one_grey_for_all(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    torch.manual_seed(0)
    supervisor = DenoiseNetSupervisor(images, tiny_backbone())
    supervisor.supervise(lr=5e-3, epochs=30, batch_size=11, name=None)
    data = batch_of(supervisor, images)
    copied = squared_error_in_loops(data.noised, data.images)
    last = supervisor.history[-1]
    assert last["variance"] == pytest.approx(float(data.images.var()), rel=0.05)
    assert last["loss"] < 0.5 * min(copied, last["variance"])


def test_there_is_no_way_round_the_features(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = DenoiseNetSupervisor(images, tiny_backbone()).eval()
    data = batch_of(supervisor, images[:3])
    supervisor.get_backbone().forward_features = lambda x: torch.zeros(len(x), 16, 8, 8)  # type: ignore[assignment]
    with torch.no_grad():
        restored = supervisor.model(data.noised)
    assert torch.equal(restored[0], restored[1])


def test_health_tells_of_bad_restoration_by_the_loss_in_use(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = DenoiseNetSupervisor(images, tiny_backbone(), loss=nn.L1Loss())
    supervisor(batch_of(supervisor, images))
    grey = to_unit_range(images)
    assert float(supervisor._logged["variance"]) == pytest.approx(
        float((grey - grey.mean()).abs().mean()), rel=1e-4
    )
    row = {"epoch": 3, "loss": 0.2, "variance": 0.1}
    assert str(supervisor._health(row)).startswith("the restored images are worse (error 0.2000)")
    assert supervisor._health({**row, "loss": 0.05}) is None
    assert supervisor._health({**row, "epoch": 2}) is None


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, float("nan")])
def test_noise_that_leaves_nothing_to_do_or_to_see_is_refused(p: float) -> None:
    with pytest.raises(
        ValueError, match=r"^probability is the share of erased pixels, between 0 and 1, got"
    ):
        DenoiseNetSupervisor(image_size=32, probability=p)


def test_a_decoder_of_another_size_is_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    decoder = ImageDecoder(16, 3, size=(16, 16), map_size=(8, 8))
    with pytest.raises(ValueError, match=r"must give images \[3, 32, 32\], got \[3, 16, 16\]"):
        DenoiseNetSupervisor(images, tiny_backbone(), decoder)
    smaller = DenoiseNetSupervisor(images, tiny_backbone(), decoder, loss=lambda a, b: a.mean())
    assert smaller.get_predictor() is decoder
