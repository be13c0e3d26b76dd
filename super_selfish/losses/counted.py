"""Over how much torch's losses of classes average."""

from __future__ import annotations

from torch import Tensor, nn

_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss)


def counted(loss: object, outputs: Tensor, targets: object) -> Tensor | None:
    """What a loss of classes is a mean over: targets that are not ignored, each by its weight.

    Args:
        loss: `nn.CrossEntropyLoss` or `nn.NLLLoss` that averages; of any other nothing is known.
        outputs: `[B, Y, ...]`.
        targets: `[B, ...]`, whole numbers.

    Returns:
        A scalar like `outputs`: how many images that is, an image being all of its targets, by a
        weight of 1. `None` where images count alike, as those whose targets are probabilities do,
        or nothing is known.
    """
    if type(loss) not in _LOSSES or getattr(loss, "reduction", None) != "mean":
        return None
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.numel() == 0:
        return None
    ignored: int = getattr(loss, "ignore_index")  # noqa: B009
    counts = targets != ignored
    weight: Tensor | None = getattr(loss, "weight", None)
    if weight is None:
        number = counts.sum().to(outputs.dtype)
    else:
        known = targets.long().where(counts, 0)
        number = (weight[known] * counts).sum().to(outputs.dtype)
    return number * (len(targets) / targets.numel())
