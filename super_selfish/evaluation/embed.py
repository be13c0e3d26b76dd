"""Features of images in files, with the names of the images.

Shapes: `N` images, `D` features, `Y` classes.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.features import LabelledSource, extract, open_data
from super_selfish.evaluation.rated_network import open_network
from super_selfish.supervisors.base import Supervisor
from super_selfish.training.checkpoint import write_atomically


class Embedding(NamedTuple):
    """Features of images, and which images these are."""

    features: Tensor  # [N, D] float32, CPU
    names: list[str]  # path of the file, or position in the data
    labels: Tensor | None  # [N] or [N, Y]
    classes: list[str] | None  # names of the labels' values, where the data tell them


def embed(
    backbone: nn.Module,
    images: Any,
    path: str | os.PathLike[str],
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    device: torch.device | str | None = None,
    preprocess: nn.Module | None = None,
) -> Embedding:
    """Computes the features of images and writes them with the images' names.

    `.npz` holds `features [N, D]` float32, `names [N]` text, and where the data have them `labels`
    and `classes`; `numpy.load(path)` reads it, without pickle. `.csv` has a line for each image:
    `name`, `label` (for several labels an image `label0`, `label1`, ...), `f0`, `f1`, ..., with as
    many digits as give the same float32 again.

    Args:
        backbone: Any module from `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`; or a supervisor,
            whose backbone, preprocessing, image size and channels are used.
        images: As for `extract_features`: a folder, a list of files, a dataset, a tensor, a pair
            `(images, labels)`.
        path: Ends in `.npz` or `.csv`; without an ending, both are written.
        batch_size: Images per forward pass.
        num_workers: Processes that load images; 0 loads in this one.
        image_size: As for `extract_features`.
        in_channels: As for `extract_features`.
        device: As for `extract_features`.
        preprocess: As for `extract_features`; a supervisor has its own.

    Returns:
        What was written. Images that could not be read, and that their source skips
        (`ImageSource(..., on_error="skip")`), are missing from it, with a warning.

    Raises:
        ValueError: If the path has another ending, or as `extract_features`.
    """
    files = _files(Path(os.path.expanduser(path)))
    if isinstance(backbone, Supervisor) and preprocess is not None:
        raise ValueError("a supervisor has its own preprocess: leave preprocess= out")
    network = open_network(backbone, preprocess, image_size, in_channels)
    if isinstance(images, ImageSource | LabelledSource):  # those know their size
        network = network._replace(image_size=image_size, in_channels=in_channels)
    opened = open_data(images, network.image_size, network.in_channels, network.reading)
    found = extract(
        network.module,
        opened,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        preprocess=network.preprocess,
    )
    labels = _joined(found.labels)
    embedding = Embedding(
        found.features,
        [_name(opened.images, position) for position in found.index.tolist()],
        labels,
        opened.images.classes,
    )
    for file, write in files:
        write_atomically(file, functools.partial(write, embedding))
    return embedding


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """Labels `[N]` or `[N, Y]` of all batches; `None` if an image has none, or one like a mask."""
    known = [part for part in parts if part is not None]
    shapes = {part.shape[1:] for part in known}
    if len(known) < len(parts) or len(shapes) > 1 or known[0].ndim > 2:
        return None
    return torch.cat(known)


def _name(source: ImageSource, position: int) -> str:
    """The file of an image, or its number in the data."""
    name = source.name(position)
    return name.removeprefix("item ") if re.fullmatch(r"item \d+", name) else name


def _files(path: Path) -> list[tuple[Path, Callable[[Embedding, BinaryIO], None]]]:
    writers = {".npz": _write_npz, ".csv": _write_csv}
    if path.suffix == "":
        return [(path.with_suffix(ending), write) for ending, write in writers.items()]
    if path.suffix not in writers:
        raise ValueError(
            f"expected a path that ends in {' or '.join(writers)}, or has no ending (for both), "
            f"got {str(path)!r}"
        )
    return [(path, writers[path.suffix])]


def _write_npz(embedding: Embedding, file: BinaryIO) -> None:
    arrays = {"features": embedding.features.numpy(), "names": np.array(embedding.names)}
    if embedding.labels is not None:
        arrays["labels"] = embedding.labels.numpy()
        if embedding.classes is not None:
            arrays["classes"] = np.array(embedding.classes)
    np.savez(file, **arrays)  # type: ignore[arg-type]  # no arrays of objects: no pickle


def _write_csv(embedding: Embedding, file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    table = csv.writer(text)
    labels = embedding.labels
    header = [f"f{column}" for column in range(embedding.features.shape[1])]
    if labels is None:
        rows: list[list[float]] = [[] for _ in embedding.names]
    elif labels.ndim == 1:
        rows = labels[:, None].tolist()
        header = ["label", *header]
    else:
        rows = labels.tolist()
        header = [*(f"label{column}" for column in range(labels.shape[1])), *header]
    table.writerow(["name", *header])
    for name, row, features in zip(embedding.names, rows, embedding.features, strict=True):
        table.writerow([name, *row, *(f"{value:.9g}" for value in features.tolist())])
    text.detach()  # flushes, and leaves the file open
