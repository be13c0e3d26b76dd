"""Images that are kept are given as samples, or left to the source."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from super_selfish.data.samples import Sample
from super_selfish.data.stored import HeldImages

IMAGES = torch.arange(5 * 3 * 2 * 2, dtype=torch.uint8).view(5, 3, 2, 2)


@pytest.mark.parametrize("labels", [None, torch.arange(5) * 10])
def test_images_are_given_with_their_labels_as_copies(labels: Tensor | None) -> None:
    held = HeldImages(IMAGES.clone(), labels, [])
    batch = held.select(torch.tensor([4, 1]))
    assert batch is not None
    assert batch.images.tolist() == IMAGES[[4, 1]].tolist()
    assert batch.index.tolist() == [4, 1]
    assert (batch.labels is None) if labels is None else batch.labels.tolist() == [40, 10]  # type: ignore[union-attr]
    batch.images.zero_()
    sample = held.sample(4)
    assert sample is not None
    assert sample.image.tolist() == IMAGES[4].tolist()
    assert sample.index == 4
    assert (sample.label is None) if labels is None else int(sample.label) == 40  # type: ignore[arg-type]


def test_what_could_not_be_decoded_is_left_to_the_source() -> None:
    held = HeldImages(IMAGES, None, iter([2]))
    assert held.unreadable == {2}
    assert held.sample(2) is None
    assert held.select(torch.tensor([1, 2])) is None
    assert held.select(torch.tensor([1, 3])) is not None
    held.mend(Sample(IMAGES[0], 2, None))
    assert held.sample(2) is None
