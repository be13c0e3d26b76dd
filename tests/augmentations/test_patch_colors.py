"""What becomes of colours that would tell where a patch lies."""

from __future__ import annotations

import pytest
import torch

from super_selfish.augmentations.low_resolution import LowResolution, SmallerSizes
from super_selfish.augmentations.random_color import ReplaceChannels, WithoutGreenMagenta
from super_selfish.augmentations.recipes import context_patch


def test_one_channel_stays_and_the_others_lie_at_its_mean(generator: torch.Generator) -> None:
    patches = torch.rand(300, 3, 8, 8, generator=generator) * 0.8 + 0.1
    made = ReplaceChannels()(patches, generator)
    stays = (made == patches).flatten(2).all(dim=2)  # (300, 3)
    assert bool((stays.sum(dim=1) == 1).all())
    assert stays.sum(dim=0).min() > 70  # each is as likely
    for patch, seen, kept in zip(patches, made, stays, strict=True):
        noise = (seen[~kept] - patch[kept].mean()) * 255
        assert noise.abs().max() <= 0.5 + 1e-4
        assert 0.25 < noise.std() < 0.33  # of U(-0.5, 0.5): 0.289


def test_green_is_not_told_from_magenta(generator: torch.Generator) -> None:
    patches = torch.rand(4, 3, 8, 8, generator=generator, dtype=torch.float64)
    a = torch.tensor([[-1.0, 2.0, -1.0]], dtype=torch.float64)
    matrix = torch.eye(3, dtype=torch.float64) - a.T @ a / (a @ a.T)  # as the paper has it
    expected = torch.einsum("ij,bjhw->bihw", matrix, patches)
    made = WithoutGreenMagenta()(patches, generator)
    torch.testing.assert_close(made, (expected - 0.5) * 0.75 + 0.5)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)[:, :, None, None]
    found = WithoutGreenMagenta()(corners, generator)
    assert found.min() >= -1e-6 and found.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", [ReplaceChannels(), WithoutGreenMagenta()])
@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels_stay_as_they_are(
    kind: ReplaceChannels | WithoutGreenMagenta, channels: int, generator: torch.Generator
) -> None:
    patches = torch.rand(4, channels, 8, 8, generator=generator)
    assert torch.equal(kind(patches, generator), patches)


def test_a_third_of_the_patches_is_blurred_and_keeps_its_colours(
    generator: torch.Generator,
) -> None:
    patch = torch.rand(1, 3, 16, 16, generator=generator)
    made = context_patch(colors="keep")(patch.repeat(3000, 1, 1, 1), generator)
    touched = (made != patch).flatten(1).any(dim=1).double().mean()
    assert 0.29 < touched < 0.36  # some are shrunk by nothing
    sizes = torch.arange(10, 16)  # ten pixels are left at least
    blurred = LowResolution().apply(patch.repeat(6, 1, 1, 1), SmallerSizes(sizes, sizes))
    assert made.flatten(1).std(dim=1).min() > blurred.flatten(1).std(dim=1).min() - 1e-5
    with pytest.raises(ValueError, match=r"colors is one of drop, project, keep, got 'grey'"):
        context_patch(colors="grey")
