"""What is counted of the labels of a set, and where they contradict one another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from super_selfish.evaluation.checking.gathering import _contradicting, _label_counts
from super_selfish.evaluation.checking.looking_over import Label


@pytest.mark.parametrize(
    ("classes", "labels", "counts"),
    [
        (["cat", "dog"], [1, 0, 1], {"cat": 1, "dog": 2}),
        (["cat", "dog"], [2, 0, -1], {"-1": 1, "cat": 1, "2": 1}),  # no name is that of another
        (None, [3, 3], {"3": 2}),
        (["cat", "dog"], [(1, 0), (1, 1)], {"cat": 2, "dog": 1}),
        (None, [(1, 0), (1,)], None),
        (None, [1, None], {"1": 1}),
        (None, [(1, 0), 1], None),
        (None, [None], None),
    ],
)
def test_images_of_each_class_are_counted_where_all_labels_are_of_a_kind(
    classes: list[str] | None, labels: list[Label], counts: dict[str, int] | None
) -> None:
    part: Any = SimpleNamespace(source=SimpleNamespace(classes=classes))
    assert _label_counts(part, labels) == counts


def test_copies_contradict_where_both_have_a_label_and_not_the_same() -> None:
    first_of = np.array([0, 0, 0, 3, 3, 5])
    near: Any = SimpleNamespace(first=np.array([0, 2]), second=np.array([3, 5]))
    assert _contradicting([7, 8, 7, 7, None, 9], first_of, near) == [(0, 1), (2, 5)]
