from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses import info_nce
from super_selfish.memory import MemoryBank
from tests.references import bank_update_in_loops


def unit(rows: int, dim: int, generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator), dim=1)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("index", [[3], [0, 4, 2], [1, 1, 5, 1, 5, 0]])
def test_update_equals_the_loops(
    momentum: float, index: list[int], generator: torch.Generator
) -> None:
    bank = MemoryBank(6, 4, momentum)
    embeddings = unit(len(index), 4, generator)
    expected = bank_update_in_loops(bank.rows, torch.tensor(index), embeddings, momentum)
    bank.update(torch.tensor(index), embeddings)
    torch.testing.assert_close(bank.rows.double(), expected, rtol=0, atol=1e-6)


def test_update_touches_only_its_rows(generator: torch.Generator) -> None:
    bank = MemoryBank(10, 4)
    before = bank.rows.clone()
    bank.update(torch.tensor([2, 7]), unit(2, 4, generator))
    changed = (bank.rows != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [2, 7]


def test_rows_have_length_one_at_all_times(generator: torch.Generator) -> None:
    bank = MemoryBank(20, 8)
    torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(20))
    for _ in range(5):
        index = torch.randint(20, (12,), generator=generator)
        bank.update(index, unit(12, 8, generator))
        torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(20))


def test_an_opposite_embedding_leaves_its_row() -> None:
    bank = MemoryBank(3, 4)
    before = bank.rows.clone()
    bank.update(torch.tensor([1]), -before[1:2])
    torch.testing.assert_close(bank.rows, before)


@pytest.mark.parametrize(("length", "row"), [(0.9, [1, 0]), (1.0, [1, 0]), (1.1, [0, 1])])
def test_a_blend_of_no_more_than_a_millionth_has_no_direction(
    length: float, row: list[int]
) -> None:
    bank = MemoryBank(1, 2, momentum=0.0)
    bank.rows.copy_(torch.tensor([[1.0, 0.0]]))
    bank.update(torch.tensor([0]), torch.tensor([[0.0, length * 1e-6]]))
    assert bank.rows.tolist() == [row]


def test_the_last_of_many_duplicates_counts(generator: torch.Generator) -> None:
    bank = MemoryBank(2, 4, momentum=0.0)
    embeddings = unit(1000, 4, generator)
    bank.update(torch.zeros(1000, dtype=torch.int64), embeddings)
    torch.testing.assert_close(bank.rows[0], embeddings[-1])


def test_no_gradient_reaches_bank_or_embeddings(generator: torch.Generator) -> None:
    bank = MemoryBank(5, 4)
    embeddings = unit(2, 4, generator).requires_grad_()
    bank.update(torch.tensor([0, 1]), embeddings)
    assert not bank.rows.requires_grad
    assert not bank.lookup(torch.tensor([0])).requires_grad


def test_lookup_is_a_copy(generator: torch.Generator) -> None:
    bank = MemoryBank(5, 4)
    rows = bank.lookup(torch.tensor([3, 3, 0]))
    before = rows.clone()
    assert torch.equal(rows, bank.rows[[3, 3, 0]])
    bank.update(torch.tensor([3]), unit(1, 4, generator))
    assert torch.equal(rows, before)


