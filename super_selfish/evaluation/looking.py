"""One pass of a frozen backbone over images.

Shapes: `N` images, `D` features, `B` batch, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.collate import LabelCollator
from super_selfish.data.samples import Batch
from super_selfish.data.sources import ImageSource
from super_selfish.data.workers import batches_of
from super_selfish.models.combined_net import pooled_features
from super_selfish.training.allocator import kept_memory
from super_selfish.training.counting import plural
from super_selfish.training.display import DELAY, open_bar
from super_selfish.training.distributed import rank
from super_selfish.training.telling import warn


class Extraction(NamedTuple):
    """What one pass over a data set gives, before anybody asks whether its labels are classes."""

    features: Tensor  # [N, D] float32, CPU
    index: Tensor  # type: ignore[assignment]  # [N] int64, positions in the data set
    labels: list[Tensor | None]  # of each batch, as the items give them
    no_labels: str  # why a batch has none, if its items have some


Ask = Callable[[nn.Module, Tensor], Tensor]


class Seen(NamedTuple):
    """What one pass gives before it is judged: perhaps nothing at all."""

    features: Tensor | None  # [N, D] float32, CPU; None without an image that can be read
    index: Tensor  # type: ignore[assignment]  # [N] int64
    labels: list[Tensor | None]
    no_labels: str
    unreadable: list[str]


def look(
    backbone: nn.Module,
    images: ImageSource,
    labels: Tensor | None,
    preprocess: nn.Module | None,
    *,
    batch_size: int,
    num_workers: int,
    device: torch.device | str | None = None,
) -> Seen:
    """Shows images to a backbone.

    Args:
        backbone: In eval mode and without gradients for the duration of the call.
        images: In their order.
        labels: Those that came apart from the images, or None for what these bring.
        preprocess: Applied to images in [0, 1] before the backbone.
        batch_size: Images per forward pass.
        num_workers: Processes that load images.
        device: Where to compute; `None` is where the backbone lies.

    Raises:
        RuntimeError: If the backbone fails, perhaps since it takes no images of this form.
    """
    features: list[Tensor] = []
    found: list[Tensor | None] = []
    index: list[Tensor] = []
    no_labels = ""

    def take(batch: Batch, answer: Tensor) -> None:
        nonlocal no_labels
        features.append(answer.cpu())  # [B, D]
        index.append(batch.index)
        found.append(batch.labels if labels is None else labels[batch.index])
        no_labels = no_labels or batch.no_labels

    unreadable = show(
        backbone,
        images,
        preprocess,
        pooled_features,
        take,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
    )
    # Concatenated outside of inference mode: the result is an ordinary tensor, fit for autograd.
    stacked = torch.cat(features) if features else None
    positions = torch.cat(index) if index else torch.empty(0, dtype=torch.int64)
    return Seen(stacked, positions, found, no_labels, unreadable)


def show(
    backbone: nn.Module,
    images: ImageSource,
    preprocess: nn.Module | None,
    ask: Ask,
    take: Callable[[Batch, Tensor], None],
    *,
    batch_size: int,
    num_workers: int,
    device: torch.device | str | None = None,
) -> list[str]:
    """Shows images to a backbone, batch by batch.

    Args:
        backbone: As for `look`.
        images: In their order.
        preprocess: As for `look`.
        ask: What is asked of the backbone: `pooled_features` or `feature_map`.
        take: Called with each batch and the answer, float32 on the device, in inference mode.
        batch_size: As for `look`.
        num_workers: As for `look`.
        device: As for `look`.

    Returns:
        What could not be read and was left out, and why.

    Raises:
        RuntimeError: If the backbone fails, perhaps since it takes no images of this form.
    """
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=LabelCollator().stack,
        generator=torch.Generator(),  # seeds the workers; torch's own stream is left alone
    )
    device = torch.device(device) if device is not None else device_of(backbone)
    unreadable: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(_frozen(backbone, device))
        if preprocess is not None:
            stack.enter_context(_frozen(preprocess, device))
        stack.enter_context(torch.inference_mode())
        stack.enter_context(kept_memory(device))
        bar = stack.enter_context(
            open_bar("Features", len(images), "img", shown=rank() == 0, delay=DELAY)
        )
        for batch in batches_of(loader):
            bar.update(len(batch.index) + len(batch.unreadable))
            unreadable += batch.unreadable
            if len(batch.index) == 0:
                continue
            shown = to_unit_range(batch.images.to(device, non_blocking=True))  # [B, C, H, W]
            if preprocess is not None:
                shown = preprocess(shown)
            take(batch, features_of(backbone, shown, ask))
    return unreadable


def judged(seen: Seen) -> Extraction:
    """What was seen, if it is of use; the first process warns of images that were left out.

    Raises:
        ValueError: If no image can be read, or features are not finite.
    """
    if seen.unreadable and rank() == 0:
        warn(f"{plural(len(seen.unreadable), 'image')} left out: {'; '.join(seen.unreadable)}")
    if seen.features is None:
        raise ValueError("expected at least one readable image, got none")
    if not torch.isfinite(seen.features).all():
        raise ValueError(
            "the backbone returned features that are not finite: did training diverge?"
        )
    return Extraction(seen.features, seen.index, seen.labels, seen.no_labels)


def features_of(backbone: nn.Module, images: Tensor, ask: Ask = pooled_features) -> Tensor:
    """Pooled features `[B, D]` in float32 of images `[B, C, H, W]`, or what else is asked for.

    Raises:
        RuntimeError: If the backbone raises it; says what images it was given.
    """
    try:
        return ask(backbone, images).float()
    except RuntimeError as error:
        channels, height, width = images.shape[1:]
        raise RuntimeError(
            f"the backbone {type(backbone).__name__} failed on images of {height}x{width} pixels "
            f"and {plural(channels, 'channel')} (in_channels= and image_size= bring them to "
            f"others): {error}"
        ) from error


def device_of(module: nn.Module) -> torch.device:
    """Device of the first parameter or buffer; the CPU for a module that has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


@contextmanager
def _frozen(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode on a device for a while; then every submodule's former mode, and the old device."""
    modes = [(part, part.training) for part in module.modules()]
    home = device_of(module)
    try:
        module.eval()
        if device != home:
            module.to(device)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        if device != home:
            module.to(home)
