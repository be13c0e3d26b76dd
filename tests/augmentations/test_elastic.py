from __future__ import annotations

import sys

import pytest
import torch

from super_selfish.augmentations.elastic import (
    Engine,
    RandomElastic,
    coarse_to_dense,
    elastic_deform,
    elastic_deform_reference,
    spline_matrix,
)

try:
    import elasticdeform
except (ImportError, AttributeError, RuntimeError, ValueError):
    elasticdeform = None

needs_elasticdeform = pytest.mark.skipif(
    elasticdeform is None, reason="elasticdeform cannot be imported"
)


@needs_elasticdeform
@pytest.mark.parametrize(("points", "across"), [(3, 3), (2, 5), (4, 2)])
def test_the_dense_field_is_elasticdeforms(
    points: int, across: int, generator: torch.Generator
) -> None:
    coarse = torch.randn(1, 2, points, across, generator=generator, dtype=torch.float64)
    dense = coarse_to_dense(coarse, (40, 60))[0]
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    for component, ramp in enumerate((y.double(), x.double())):
        # Linear interpolation of a ramp shows the point that was read.
        read = elasticdeform.deform_grid(ramp.numpy(), coarse[0].numpy(), order=1, cval=-999.0)
        inside = torch.from_numpy(read) > -999.0
        field = torch.from_numpy(read) - ramp
        assert inside.double().mean() > 0.8
        torch.testing.assert_close(dense[component][inside], field[inside], atol=1e-9, rtol=0)


@needs_elasticdeform
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (40, 64)])
def test_deformed_images_agree_with_elasticdeform_inside(
    height: int, width: int, channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(3, channels, height, width, generator=generator)
    coarse = 2.0 * torch.randn(3, 2, 3, 3, generator=generator)
    expected = elastic_deform_reference(images, coarse, order=1)
    actual = elastic_deform(images, coarse)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    dy, dx = coarse_to_dense(coarse, (height, width)).unbind(dim=1)
    inside = (y + dy > 0) & (y + dy < height - 1) & (x + dx > 0) & (x + dx < width - 1)
    inside = inside[:, None].expand_as(images)
    assert inside.float().mean() > 0.8
    torch.testing.assert_close(actual[inside], expected[inside], atol=1e-4, rtol=0)
    outside = (y + dy < -1) | (y + dy > height) | (x + dx < -1) | (x + dx > width)
    assert not actual[outside[:, None].expand_as(images)].any()


@needs_elasticdeform
def test_both_engines_show_the_same_view_inside(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 40, 40, generator=generator)
    ours = RandomElastic()(images, torch.Generator().manual_seed(2))
    theirs = RandomElastic(engine="elasticdeform")(images, torch.Generator().manual_seed(2))
    centre = (slice(None), slice(None), slice(12, 28), slice(12, 28))
    torch.testing.assert_close(ours[centre], theirs[centre], atol=1e-4, rtol=0)


def test_the_spline_passes_through_its_points_and_keeps_constants() -> None:
    matrix = spline_matrix(4, 31)
    torch.testing.assert_close(matrix[::10], torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(31, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_no_displacement_returns_the_image(mode: str, generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 20, 33, generator=generator)
    view = elastic_deform(images, torch.zeros(2, 2, 3, 3), mode)  # type: ignore[arg-type]
    torch.testing.assert_close(view, images, atol=1e-4, rtol=0)


def test_sigma_scales_with_the_shorter_side(generator: torch.Generator) -> None:
    drawn = RandomElastic(sigma=10.0, points=4).draw((1000, 3, 45, 90), generator)
    assert drawn.shape == (1000, 2, 4, 4)
    assert abs(drawn.std().item() - 2.0) < 0.03
    assert abs(drawn.mean().item()) < 0.05


def test_equal_generators_give_equal_views(generator: torch.Generator) -> None:
    images = torch.rand(2, 1, 16, 16, generator=generator)
    first, second = (RandomElastic()(images, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_missing_elasticdeform_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elasticdeform", None)
    with pytest.raises(ImportError, match="--no-binary elasticdeform elasticdeform"):
        RandomElastic(engine="elasticdeform")
    RandomElastic()  # our own engine does not need it


@pytest.mark.parametrize(
    ("sigma", "points", "engine", "message"),
    [
        (-1.0, 3, "torch", "sigma must be >= 0"),
        (1.0, 1, "torch", "points must be >= 2"),
        (1.0, 3, "numpy", 'engine must be "torch" or "elasticdeform"'),
    ],
)
def test_wrong_arguments_are_refused(
    sigma: float, points: int, engine: Engine, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RandomElastic(sigma, points, engine)


def test_a_field_needs_two_points_and_two_components() -> None:
    with pytest.raises(ValueError, match="at least 2 control points"):
        coarse_to_dense(torch.zeros(1, 2, 1, 3), (8, 8))
    with pytest.raises(ValueError, match="displacement must be"):
        coarse_to_dense(torch.zeros(1, 3, 3, 3), (8, 8))
