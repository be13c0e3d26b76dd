"""Labels of a whole source, without decoding its images where that can be avoided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from super_selfish.data.files import FileList
from super_selfish.data.items import LABEL_KEYS, ArrayItems, as_column

if TYPE_CHECKING:
    from super_selfish.data.sources import ImageSource

SKIPPED_LABEL = -1  # of an item that cannot be read, where such items are skipped


def labels_of(source: ImageSource) -> Tensor | None:
    """Labels of all images in order.

    What the dataset keeps in one piece is used if its first, middle and last entry are what the
    items give; otherwise every item is read.

    Args:
        source: Where from.

    Returns:
        `[N, ...]`, or `None` if an item has none. The label of an item that cannot be read and
        is skipped is -1.

    Raises:
        ValueError: The labels differ in shape.
    """
    if isinstance(source.items, FileList | ArrayItems):
        return source.items.labels
    last = len(source) - 1
    stored = stored_labels(source.items)
    if stored is not None and all(
        _is_label(source, index, stored[index]) for index in {0, last // 2, last}
    ):
        return stored
    found: list[Tensor] = []
    for index in range(len(source)):
        label = source.label(index)
        if label is None:
            return None
        found.append(label)
    shapes = {tuple(label.shape) for label in found}
    if len(shapes) > 1:
        raise ValueError(f"labels must be of one shape, got {sorted(shapes)[:5]}")
    return torch.stack(found)


def _is_label(source: ImageSource, index: int, stored: Tensor) -> bool:
    given = source.label(index)
    return given is not None and torch.equal(given, stored)


def stored_labels(dataset: Any) -> Tensor | None:
    """Labels that a dataset keeps in one piece, without reading its items.

    Looks at `labels`, `targets` (torchvision), `tensors` (`TensorDataset`), the column of a
    Hugging Face dataset, and through `Subset` and `ConcatDataset`. Whether they are what the
    items give is for the caller to check: a `target_transform` may stand between.

    Returns:
        `[N, ...]`, or `None` if there is nothing of the kind.
    """
    if isinstance(dataset, Subset):
        whole = stored_labels(dataset.dataset)
        return None if whole is None else whole[torch.as_tensor(dataset.indices, dtype=torch.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [stored_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    if isinstance(dataset, TensorDataset):
        return _as_column(dataset.tensors[1]) if len(dataset.tensors) > 1 else None
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, list):
        key = next((key for key in LABEL_KEYS if key in columns), None)
        return None if key is None else _as_column(list(dataset[key]))
    for name in ("labels", "targets"):
        column = _as_column(getattr(dataset, name, None))
        if column is not None and len(column) == len(dataset):
            return column
    return None


def _as_column(values: object) -> Tensor | None:
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = torch.as_tensor(np.array(values))
    elif isinstance(values, Sequence) and not isinstance(values, str):
        if not values or not all(isinstance(value, (int, np.integer)) for value in values):
            return None
        values = torch.tensor([int(value) for value in values])
    if not isinstance(values, Tensor) or values.ndim == 0:
        return None
    return as_column(values)
