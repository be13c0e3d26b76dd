"""Reading images once, for as long as there is time."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from super_selfish.data import ImageSource
from super_selfish.evaluation.checking import looking_over
from super_selfish.evaluation.checking.looking_over import Label, class_of, look_over
from tests.conftest import pictures


@pytest.mark.parametrize(("seconds", "read"), [(None, 12), (5.0, 4), (10.0, 8), (25.0, 12)])
def test_a_pass_ends_with_the_batch_in_which_its_time_is_up(
    seconds: float | None, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ImageSource(pictures(12))
    monkeypatch.setattr(looking_over, "_BATCH", 4)
    ticks = itertools.count(0, 10)  # ten seconds a batch
    monkeypatch.setattr(looking_over.time, "monotonic", lambda: next(ticks))
    looked = look_over(
        source, label="", cover=(8, 8), num_workers=0, progress=False, seconds=seconds
    )
    assert looked.footprints.index.tolist() == list(range(read))


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (torch.tensor(3), 3),
        (torch.tensor(True), 1),
        (torch.tensor([1, 0, 1]), (1, 0, 1)),
        (torch.tensor([4]), (4,)),
        (torch.tensor(3.0), None),
        (torch.tensor([0.0, 1.0]), None),
        (torch.tensor(3j), None),
        (torch.zeros(2, 2, dtype=torch.int64), None),  # a mask
        (None, None),
    ],
)
def test_a_label_is_kept_where_it_is_a_class_or_zeros_and_ones(
    label: Tensor | None, found: Label
) -> None:
    assert class_of(label) == found
