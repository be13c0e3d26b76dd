"""Whether numbers are finite, asked once for many tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

_MOST_NAMES = 3  # that a message lists
EVERY_UPDATE = "every update"
# What to do, where updates are left out already, and where they are not.
LOWER = "Lower lr, or use clip_norm="
LEAVE_OUT = 'Lower lr, use clip_norm=, or leave such updates out by on_nan="skip"'


class NonFiniteLossError(RuntimeError):
    """A step gave a loss, a gradient or weights that are not finite; nothing of it was stored.

    Attributes:
        step: Number of the step since the beginning, from 0.
        indices: Of the images of the update, where they are known.
    """

    def __init__(
        self,
        step: int,
        what: str,
        steps_per_epoch: int,
        more: str = "",
        *,
        advice: str = LEAVE_OUT,
    ) -> None:
        """Makes the message.

        Args:
            step: Number of the step since the beginning, from 0.
            what: What was not finite; `EVERY_UPDATE` for those of a whole epoch.
            steps_per_epoch: Tells the epoch.
            more: Sentences to add.
            advice: What to do.
        """
        self.step = step
        self.indices: list[int] = []
        self._parts = (step, what, steps_per_epoch)
        self._advice = advice
        epoch = step // max(1, steps_per_epoch) + 1
        where = "before the first step" if step < 0 else f"of step {step} (in epoch {epoch})"
        said = f"the {what} {where} is not finite"
        if what == EVERY_UPDATE:
            said = (
                f"in epoch {epoch} no update had a finite loss and gradient, and all were left out "
                f"up to the last, that of step {step}"
            )
        super().__init__(f"{said}{more}. {advice}")

    def told(self, indices: list[int], more: str) -> NonFiniteLossError:
        """The same error with what is known of its batch, and of the files.

        Args:
            indices: Of the images.
            more: Sentences for the message.
        """
        error = NonFiniteLossError(*self._parts, more=more, advice=self._advice)
        error.indices = indices
        return error


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether every number is finite, as one boolean on the device of the tensors.

    Costs one pass over the numbers and no wait for an accelerator.

    Args:
        tensors: Of any shapes and types; only floating and complex ones can be otherwise.

    Returns:
        A scalar; true for no tensors. Of several devices that of the first.
    """
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        if tensor.is_floating_point() or tensor.is_complex():
            dense = tensor.detach()
            groups[dense.device, dense.dtype].append(
                dense.coalesce().values() if dense.is_sparse else dense
            )
    verdicts = [_group_is_finite(device, group) for (device, _), group in groups.items()]
    if not verdicts:
        return torch.tensor(True)
    return torch.stack([verdict.to(verdicts[0].device) for verdict in verdicts]).all()


def _group_is_finite(device: torch.device, group: list[Tensor]) -> Tensor:
    group = [tensor for tensor in group if tensor.numel()]
    if not group:
        return torch.tensor(True, device=device)
    if device.type != "cpu":  # the largest number cannot overflow, and takes no longer there
        return torch.stack(torch._foreach_norm(group, float("inf"))).isfinite().all()
    # A CPU has squares at the speed of its memory. Those of huge numbers overflow: look again.
    finite = torch.stack(torch._foreach_norm(group)).isfinite()
    if bool(finite.all()):
        return torch.tensor(True)
    suspects = [tensor for tensor, is_so in zip(group, finite.tolist(), strict=True) if not is_so]
    return torch.stack([tensor.isfinite().all() for tensor in suspects]).all()


def not_finite(named: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a number that is not finite; reads the device."""
    if bool(all_finite(named.values())):
        return []
    return [name for name, tensor in named.items() if not bool(all_finite([tensor]))]


def tensors_in(value: Any, place: str) -> dict[str, Tensor]:
    """Every tensor in nested containers, by its place.

    Args:
        value: Dicts, lists and tuples of tensors and other values.
        place: Name of the whole.
    """
    if isinstance(value, Tensor):
        return {place: value}
    if isinstance(value, Mapping):
        parts = [(f"{place}[{key!r}]", each) for key, each in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{place}[{i}]", each) for i, each in enumerate(value)]
    else:
        return {}
    return {name: tensor for at, each in parts for name, tensor in tensors_in(each, at).items()}


def listed(names: list[str]) -> str:
    """The first names of a list in words: `"a, b, c and 4 others"`."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} others" if more > 0 else "")
