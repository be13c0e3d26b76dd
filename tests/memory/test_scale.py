from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.memory import RunningScale
from super_selfish.memory.scale import MOST


def drawn(generator: torch.Generator, number: int) -> Tensor:
    wide = torch.tensor([1.0, 5.0, 0.1], dtype=torch.float64)
    return torch.randn(number, 3, generator=generator, dtype=torch.float64) * wide + 40


def test_parts_of_any_size_have_the_mean_and_variance_of_the_whole(
    generator: torch.Generator,
) -> None:
    whole = drawn(generator, 60)
    scale = RunningScale(3).double()
    assert torch.equal(scale(whole), whole)  # nothing is known yet
    for part in whole.split([1, 2, 30, 7, 20]):
        scale.note(scale.sums_of(part), scale.mean.clone())
    torch.testing.assert_close(scale.mean, whole.mean(dim=0))
    expected = whole.var(dim=0, correction=0).mean()
    torch.testing.assert_close(scale.variance, expected)
    assert float(scale.count) == 60
    standard = scale(whole)
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(3, dtype=torch.float64))
    assert float(standard.square().mean()) == pytest.approx(1.0)
    ratios = standard.std(dim=0) / whole.std(dim=0)
    assert float(ratios.max() / ratios.min()) == pytest.approx(1.0)  # one scale for all


def test_sums_of_processes_add_up(generator: torch.Generator) -> None:
    whole = drawn(generator, 10)
    one, two = RunningScale(3).double(), RunningScale(3).double()
    for _ in range(2):
        one.note(one.sums_of(whole), one.mean.clone())
        two.note(two.sums_of(whole[:4]) + two.sums_of(whole[4:]), two.mean.clone())
    torch.testing.assert_close(one.state_dict(), two.state_dict())


def test_sums_may_be_noted_after_others_that_were_taken_with_them(
    generator: torch.Generator,
) -> None:
    whole = drawn(generator, 10)
    one, two = RunningScale(3).double(), RunningScale(3).double()
    for first, second in ((whole[:4], whole[4:]), (whole[:7], whole[7:])):  # batches of an update
        one.note(one.sums_of(whole), one.mean.clone())
        about = two.mean.clone()
        sums = [two.sums_of(first), two.sums_of(second)]
        for each in sums:
            two.note(each, about)
    torch.testing.assert_close(one.state_dict(), two.state_dict())


def test_places_of_a_map_are_as_many_vectors(generator: torch.Generator) -> None:
    vectors = drawn(generator, 24)
    maps = vectors.reshape(4, 2, 3, 3).permute(0, 3, 1, 2)
    one, other = RunningScale(3).double(), RunningScale(3).double()
    one.note(one.sums_of(vectors), one.mean.clone())
    other.note(other.sums_of(maps), other.mean.clone())
    torch.testing.assert_close(one.state_dict(), other.state_dict())
    torch.testing.assert_close(other(maps).permute(0, 2, 3, 1).reshape(24, 3), one(vectors))


def test_equal_vectors_have_a_place_and_no_scale() -> None:
    scale = RunningScale(2)
    same = torch.tensor([[3.0, 4.0]])
    scale.note(scale.sums_of(same), scale.mean.clone())
    assert torch.equal(scale(same + 1), torch.ones(1, 2))


def test_beyond_a_million_the_newest_keep_their_weight() -> None:
    scale = RunningScale(1)
    scale.count.fill_(MOST)
    scale.note(torch.tensor([2.0 * 1000, 4.0 * 1000, 1000.0]), torch.zeros(1))
    assert float(scale.count) == MOST
    assert float(scale.mean) == pytest.approx(2 * 1000 / (MOST + 1000))


def test_no_numbers_have_no_scale() -> None:
    with pytest.raises(ValueError, match="dim must be >= 1, got 0"):
        RunningScale(0)
    assert repr(RunningScale(4)) == "RunningScale(dim=4)"
