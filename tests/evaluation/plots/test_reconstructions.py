from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("matplotlib")

from super_selfish.evaluation.plots import plot_reconstructions
from super_selfish.supervisors import SUPERVISORS

Backbones = Callable[..., nn.Module]


@pytest.mark.parametrize(
    ("algorithm", "columns", "rows"),
    [
        ("denoise", 3, 4),
        ("context", 3, 4),
        ("mae", 3, 4),
        ("split_brain", 6, 2),
        ("colorization", 3, 4),
        ("aet", 3, 4),
        ("bigan", 3, 4),
    ],
)
def test_a_row_shows_what_was_seen_and_what_was_made_of_it(
    algorithm: str, columns: int, rows: int, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = SUPERVISORS[algorithm](images, backbone=tiny_backbone())
    figure = plot_reconstructions(supervisor)
    assert len(figure.axes) == rows * columns
    assert all(len(axes.images) == 1 for axes in figure.axes)
    assert len(figure.texts) == columns


def test_images_can_be_chosen(images: Tensor, tiny_backbone: Backbones) -> None:
    supervisor = SUPERVISORS["denoise"](images, backbone=tiny_backbone())
    figure = plot_reconstructions(supervisor, index=[5])
    clean = torch.as_tensor(figure.axes[2].images[0].get_array())
    torch.testing.assert_close(clean, images[5].permute(1, 2, 0) / 255, check_dtype=False)


def test_wrong_arguments_are_refused(images: Tensor, tiny_backbone: Backbones) -> None:
    with pytest.raises(ValueError, match="RotateNetSupervisor paints no images"):
        plot_reconstructions(SUPERVISORS["rotate"](images, backbone=tiny_backbone()))
    with pytest.raises(ValueError, match="give the supervisor a dataset"):
        plot_reconstructions(SUPERVISORS["denoise"](backbone=tiny_backbone(), image_size=32))