def test_negatives_are_drawn_uniformly_from_the_generator() -> None:
    bank = MemoryBank(4, 2)
    drawn = bank.draw_negatives(20_000, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, bank.draw_negatives(20_000, torch.Generator().manual_seed(1)))
    frequency = drawn.bincount(minlength=4) / 20_000
    torch.testing.assert_close(frequency, torch.full((4,), 0.25), atol=0.015, rtol=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_image_is_drawn_as_often_as_chance_wants(seed: int) -> None:
    size, count = 50, 100_000
    drawn = MemoryBank(size, 2).draw_negatives(count, torch.Generator().manual_seed(seed))
    observed, expected = drawn.bincount(minlength=size).double(), count / size
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    # Mean N - 1, variance 2 (N - 1); far below the mean would be as odd as far above.
    assert abs(chi_square - (size - 1)) < 4 * math.sqrt(2 * (size - 1))


def test_draws_do_not_depend_on_one_another() -> None:
    drawn = MemoryBank(10, 2).draw_negatives(50_000, torch.Generator().manual_seed(0))
    pairs = (10 * drawn[0::2] + drawn[1::2]).bincount(minlength=100).double()
    chi_square = float(((pairs - 250) ** 2 / 250).sum())
    assert abs(chi_square - 99) < 4 * math.sqrt(2 * 99)


def test_an_image_may_be_drawn_more_than_once() -> None:
    size, count = 1000, 700
    bank = MemoryBank(size, 2)
    generator = torch.Generator().manual_seed(0)
    distinct = [len(bank.draw_negatives(count, generator).unique()) for _ in range(50)]
    # With replacement N (1 - (1 - 1/N)^K) of the images are met, without it would be K.
    expected = size * (1 - (1 - 1 / size) ** count)  # 504
    assert sum(distinct) / 50 == pytest.approx(expected, abs=4)  # the mean's deviation is 1.4


def test_ones_own_entry_is_never_a_negative() -> None:
    size, count = 20, 400
    bank = MemoryBank(size, 4)
    index = torch.arange(size)
    drawn = bank.draw_negatives(count, torch.Generator().manual_seed(0))
    mask = bank.own_entry_mask(index, drawn)
    assert (mask.sum(dim=1) == drawn.bincount(minlength=size)).all()  # each K / N = 20 times
    negatives = bank.lookup(drawn).requires_grad_()
    queries = unit(size, 4, torch.Generator().manual_seed(1))
    for image in range(size):
        assert image not in drawn[~mask[image]]
        one = slice(image, image + 1)
        loss = info_nce(queries[one], bank.rows[one], negatives, 0.2, mask[one])
        (gradient,) = torch.autograd.grad(loss, negatives)
        assert not gradient[drawn == image].any()
        assert gradient[drawn != image].any(dim=1).all()


def test_drawing_costs_what_is_drawn_and_not_the_bank() -> None:
    small, large = MemoryBank(3, 1), MemoryBank(300_000, 1)
    states = []
    for bank in (small, large):
        generator = torch.Generator().manual_seed(0)
        assert bank.draw_negatives(64, generator).shape == (64,)
        states.append(generator.get_state())
    assert torch.equal(*states)  # as many draws from the generator for both


def test_own_entries_are_masked() -> None:
    mask = MemoryBank.own_entry_mask(torch.tensor([4, 2]), torch.tensor([2, 0, 4, 4]))
    assert mask.tolist() == [[False, False, True, True], [True, False, False, False]]


def test_bank_of_a_seed_is_reproducible_and_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    assert torch.equal(MemoryBank(5, 3, seed=1).rows, MemoryBank(5, 3, seed=1).rows)
    assert not torch.equal(MemoryBank(5, 3, seed=1).rows, MemoryBank(5, 3, seed=2).rows)
    assert torch.equal(before, torch.get_rng_state())


def test_state_round_trip(generator: torch.Generator) -> None:
    first, second = MemoryBank(5, 3), MemoryBank(5, 3, seed=8)
    first.update(torch.tensor([1]), unit(1, 3, generator))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.rows, second.rows)


def test_state_of_another_dataset_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for rows"):
        MemoryBank(5, 3).load_state_dict(MemoryBank(6, 3).state_dict())


