"""Labels of a dataset that are known without reading its items, which often decodes images.

A list that lies beside the items, such as `targets`, is no proof of what they give: a
`target_transform`, a `__getitem__` of a subclass or a format may stand between. So it is used only
where the code that gives the items is known, and then in the way in which that code uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from super_selfish.data.files import FileList
from super_selfish.data.items import LABEL_KEYS, ArrayItems, as_column

Labels = Tensor | Sequence[object]  # in order, as the items give them

# The functions of torchvision that give items, by module and name, and the list from which each
# takes its labels. Below them stand the subclasses that leave them as they are.
_COLUMNS: dict[tuple[str, str], Callable[[Any], Sequence[object]]] = {
    ("torchvision.datasets.folder", "DatasetFolder.__getitem__"): lambda dataset: [
        target for _, target in dataset.samples
    ],
    ("torchvision.datasets.cifar", "CIFAR10.__getitem__"): lambda dataset: dataset.targets,
    ("torchvision.datasets.mnist", "MNIST.__getitem__"): lambda dataset: _whole(dataset.targets),
    ("torchvision.datasets.usps", "USPS.__getitem__"): lambda dataset: _whole(dataset.targets),
    ("torchvision.datasets.svhn", "SVHN.__getitem__"): lambda dataset: _whole(dataset.labels),
}
_FOLDER = ("torchvision.datasets.folder", "DatasetFolder.__getitem__")
_HUGGING_FACE = ("datasets.arrow_dataset", "Dataset.__getitem__")


def known_labels(items: Any) -> Labels | None:
    """Labels that the items of a dataset are sure to have, without reading them.

    Args:
        items: What a source reads.

    Returns:
        The label of each item as the item holds it, `None` among them where it has none; or `None`
        where only the items themselves can tell.
    """
    kind = type(items)
    if isinstance(items, FileList | ArrayItems):
        return [None] * len(items) if items.labels is None else items.labels
    if is_our_source(items):
        known: Labels | None = items.known_labels()
        return known
    if kind is Subset:
        whole = known_labels(items.dataset)
        return None if whole is None else chosen_labels(whole, items.indices)
    if kind is ConcatDataset:
        return _joined([known_labels(part) for part in items.datasets])
    if kind is TensorDataset:
        tensors = items.tensors
        return as_column(tensors[1]) if len(tensors) > 1 else [None] * len(items)
    giver = _giver(kind)
    if giver in _COLUMNS:
        return _transformed(_COLUMNS[giver](items), items.target_transform)
    if giver == _HUGGING_FACE and kind.__module__ == giver[0]:
        return _column_of_hugging_face(items)
    return None


def known_file(items: Any, index: int) -> str | None:
    """The file of one item of a list or a torchvision folder, through subsets; `None` if unsure."""
    while type(items) is Subset:
        items, index = items.dataset, int(items.indices[index])
    if isinstance(items, FileList):
        return items.name(index)
    if _giver(type(items)) != _FOLDER:
        return None
    return str(items.samples[index][0])


def known_classes(items: Any) -> list[str] | None:
    """Names of the classes, if the dataset tells names and its labels are sure to be their numbers.

    A dataset of the user's own is taken at its word. In one that changes what a dataset of
    torchvision gives, the names are those of labels that no item may have.
    """
    giver = _giver(type(items))
    is_hugging_face = giver == _HUGGING_FACE and type(items).__module__ == giver[0]
    names = _names_of_hugging_face(items) if is_hugging_face else getattr(items, "classes", None)
    if not isinstance(names, list | tuple | np.ndarray):
        return None
    if getattr(items, "target_transform", None) is not None:
        return None
    inherits = any(base.__module__.startswith("torchvision.datasets.") for base in _parents(items))
    if inherits and not _giver(type(items))[0].startswith("torchvision."):
        return None
    # Linux has names of any bytes; those that are no text could be neither drawn nor written.
    return [str(name).encode(errors="backslashreplace").decode() for name in names]


def _parents(items: object) -> list[type]:
    """The classes from which a dataset inherits; that of all of torchvision's gives no items."""
    return [base for base in type(items).__mro__ if base.__name__ != "VisionDataset"]


def is_our_source(items: object) -> bool:
    """Whether this is a source of this package, and no subclass of one from elsewhere."""
    is_ours = type(items).__module__.startswith("super_selfish.")
    return is_ours and hasattr(items, "known_labels")


def chosen_labels(labels: Labels, indices: Sequence[int]) -> Labels:
    """Labels at some positions."""
    if isinstance(labels, Tensor):
        return labels[torch.as_tensor(indices, dtype=torch.int64)]
    return [labels[index] for index in indices]


def _giver(kind: type) -> tuple[str, str]:
    """Module and name of the function that gives a dataset's items; of no use if it is wrapped."""
    function: Any = getattr(kind, "__getitem__", None)
    if hasattr(function, "__wrapped__"):
        return "", ""
    return getattr(function, "__module__", None) or "", getattr(function, "__qualname__", "")


def _whole(values: Any) -> list[int]:
    return [int(value) for value in values]


def _transformed(column: Sequence[object], transform: Any) -> Sequence[object]:
    return column if transform is None else [transform(value) for value in column]


def _joined(parts: list[Labels | None]) -> Labels | None:
    known = [part for part in parts if part is not None]
    return [label for part in known for label in part] if len(known) == len(parts) else None


def _names_of_hugging_face(dataset: Any) -> Any:
    """Of the column of labels, if items show it as it is stored."""
    key = next((key for key in LABEL_KEYS if key in dataset.column_names), None)
    if key is None or not _shows_columns(dataset):
        return None
    features: Any = getattr(dataset, "features", None) or {}
    return getattr(features.get(key), "names", None)


def _column_of_hugging_face(dataset: Any) -> Labels | None:
    """A column as it is stored, if items show it so: without a transform, and not left out."""
    if not _shows_columns(dataset):
        return None
    key = next((key for key in LABEL_KEYS if key in dataset.column_names), None)
    return [None] * len(dataset) if key is None else list(dataset[key])


def _shows_columns(dataset: Any) -> bool:
    """Whether items hold what the columns hold."""
    shown = dataset.format
    return shown["type"] is None and set(shown["columns"]) == set(dataset.column_names)
