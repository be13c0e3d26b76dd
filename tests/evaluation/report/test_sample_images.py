"""Which labels of images that a page shows are classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.report.sample_images import _as_classes


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([torch.tensor(2), torch.tensor([0])], [2, 0]),
        ([torch.tensor(True), torch.tensor(3, dtype=torch.uint8)], [1, 3]),
        ([torch.tensor(2), None], None),
        ([torch.tensor(2), torch.tensor([0, 1])], None),  # several classes
        ([torch.tensor(2), torch.zeros(2, 2).long()], None),  # a mask
        ([torch.tensor(2), torch.tensor(1.0)], None),
        ([torch.tensor(2), torch.tensor(-1)], None),
    ],
)
def test_labels_are_classes_where_every_image_has_one(
    labels: list[Tensor | None], classes: list[int] | None
) -> None:
    found = _as_classes(labels)
    assert (None if found is None else found.tolist()) == classes
    assert found is None or found.dtype == torch.int64
