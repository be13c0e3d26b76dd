from __future__ import annotations

from collections import deque

import pytest
import torch
import torch.nn.functional as F

from super_selfish.memory import KeyQueue


def numbered(start: int, count: int, dim: int = 2) -> torch.Tensor:
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].expand(-1, dim)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 8, 20])
def test_queue_holds_the_newest_keys_whatever_the_batch(batch: int) -> None:
    queue, expected = KeyQueue(7, 2), deque[float](maxlen=7)
    for step in range(6):
        keys = numbered(step * batch, batch)
        queue.enqueue(keys)
        expected.extend(keys[:, 0].tolist())
        held = queue.snapshot()[: int(queue.num_valid), 0].tolist()
        assert sorted(held) == sorted(expected)
        oldest_first = queue.snapshot()[:, 0].roll(-int(queue.pointer)).tolist()
        assert oldest_first[7 - len(expected) :] == list(expected)


def test_queue_wraps_when_batches_do_not_divide_it() -> None:
    queue = KeyQueue(5, 2)
    for start in (0, 3, 6):
        queue.enqueue(numbered(start, 3))
    assert queue.snapshot()[:, 0].tolist() == [5, 6, 7, 8, 4]
    assert int(queue.pointer) == 4
    assert int(queue.num_valid) == 5


def test_new_queue_is_full_of_unit_vectors_of_its_seed() -> None:
    rows = KeyQueue(64, 16, seed=3).snapshot()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(64))
    assert torch.equal(rows, KeyQueue(64, 16, seed=3).snapshot())
    assert not torch.equal(rows, KeyQueue(64, 16, seed=4).snapshot())
    assert int(KeyQueue(64, 16).num_valid) == 0


def test_building_a_queue_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    KeyQueue(8, 4)
    assert torch.equal(before, torch.get_rng_state())


def test_snapshot_stays_when_the_queue_moves_on(generator: torch.Generator) -> None:
    queue = KeyQueue(4, 3)
    snapshot = queue.snapshot()
    queries = torch.randn(2, 3, generator=generator, requires_grad=True)
    loss = (queries @ snapshot.T).sum()
    queue.enqueue(F.normalize(torch.randn(4, 3, generator=generator), dim=1))
    loss.backward()  # raises if the snapshot was changed in place
    assert not torch.equal(snapshot, queue.snapshot())


def test_keys_are_stored_as_they_come_without_gradient() -> None:
    queue = KeyQueue(4, 2)
    keys = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    queue.enqueue(keys)
    assert queue.snapshot()[0].tolist() == [3.0, 4.0]
    assert queue.snapshot().dtype == torch.float32
    assert not queue.snapshot().requires_grad


def test_state_continues_in_another_queue() -> None:
    first, second = KeyQueue(5, 2), KeyQueue(5, 2, seed=9)
    first.enqueue(numbered(0, 3))
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.enqueue(numbered(3, 4))
    assert set(first.state_dict()) == {"keys", "pointer", "num_valid"}
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_state_of_another_size_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for keys"):
        KeyQueue(5, 2).load_state_dict(KeyQueue(6, 2).state_dict())


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^keys must be \[B, 2\], got \[4, 3\]$"):
        KeyQueue(5, 2).enqueue(torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"^size and dim must be >= 1, got 0 and 2$"):
        KeyQueue(0, 2)


def test_one_key_of_one_number_is_a_queue_and_none_is_not() -> None:
    queue = KeyQueue(1, 1)
    queue.enqueue(torch.tensor([[0.5], [2.0]]))
    assert queue.snapshot().tolist() == [[2.0]]
    assert "size=1, dim=1" in repr(queue)
    for size, dim in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=f"must be >= 1, got {size} and {dim}"):
            KeyQueue(size, dim)
    for wrong in (torch.ones(2), torch.ones(1, 1, 1)):
        with pytest.raises(ValueError, match=r"keys must be \[B, 1\]"):
            queue.enqueue(wrong)


def test_the_nearest_key_is_that_of_brute_force() -> None:
    generator = torch.Generator().manual_seed(0)
    queue = KeyQueue(9, 4, seed=3)
    queue.enqueue(F.normalize(torch.randn(4, 4, generator=generator), dim=1))
    vectors = F.normalize(torch.randn(20, 4, generator=generator), dim=1)
    vectors[3], vectors[5] = queue.keys[7], queue.keys[2]
    expected = []
    for vector in vectors:
        products = [sum((vector * key).tolist()) for key in queue.keys]
        expected.append(products.index(max(products)))
    assert queue.nearest(vectors).tolist() == expected
    assert expected[3] == 7 and expected[5] == 2
    assert len(set(expected)) > 3


def test_vectors_of_another_width_have_no_nearest_key() -> None:
    with pytest.raises(ValueError, match=r"vectors must be \[B, 4\], got \[2, 3\]"):
        KeyQueue(5, 4).nearest(torch.ones(2, 3))
