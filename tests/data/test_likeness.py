"""By what labels are known again, and of how many of them."""

from __future__ import annotations

import pytest
import torch

from super_selfish.data import likeness
from super_selfish.data.sources import ImageSource


@pytest.mark.parametrize(
    ("most_bytes", "looked_at"), [(81, range(10)), (80, range(0, 10, 2)), (27, range(0, 10, 3))]
)
def test_of_many_labels_some_are_looked_at_and_of_few_all(
    most_bytes: int, looked_at: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "_MOST_BYTES", most_bytes)
    images = torch.zeros(10, 3, 32, 32, dtype=torch.uint8)
    images[..., 0] = 255

    def known(labels: torch.Tensor) -> object:
        found = likeness.label_likeness(ImageSource((images, labels)))
        assert found
        return found

    labels = torch.arange(10)  # of 80 bytes
    first = known(labels)
    assert known(labels.clone()) == first
    for place in range(10):
        other = labels.clone()
        other[place] = 99
        assert (known(other) != first) == (place in looked_at)
