from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.data.collate import (
    Batch,
    Collator,
    LabelCollator,
    Labelled,
    move,
    to_unit_range,
)
from super_selfish.data.sources import Sample, Unreadable


class Noisy(Collator):
    def augment(self, batch: Batch, generator: torch.Generator) -> Tensor:
        images = to_unit_range(batch.images)
        return images + torch.rand(images.shape, generator=generator)


def samples(number: int = 3, label: bool = True) -> list[Sample]:
    return [
        Sample(
            torch.full((3, 32, 32), i, dtype=torch.uint8), 7 + i, torch.tensor(i) if label else None
        )
        for i in range(number)
    ]


def test_stacking_keeps_type_index_and_label() -> None:
    batch = LabelCollator().stack(samples())
    assert batch.images.dtype == torch.uint8
    assert batch.index.tolist() == [7, 8, 9]
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1, 2]


def test_unreadable_samples_are_left_out_and_named() -> None:
    batch = LabelCollator().stack([*samples(2), Unreadable(9, "a.jpg", "broken")])
    assert len(batch.images) == 2
    assert batch.unreadable == ("a.jpg: broken",)


def test_a_batch_of_unreadable_samples_is_empty() -> None:
    batch = LabelCollator().stack([Unreadable(9, "a.jpg", "broken")])
    assert len(batch.index) == 0


def test_raw_items_are_stacked_too() -> None:
    items = [(torch.zeros(3, 32, 32, dtype=torch.uint8), 4), (torch.ones(3, 32, 32), 5)]
    batch = LabelCollator().stack(items[:1])
    assert batch.labels is not None
    assert batch.labels.tolist() == [4]


def test_calling_a_collator_stacks_and_augments() -> None:
    found = LabelCollator()(samples())
    assert isinstance(found, Labelled)
    assert found.images.max() <= 1


def test_plain_use_draws_anew_at_every_call_and_repeats_from_a_seed() -> None:
    torch.manual_seed(3)
    collator = Noisy()
    first, second = collator(samples()), collator(samples())
    torch.manual_seed(3)
    assert not torch.equal(first, second)
    assert torch.equal(Noisy()(samples()), first)


def test_labels_are_asked_for_in_words() -> None:
    with pytest.raises(ValueError, match="the dataset gives no labels"):
        LabelCollator()(samples(label=False))


@pytest.mark.parametrize(
    ("dtype", "largest"), [(torch.uint8, 255), (torch.uint16, 65535), (torch.float32, 1)]
)
def test_every_kind_of_pixel_ends_in_the_unit_range(dtype: torch.dtype, largest: int) -> None:
    images = torch.tensor([0, largest], dtype=torch.int32).to(dtype).reshape(1, 1, 1, 2)
    assert to_unit_range(images).flatten().tolist() == pytest.approx([0.0, 1.0])
    assert to_unit_range(images).dtype == torch.float32


def test_moving_keeps_the_form_of_a_batch() -> None:
    device = torch.device("meta")
    moved = move(
        {"a": [torch.zeros(1), "text"], "b": Labelled(torch.zeros(1), torch.ones(1))}, device
    )
    assert moved["a"][0].device == device
    assert moved["a"][1] == "text"
    assert isinstance(moved["b"], Labelled)
