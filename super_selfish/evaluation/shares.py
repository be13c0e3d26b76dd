"""Features by several processes: each looks at its share of the images, and all get all of them.

Every image is looked at once, with the weights and statistics of the first process, so that the
result is that of one process (but for the order in which numbers are added). Batch norm's running
statistics differ between processes that train together: each has those of its own batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.looking import Extraction, Seen, judged, look
from super_selfish.training.alone import alone
from super_selfish.training.control import portable
from super_selfish.training.exchange import Exchange, exchange, has_others

T = TypeVar("T")
_ASKED, _DONE, _FAILED = "asked", "done", "failed"


def share_of(number: int, rank: int, size: int) -> range:
    """Which images a process looks at: as many as the others or one more, in one piece."""
    return range(number * rank // size, number * (rank + 1) // size)


def look_in_shares(
    others: Exchange,
    backbone: nn.Module,
    images: ImageSource,
    labels: Tensor | None,
    preprocess: nn.Module | None,
    *,
    wanted: bool = True,
    **settings: Any,
) -> Extraction:
    """What one pass over images gives that all processes have done together.

    Args:
        others: All processes, in each of which this is called.
        backbone: The first process's weights count; afterwards it is what it was before.
        images: The same everywhere.
        labels: As for `look`.
        preprocess: As `backbone`.
        wanted: Whether this process wants the result; else it gets its own part of it.
        **settings: Further keywords of `look`.

    Returns:
        The same in every process that wants it.

    Raises:
        Exception: In every process what one of them met.
    """
    mine = share_of(len(images), others.rank, others.size)
    with _as_in_first(others, [backbone, preprocess]):
        seen = others.agreed(
            partial(
                _look_at,
                mine,
                backbone,
                images,
                labels,
                preprocess,
                **settings,
            )
        )
    rows = seen.features
    told = others.of_all((seen._replace(features=None), None if rows is None else rows.shape[1]))
    widths = sorted({width for _, width in told if width is not None})
    if len(widths) > 1:
        raise ValueError(f"the backbones of the processes give features of several widths {widths}")
    features = None
    if widths:
        own = torch.empty(0, widths[0]) if rows is None else rows
        features = others.joined(own, [len(part.index) for part, _ in told], wanted=wanted)
        if features is None:
            return Extraction(own, seen.index, seen.labels, seen.no_labels)
    parts = [part for part, _ in told]
    return judged(
        Seen(
            features,
            torch.cat([part.index for part in parts]),
            [label for part in parts for label in part.labels],
            next((part.no_labels for part in parts if part.no_labels), ""),
            [name for part in parts for name in part.unreadable],
        )
    )


def _look_at(
    share: range,
    backbone: nn.Module,
    images: ImageSource,
    labels: Tensor | None,
    preprocess: nn.Module | None,
    **settings: Any,
) -> Seen:
    if not share:
        return Seen(None, torch.empty(0, dtype=torch.int64), [], "", [])
    own = images.subset(list(share))
    part = None if labels is None else labels[share.start : share.stop]
    seen = look(backbone, own, part, preprocess, **settings)
    return seen._replace(index=seen.index + share.start)


@contextmanager
def _as_in_first(others: Exchange, modules: Sequence[nn.Module | None]) -> Iterator[None]:
    """While entered, networks have the parameters and buffers of the first process."""
    tensors = [
        tensor
        for module in modules
        if module is not None
        for tensor in (*module.parameters(), *module.buffers())
    ]
    forms = [None if is_lazy(t) else (tuple(t.shape), str(t.dtype)) for t in tensors]
    if None in forms or any(form != forms for form in others.of_all(forms)):
        raise ValueError(
            "the networks of several processes must have parameters and buffers of the same shapes "
            "before they are evaluated: build them alike, and show a lazy one an image first"
        )
    former: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for tensor in tensors:
                first = tensor.detach().to("cpu", copy=True).contiguous()
                others.copy_first(first)
                if others.rank > 0:
                    former.append((tensor, tensor.detach().clone()))
                    tensor.copy_(first)
        yield
    finally:
        with torch.no_grad():
            for tensor, own in former:
                tensor.copy_(own)


def led(
    device: torch.device,
    work: Callable[[Callable[[Any], T]], Any],
    compute: Callable[[Any, Any], T],
) -> Any:
    """Has the first process do some work by itself, and all of them what it asks for.

    Args:
        device: Where networks run.
        work: Called in the first process, with a function from what it asks for to what it gets.
        compute: Called in every process, with the `Exchange` (None where there is but one process)
            and what was asked for.

    Returns:
        In every process, what the work of the first one gives.

    Raises:
        Exception: In every process, what the work of the first one raises.
    """
    if not has_others(device):
        return work(partial(compute, None))
    with exchange() as others:
        if others.rank > 0:
            return _follow(others, compute)

        def ask(wanted: Any) -> T:
            others.from_first((_ASKED, wanted))
            return compute(others, wanted)

        try:
            with alone():
                result = work(ask)
        except BaseException as error:
            others.from_first((_FAILED, portable(error)))
            others.of_all(None)  # as at the end of an exchange
            raise
        return others.from_first((_DONE, result))[1]


def _follow(others: Exchange, compute: Callable[[Any, Any], Any]) -> Any:
    """Does what the first process asks for, until it is done."""
    while True:
        told: tuple[str, Any] = others.from_first((_ASKED, None))
        kind, value = told
        if kind == _DONE:
            return value
        if kind == _FAILED:
            others.of_all(None)
            raise value
        try:
            compute(others, value)
        except Exception:  # noqa: BLE001  # the first process has it too, and says what follows
            continue
