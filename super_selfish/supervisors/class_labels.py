"""Labels that name classes: what they may be, said before they meet a loss function.

Shapes: `N` images, `Y` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from super_selfish.data.items import LABEL_KEYS
from super_selfish.data.samples import SKIPPED_LABEL, ReadingError

if TYPE_CHECKING:
    from super_selfish.data.sources import ImageSource


def check_labels(
    labels: Tensor, num_classes: int | None, *, ignored: int = -100, skips: bool = False
) -> None:
    """Refuses labels of which cross-entropy, or binary cross-entropy, can make nothing.

    Args:
        labels: `[N]` numbers of classes, or `[N, Y]`, each 0, 1 or between; others pass.
        num_classes: Outputs of the head, where that is known.
        ignored: The number of a class that the loss leaves out.
        skips: Whether images that cannot be read are left out, whose label is -1.

    Raises:
        ValueError: They are such labels.
    """
    if labels.ndim == 2:
        values = labels.double()
        if skips:
            values = values[(values != SKIPPED_LABEL).any(dim=1)]
        if not bool(((values >= 0) & (values <= 1)).all()):  # NaN is neither
            raise ValueError(
                "labels [N, Y] say of each class whether it is there, so they must lie in [0, 1], "
                f"got {_extremes(values)}: give 0 and 1"
            )
        return
    if labels.ndim != 1:
        return
    if labels.is_floating_point():
        raise ValueError(
            "labels must be whole numbers, those of classes from 0, got "
            f"{str(labels.dtype).removeprefix('torch.')} of {_extremes(labels.double())}: convert "
            "them (labels.long()), or for numbers that are to be foretold give num_classes=1 and a "
            "loss= of your own"
        )
    allowed = {ignored, SKIPPED_LABEL} if skips else {ignored}
    negative = sorted(set(labels[labels < 0].tolist()) - allowed)
    if negative:
        raise ValueError(
            f"labels must be the numbers of classes from 0, got {negative[0]} (they are "
            f"{_extremes(labels)}): number the classes 0, 1, ... (-1 and 1 become 0 and 1), or "
            f"{ignored} for images that shall not count"
        )
    if num_classes is not None and int(labels.max()) >= max(num_classes, 2):
        raise ValueError(
            f"a label is {int(labels.max())}, but num_classes={num_classes} has classes 0 to "
            f"{num_classes - 1}: give num_classes={int(labels.max()) + 1}, or other labels"
        )


def refuse_text(source: ImageSource) -> None:
    """Refuses labels that are text, by the first item; unreadable ones tell nothing.

    Raises:
        ValueError: They are text.
    """
    try:
        label = _text_label(source.item(0))
    except ReadingError:
        return
    if label is not None:
        raise ValueError(
            f"labels are text, such as {label!r}, but must be numbers of classes from 0: number "
            "them, as sorted(set(names)).index(name) does"
        )


def _text_label(item: Any) -> str | None:
    label = None
    if isinstance(item, Mapping):
        label = next((item[key] for key in LABEL_KEYS if key in item), None)
    elif isinstance(item, tuple | list) and len(item) > 1:
        label = item[1]
    return str(label) if isinstance(label, str | np.str_) else None


def _extremes(labels: Tensor) -> str:
    if labels.is_floating_point() and bool(labels.isnan().any()):
        return "NaN among others"
    return f"{labels.min().item():g} to {labels.max().item():g}"