def test_wrong_arguments_are_refused(generator: torch.Generator) -> None:
    bank = MemoryBank(5, 3)
    with pytest.raises(ValueError, match=r"^index must lie in \[0, 5\), got 0 to 5: was the bank"):
        bank.lookup(torch.tensor([0, 5]))
    with pytest.raises(ValueError, match=r"got -1 to 0"):
        bank.update(torch.tensor([0, -1]), torch.ones(2, 3))
    with pytest.raises(TypeError, match=r"^index must be int64, got torch.int32$"):
        bank.lookup(torch.tensor([0], dtype=torch.int32))
    with pytest.raises(ValueError, match=r"^embeddings must be \[1, 3\], got \[1, 2\]$"):
        bank.update(torch.tensor([0]), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"^momentum is a weight in \[0, 1\], got 1.5$"):
        MemoryBank(5, 3, 1.5)
    with pytest.raises(ValueError, match=r"^count must be >= 1, got 0$"):
        bank.draw_negatives(0, generator)
    with pytest.raises(ValueError, match=r"a bank of 1 row has no negatives"):
        MemoryBank(1, 3).draw_negatives(4, generator)


def test_first_rows_point_everywhere_alike() -> None:
    rows = MemoryBank(20_000, 4).rows
    assert float(rows.mean(dim=0).abs().max()) < 4 * 0.5 / math.sqrt(20_000)  # deviation 1 / 2
    assert torch.equal(MemoryBank(5, 4).rows, MemoryBank(5, 4, seed=0).rows)
    assert not torch.equal(MemoryBank(5, 4).rows, MemoryBank(5, 4, seed=1).rows)


def test_numbers_end_where_a_bank_would_make_no_sense() -> None:
    assert "size=1, dim=1, momentum=0.5" in repr(MemoryBank(1, 1))
    for size, dim in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=f"must be >= 1, got {size} and {dim}"):
            MemoryBank(size, dim)
    for momentum in (-0.01, 1.01, math.nan):
        with pytest.raises(ValueError, match=r"momentum is a weight in \[0, 1\], got"):
            MemoryBank(2, 2, momentum)
    generator = torch.Generator().manual_seed(0)
    assert MemoryBank(2, 2).draw_negatives(1, generator).shape == (1,)
    with pytest.raises(ValueError, match="count must be >= 1, got 0"):
        MemoryBank(2, 2).draw_negatives(0, generator)
    with pytest.raises(ValueError, match="a bank of 1 row has no negatives"):
        MemoryBank(1, 2).draw_negatives(1, generator)


def test_no_image_is_no_change_and_the_first_and_last_are_images() -> None:
    bank = MemoryBank(3, 2)
    before = bank.rows.clone()
    nothing = torch.zeros(0, dtype=torch.int64)
    bank.update(nothing, torch.zeros(0, 2))
    assert torch.equal(bank.rows, before)
    assert bank.lookup(nothing).shape == (0, 2)
    assert torch.equal(bank.lookup(torch.tensor([0, 2])), before[[0, 2]])
    for wrong in ([-1, 0], [0, 3]):
        with pytest.raises(ValueError, match=rf"lie in \[0, 3\), got {wrong[0]} to {wrong[1]}"):
            bank.lookup(torch.tensor(wrong))
    for alone in (-1, 3):  # on the CPU none is left to torch's own words
        with pytest.raises(ValueError, match=rf"lie in \[0, 3\), got {alone} to {alone}"):
            bank.lookup(torch.tensor([alone]))


def test_change_is_the_mean_way_of_the_rows() -> None:
    bank = MemoryBank(3, 2, momentum=0.0)
    index, new = torch.tensor([2, 0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    before = bank.rows.clone()
    told = float(bank.change(index, new))
    assert torch.equal(bank.rows, before)
    bank.update(index, new)
    assert told == pytest.approx(float((bank.rows - before)[[2, 0]].norm(dim=1).mean()))


def test_negatives_are_drawn_where_they_are_wanted() -> None:
    bank = MemoryBank(5, 3)
    generator = torch.Generator().manual_seed(0)
    assert bank.draw_negatives(4, generator).device == bank.rows.device
    assert bank.draw_negatives(4, generator, device="meta").device.type == "meta"
