"""Features of a frozen backbone, computed once and used by every protocol.

Images without augmentation, a backbone in eval mode, no gradient: what comes out depends on the
backbone and the images alone, and the backbone is afterwards, to the last bit, what it was before.

Shapes: `N` images, `D` features, `Y` classes, `B` batch, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.data.known_labels import is_our_source
from super_selfish.data.masks import Masks
from super_selfish.data.opening import as_source
from super_selfish.data.samples import SKIPPED_LABEL
from super_selfish.data.sources import ImageSource
from super_selfish.data.stream_source import INSTEAD
from super_selfish.evaluation.label_checks import as_classes, labelled_rows
from super_selfish.evaluation.looking import Extraction, device_of, judged, look
from super_selfish.evaluation.rated_network import open_network
from super_selfish.evaluation.shares import look_in_shares
from super_selfish.training.exchange import exchange, has_others


class Features(NamedTuple):
    """Features of a data set and, where it has them, the labels."""

    features: Tensor  # [N, D] float32, CPU
    labels: Tensor | None  # [N] or [N, Y] int64, CPU


class LabelledSource(NamedTuple):
    """Opened data: the images, and the labels if they came apart from them, or masks."""

    images: ImageSource
    labels: Tensor | None  # [N] or [N, Y] int64
    masks: Masks | None = None  # of data that `open_masked` opens


def open_data(
    data: Any,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    reading: Mapping[str, Any] | None = None,
) -> LabelledSource:
    """Opens data that protocols read.

    Args:
        data: Whatever `as_source` takes, or a pair `(images, labels)` of such data and as many
            labels: `[N]` integers, -1 for an image without one, or `[N, Y]` zeros and ones.
        image_size: As for `as_source`.
        in_channels: As for `as_source`.
        reading: Further keywords of `as_source`, such as those of a supervisor. A source that is
            given has its own, but must have that `value_range`.

    Returns:
        The source. `labels` is `None` where the items themselves bring theirs, or have none.

    Raises:
        ValueError: If there are not as many labels as images.
        TypeError: If labels are neither integers nor rows of zeros and ones, or are text, or are of
            a generator of paths, whose order is not that of the labels.
    """
    if isinstance(data, LabelledSource):
        images = open_images(data.images, image_size, in_channels, reading)
        return data._replace(images=images)
    if not _is_pair(data):
        return LabelledSource(open_images(data, image_size, in_channels, reading), None)
    if isinstance(data[0], Iterator):
        raise TypeError("labels need images in a fixed order, but they are of a generator: a list")
    images = open_images(data[0], image_size, in_channels, reading)
    try:
        labels = torch.as_tensor(data[1])
    except (TypeError, ValueError, RuntimeError) as error:
        odd = next((label for label in data[1] if label is None), data[1][0])
        raise TypeError(
            f"labels must be whole numbers, one an image ({SKIPPED_LABEL} for none), or rows of "
            f"zeros and ones, all of one length, got {odd!r} and so on"
        ) from error
    if len(labels) != len(images):
        raise ValueError(
            f"expected (images, labels) with one label an image, "
            f"got {len(images)} images and {len(labels)} labels"
        )
    return LabelledSource(images, as_classes(labels))


def classes_at_hand(source: LabelledSource) -> Tensor | None:
    """Labels `[N]` or `[N, Y]` that are known without reading an image; `None` if they are not."""
    if source.masks is not None:
        return None
    labels = source.labels
    if labels is None and is_our_source(source.images):
        known = source.images.known_labels()
        is_plain = isinstance(known, Tensor) or (known and all(type(each) is int for each in known))
        labels = torch.as_tensor(known) if is_plain else None
    if labels is None or labels.dim() not in (1, 2) or labels.is_floating_point():
        return None
    return labels


def labelled_only(source: LabelledSource, part: str) -> LabelledSource:
    """Leaves the images out that have no label, as far as labels are at hand; warns of it.

    Args:
        source: As `open_data` gives it.
        part: "train" or "test", for the message.

    Raises:
        ValueError: If labels are at hand, and none of the images has one.
    """
    labels = classes_at_hand(source)
    if labels is None:
        return source
    rows = labelled_rows(labels, part)
    if len(rows) == len(labels):
        return source
    given = None if source.labels is None else source.labels[rows]
    return source._replace(images=source.images.subset(rows.tolist()), labels=given)


def open_images(
    data: Any,
    image_size: int | tuple[int, int] | None,
    in_channels: int | None,
    reading: Mapping[str, Any] | None = None,
) -> ImageSource:
    """Opens images as a supervisor reads its own.

    Args:
        data: Whatever `as_source` takes.
        image_size: As for `as_source`.
        in_channels: As for `as_source`.
        reading: As for `open_data`.
    """
    options = dict(reading or {})
    if isinstance(data, ImageSource):
        options = {"value_range": options.get("value_range")}
    source = as_source(data, image_size, in_channels, **options)
    if not source.has_random_access:
        raise TypeError(
            f"evaluation asks for images by their number, and a {type(source.dataset).__name__} "
            f"gives them one after the other. {INSTEAD}"
        )
    return source


def extract_features(
    backbone: Any,
    data: Any,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    device: torch.device | str | None = None,
    preprocess: nn.Module | None = None,
) -> Features:
    """Computes the pooled features of every image of a data set, in its order.

    The backbone runs in eval mode and without gradients; its training mode (module by module),
    its parameters and its batch-norm statistics are as before when the call returns or raises.

    Of several processes (`torchrun`) each computes the features of a part of the images, by the
    weights and statistics of the first one, and all of them get the whole. So all of them must call
    this; one that does so by itself enters `super_selfish.training.alone()` first.

    Args:
        backbone: Any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`, or a supervisor,
            whose `preprocess`, `image_size` and `in_channels` are used unless they are given here.
        data: As for `open_data`.
        batch_size: Images per forward pass.
        num_workers: Processes that load images; 0 loads in this one.
        image_size: Images are brought to this size in pixels, a side or (height, width); `None`
            leaves that to `as_source`.
        in_channels: Images are brought to this many channels; `None` leaves that to `as_source`.
        device: Where to compute; the backbone is there for the duration of the call. `None` is
            where the backbone lies.
        preprocess: Applied to the images before the backbone, for example a normalisation
            (`supervisor.preprocess`).

    Returns:
        `features [N, D]`, and `labels [N]` or `[N, Y]`, or `None` for data without labels. Images
        that could not be read, and that the source was told to skip, are missing from both, with a
        warning.

    Raises:
        ValueError: If no image can be read, only some images have a label, or the backbone returns
            features that are not finite.
        RuntimeError: If the backbone fails, perhaps since it takes no images of this form.
        TypeError: If a label is neither an integer nor a row of zeros and ones.
    """
    found = _look_at(
        backbone,
        data,
        preprocess,
        image_size,
        in_channels,
        in_shares=True,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
    )
    return Features(found.features, classes_of(found))


def extract(
    backbone: Any,
    data: Any,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    device: torch.device | str | None = None,
    preprocess: nn.Module | None = None,
) -> Extraction:
    """Computes features as `extract_features` does, and takes labels as they are.

    Args:
        backbone: As for `extract_features`, and so are all others.
        data: As for `extract_features`.
        batch_size: As for `extract_features`.
        num_workers: As for `extract_features`.
        image_size: As for `extract_features`.
        in_channels: As for `extract_features`.
        device: As for `extract_features`.
        preprocess: As for `extract_features`.

    Returns:
        Features, which images they are of, and the labels that came along.

    Raises:
        ValueError: If no image can be read, or the backbone returns features that are not finite.
        RuntimeError: If the backbone fails, perhaps since it takes no images of this form.
    """
    return _look_at(
        backbone,
        data,
        preprocess,
        image_size,
        in_channels,
        in_shares=False,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
    )


def _look_at(
    backbone: Any,
    data: Any,
    preprocess: nn.Module | None,
    image_size: int | tuple[int, int] | None,
    in_channels: int | None,
    *,
    in_shares: bool,
    **settings: Any,
) -> Extraction:
    """What a pass over data gives, done by all processes together or by this one."""
    if settings["batch_size"] < 1:
        raise ValueError(f"batch_size must be >= 1, got {settings['batch_size']}")
    network = open_network(backbone, preprocess, image_size, in_channels)
    source = open_data(data, network.image_size, network.in_channels, network.reading)
    if in_shares:
        device = settings["device"]
        if has_others(device_of(network.module) if device is None else torch.device(device)):
            with exchange() as others:
                return look_in_shares(
                    others, network.module, *source[:2], network.preprocess, **settings
                )
    return judged(look(network.module, *source[:2], network.preprocess, **settings))


def _is_pair(data: Any) -> bool:
    """Whether data is `(images, labels)`: a tuple of two whose second is numbers in rows."""
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    images, labels = data
    if hasattr(labels, "ndim"):  # two gray images [H, W] are no pair
        return labels.ndim == 1 or (labels.ndim == 2 and getattr(images, "ndim", 4) > 2)
    if not isinstance(labels, Sequence) or isinstance(labels, str):
        return False
    return all(_is_label(label) for label in labels)


def _is_label(value: Any) -> bool:
    """A number, a row of numbers, or a name or nothing, which are refused later; no image."""
    if isinstance(value, list | tuple):
        return all(isinstance(number, int | float) for number in value)
    return value is None or isinstance(value, int | str) or getattr(value, "ndim", None) == 0


def classes_of(found: Extraction) -> Tensor | None:
    """Labels of all batches, or `None`; refuses data that are labelled in part."""
    known = [label for label in found.labels if label is not None]
    if not known and not found.no_labels:
        return None
    if found.no_labels:
        raise ValueError(found.no_labels)
    if len(known) < len(found.labels):
        raise ValueError("expected a label for every image or for none, got some without")
    classes = [as_classes(labels) for labels in known]
    shapes = {tuple(labels.shape[1:]) for labels in classes}
    if len(shapes) > 1:
        raise ValueError(f"labels must be of one shape, got {sorted(shapes)[:5]}")
    return torch.cat(classes)
