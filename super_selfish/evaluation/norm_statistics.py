"""Running statistics of norms that a baseline lacks, since it has never been in training mode.

A batch norm in evaluation mode computes with a running mean and variance. Training moves them away
from 0 and 1 at every batch, even at a learning rate of 0, and features change with them: by ten
points and more of k-NN. That is adaptation to the images and not what was learned, so a baseline is
given statistics too.

Shapes: `B` batch, `C` channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import LabelCollator
from super_selfish.data.sources import ImageSource
from super_selfish.data.workers import batches_of
from super_selfish.evaluation.looking import features_of
from super_selfish.models.copying import copy_module
from super_selfish.models.wrappers import unwrapped

ADAPTED = "with the statistics of its norms taken from the training images"
_BATCH, _BATCHES = 64, 16  # images of a batch, batches


def adapted(
    baseline: nn.Module,
    rated: nn.Module | None,
    images: ImageSource,
    preprocess: nn.Module | None,
    *,
    num_workers: int = 0,
    seed: int = 0,
) -> nn.Module | None:
    """A copy of a baseline whose norms have seen as many batches as those of the rated network.

    Each norm that holds the statistics of a new one, 0 and 1, where that of the rated network does
    not, normalises some batches by their own mean and variance, as in training; afterwards it holds
    the averages over the batches. Of these it takes the share that the rated one has by now: after
    n batches at momentum m, `1 - (1 - m) ** n`. All else stays in evaluation mode.

    Args:
        baseline: Is left as it is.
        rated: The network that it is compared with; None for one of the same kind that is going to
            be trained for long.
        images: Training images of the evaluation; at most 1024 of them are shown.
        preprocess: Applied to images in [0, 1] before the network.
        num_workers: Processes that load images.
        seed: Of the choice of images; torch's own streams are left alone.

    Returns:
        None if there is nothing to adapt.
    """
    shares = _shares(baseline, rated)
    if not shares:
        return None
    copied = unwrapped(copy_module(baseline))
    found = {name: _Averages(copied.get_submodule(name)) for name in shares}
    modes = [(part, part.training) for part in copied.modules()]
    was_training = None if preprocess is None else preprocess.training
    hooks = [a.norm.register_forward_pre_hook(partial(_observe, a)) for a in found.values()]
    device = next((t.device for t in (*copied.parameters(), *copied.buffers())), None)
    try:
        copied.eval()
        if preprocess is not None:
            preprocess.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for batch in _batches(images, num_workers, seed):
                shown = to_unit_range(batch.to(device))
                features_of(copied, shown if preprocess is None else preprocess(shown))
            for name, averages in found.items():
                averages.keep(shares[name])
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in modes:
            part.training = mode
        if preprocess is not None and was_training is not None:
            preprocess.train(was_training)
    return copied if any(averages.count for averages in found.values()) else None


def lacks_statistics(network: nn.Module) -> bool:
    """Whether some norms of a network hold the statistics of new ones."""
    return bool(_shares(network, None))


def _batches(images: ImageSource, num_workers: int, seed: int) -> Iterator[Tensor]:
    """Some images in any order, batch by batch."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    loader: DataLoader[Any] = DataLoader(
        images.subset(order[: _BATCH * _BATCHES].tolist()),
        batch_size=_BATCH,
        num_workers=num_workers,
        collate_fn=LabelCollator().stack,
        generator=torch.Generator(),
    )
    for batch in batches_of(loader):
        if len(batch.index) > 0:
            yield batch.images


def _shares(baseline: nn.Module, rated: nn.Module | None) -> dict[str, float]:
    """Of which norms of a baseline statistics are to be taken, and how much they count."""
    theirs = None if rated is None else _norms(rated)
    shares = {}
    for name, norm in _norms(baseline).items():
        if not _is_new(norm):
            continue
        if theirs is None:
            shares[name] = 1.0
        elif name in theirs:
            if not _is_new(theirs[name]):
                shares[name] = _share(theirs[name])
        elif not all(map(_is_new, theirs.values())):  # a network of another kind
            shares[name] = 1.0
    return shares


def _norms(network: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network that keep running statistics, by name."""
    return {
        name: module
        for name, module in unwrapped(network).named_modules()
        if _is_there(getattr(module, "running_mean", None))
        and _is_there(getattr(module, "running_var", None))
    }


def _is_there(buffer: object) -> bool:
    return isinstance(buffer, Tensor) and not is_lazy(buffer)


def _is_new(norm: nn.Module) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return False
    return not bool(mean.any()) and bool((variance == 1).all())


def _share(norm: nn.Module) -> float:
    """Which part of a norm's statistics is not that of a new one any more."""
    momentum, seen = getattr(norm, "momentum", None), getattr(norm, "num_batches_tracked", None)
    if not isinstance(momentum, float) or not isinstance(seen, Tensor) or int(seen) == 0:
        return 1.0
    return float(1 - (1 - momentum) ** int(seen))


class _Averages:
    """Mean over batches of the mean and the variance of what a norm is given."""

    def __init__(self, norm: nn.Module) -> None:
        self.norm = norm
        self.count = 0
        self.mean: Tensor | float = 0.0  # [C]
        self.variance: Tensor | float = 0.0  # [C]

    def keep(self, share: float) -> None:
        """Gives the norm what was found, beside the statistics of a new norm."""
        if self.count:
            _fill(self.norm, share * self.mean, share * self.variance + (1 - share))
            seen = getattr(self.norm, "num_batches_tracked", None)
            if isinstance(seen, Tensor):
                seen.fill_(self.count)


def _observe(averages: _Averages, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Has a norm in evaluation mode normalise a batch by its own statistics, and notes them."""
    given = inputs[0]
    channels = len(averages.norm.running_mean)  # type: ignore[arg-type]
    axis = 1 if given.dim() > 1 and given.shape[1] == channels else -1  # or channels last
    values = given.movedim(axis, 0).flatten(1).double()  # [C, B * positions]
    if values.shape[0] != channels or values.shape[1] < 2:
        return
    variance, mean = torch.var_mean(values, dim=1, correction=0)
    _fill(norm, mean, variance)
    averages.count += 1
    unbiased = variance * values.shape[1] / (values.shape[1] - 1)  # as torch keeps it
    averages.mean = averages.mean + (mean - averages.mean) / averages.count
    averages.variance = averages.variance + (unbiased - averages.variance) / averages.count


def _fill(norm: nn.Module, mean: Tensor | float, variance: Tensor | float) -> None:
    for name, value in (("running_mean", mean), ("running_var", variance)):
        getattr(norm, name).copy_(torch.as_tensor(value))
