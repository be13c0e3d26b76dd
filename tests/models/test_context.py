from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models.context import (
    DIRECTIONS,
    CausalConv2d,
    ContextNetwork,
    GridPredictor,
    ResidualContextNetwork,
    turn_grid,
)

SIDE = 7


def place(direction: str, row: int, column: int) -> tuple[int, int]:
    """Where a cell of the image lies in the grid of a direction, by hand."""
    last = SIDE - 1
    return {
        "down": (row, column),
        "up": (last - row, column),
        "right": (column, row),
        "left": (last - column, row),
    }[direction]


def is_ahead(direction: str, cell: tuple[int, int], of: tuple[int, int]) -> bool:
    """Whether a cell of the image lies further in a direction than another."""
    return {
        "down": cell[0] > of[0],
        "up": cell[0] < of[0],
        "right": cell[1] > of[1],
        "left": cell[1] < of[1],
    }[direction]


def predictor(context: Any = "plain") -> GridPredictor:
    torch.manual_seed(0)
    options = {"embedding_size": 5, "num_offsets": 2, "context_size": 8}
    return GridPredictor(3, **options, context=context).double()


every_context = pytest.mark.parametrize("context", ["plain", "residual"])


def latents() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_turned_grids_have_their_direction_below(direction: str) -> None:
    cells = torch.arange(SIDE * SIDE).view(1, SIDE, SIDE)
    turned = turn_grid(cells, direction)
    for row in range(SIDE):
        for column in range(SIDE):
            assert turned[(0, *place(direction, row, column))] == cells[0, row, column]


def test_the_four_directions_differ() -> None:
    grids = [turn_grid(latents(), direction) for direction in DIRECTIONS]
    for n, grid in enumerate(grids):
        assert not any(torch.equal(grid, other) for other in grids[:n])


@every_context
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("changed", [(0, 0), (2, 5), (3, 3), (6, 1)])
def test_a_cell_foretells_from_nothing_that_lies_ahead(
    direction: str, changed: tuple[int, int], context: str
) -> None:
    model = predictor(context)
    number = DIRECTIONS.index(direction)
    other = latents()
    other[0, :, changed[0], changed[1]] += 1.0
    with torch.no_grad():
        difference = (model(latents())[0] - model(other)[0])[number, 0].abs().sum(dim=(0, 1))
    for row in range(SIDE):
        for column in range(SIDE):
            moved = bool(difference[place(direction, row, column)] > 0)
            if is_ahead(direction, changed, (row, column)):
                assert not moved
            elif (row, column) == changed:
                assert moved


@every_context
def test_every_direction_sees_its_own_side(context: str) -> None:
    model = predictor(context)
    for name, number in zip(DIRECTIONS, range(4), strict=True):
        grid = latents().requires_grad_()
        row, column = place(name, 3, 3)
        model(grid)[0][number, 0, :, :, row, column].sum().backward()
        assert grid.grad is not None
        seen = grid.grad[0].abs().sum(dim=0) > 0
        behind = {
            "down": seen[:4],
            "up": seen[3:],
            "right": seen[:, :4],
            "left": seen[:, 3:],
        }[name]
        assert int(seen.sum()) == int(behind.sum())
        assert bool(behind.all())  # four rows back, as wide as the grid


def test_a_residual_context_is_that_of_the_pseudo_code() -> None:
    torch.manual_seed(0)
    network = ResidualContextNetwork(3, hidden=4).double()
    grid = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    slow = grid.clone()
    blocks: Any = network.blocks
    for block in blocks:
        one, across, down, last = [part for part in block if isinstance(part, nn.Conv2d)]
        hidden = F.pad(one(slow).relu(), (1, 1, 0, 0))
        hidden = F.pad(F.conv2d(hidden, across.weight, across.bias), (0, 0, 1, 0))
        slow = slow + last(F.conv2d(hidden, down.weight, down.bias).relu())
    torch.testing.assert_close(network(grid), slow.relu())
    assert sum(p.numel() for p in ResidualContextNetwork(64).parameters()) == 5 * (
        (64 * 256 + 256) + (256 * 256 * 3 + 256) + (256 * 256 * 2 + 256) + (256 * 64 + 64)
    )


def test_a_context_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"context must be .* got 'other'"):
        predictor("other")
    with pytest.raises(ValueError, match="must be >= 1"):
        ResidualContextNetwork(3, num_blocks=0)


def test_a_causal_convolution_is_a_masked_one() -> None:
    torch.manual_seed(0)
    causal, masked = CausalConv2d(2, 4), nn.Conv2d(2, 4, 3, padding=1)
    with torch.no_grad():
        masked.weight.zero_()
        masked.weight[:, :, :2] = causal.weight
        assert masked.bias is not None
        masked.bias.copy_(causal.bias)  # type: ignore[arg-type]
        grid = torch.randn(2, 2, 5, 5)
        torch.testing.assert_close(causal(grid), masked(grid))


def test_shapes_and_no_norm() -> None:
    model = predictor()
    predictions, targets = model(latents())
    assert predictions.shape == (4, 1, 2, 5, SIDE, SIDE)
    assert targets.shape == (1, 5, SIDE, SIDE)
    kinds = {type(module) for module in ContextNetwork(3).modules()}
    assert kinds == {ContextNetwork, CausalConv2d, nn.ReLU}
    assert ContextNetwork(3)(torch.randn(2, 3, 4, 4)).shape == (2, 128, 4, 4)


def test_unknown_directions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^direction is one of down, up, right, left, got 'in'$"):
        turn_grid(latents(), "in")
