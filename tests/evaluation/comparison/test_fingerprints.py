from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from super_selfish.data.opening import as_source
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.comparison.fingerprints import describe_data, fingerprint
from super_selfish.evaluation.features import LabelledSource


class Settings:
    def __init__(self, value: float) -> None:
        self.value = value


def scale(value: float, by: float = 2.0) -> float:
    return value * by


def linear(seed: int, size: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(3, size)


def bind(value: float) -> Any:
    return lambda: value


SAME = [
    ({"a": 1, "b": (2.5, None)}, {"b": (2.5, None), "a": 1}),
    (torch.arange(3), np.arange(3)),
    (linear(0), linear(0)),
    (Settings(1.0), Settings(1.0)),
    (functools.partial(scale, by=3.0), functools.partial(scale, by=3.0)),
    (bind(1.0), bind(1.0)),
    ({3, 1, 2}, {1, 2, 3}),
]
OTHER = [
    (1, 1.5),
    (torch.zeros(2), torch.zeros(2, 1)),
    (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    (linear(0), linear(1)),
    (linear(0), linear(0, size=3)),
    (Settings(1.0), Settings(2.0)),
    (scale, linear),
    (functools.partial(scale, by=3.0), functools.partial(scale, by=4.0)),
    (bind(1.0), bind(2.0)),
    (lambda: 1, lambda: 2),
    (nn.ReLU, nn.GELU),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_equal_values_have_equal_fingerprints(first: Any, second: Any) -> None:
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_other_values_have_other_fingerprints(first: Any, second: Any) -> None:
    assert fingerprint(first) != fingerprint(second)


def test_data_are_told_by_number_form_images_and_labels(images: Tensor) -> None:
    def of(data: Tensor, labels: Tensor | None = None) -> str:
        return fingerprint(describe_data(LabelledSource(as_source(data), labels)))

    labels = torch.arange(len(images))
    found = [
        of(images),
        of(images[:-1]),
        of(255 - images),
        of(images[:, :1]),
        of(images, labels),
        of(images, labels + 1),
    ]
    assert of(images.clone()) == found[0]
    assert len(set(found)) == len(found)


def files(folder: Path, sizes: Sequence[int]) -> Path:
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.new("RGB", (32, 32)).save(folder / f"{number:03}.png")
        with (folder / f"{number:03}.png").open("ab") as file:
            file.write(b"x" * size)
    return folder


def test_data_are_told_by_all_their_files_wherever_these_lie(tmp_path: Path) -> None:
    sizes = [0] * 40
    first = describe_data(ImageSource(files(tmp_path / "a", sizes)))
    assert describe_data(ImageSource(files(tmp_path / "b", sizes))) == first
    sizes[1] = 1  # none of the sixteen that are looked at
    assert describe_data(ImageSource(files(tmp_path / "c", sizes))) != first


def test_data_in_memory_are_told_by_all_images_and_labels(images: Tensor) -> None:
    many = images.repeat(4, 1, 1, 1)
    labels = torch.arange(len(many)) % 3
    changed, relabelled = many.clone(), labels.clone()
    changed[1, 0, 0, 0] += 1
    relabelled[1] += 1
    kinds = [(many, labels), (changed, labels), (many, relabelled)]
    described = [describe_data(ImageSource(data)) for data in kinds]
    described += [describe_data(ImageSource(TensorDataset(*data))) for data in kinds[::2]]
    part = ImageSource((changed, labels)).subset(range(0, 80))
    described += [describe_data(part), describe_data(part.subset(range(1, 80)))]
    assert len({json.dumps(each) for each in described}) == len(described)
    reversed_images = ImageSource(many.numpy()[::-1])
    assert describe_data(reversed_images) == describe_data(ImageSource(many.flip(0).numpy()))


def test_labels_that_were_given_to_a_source_tell_it(images: Tensor) -> None:
    source = ImageSource(images)
    first, second = torch.zeros(22, dtype=torch.int64), torch.zeros(22, dtype=torch.int64)
    second[10] = 1  # of none of the probed images
    described = [describe_data(source.with_labels(labels)) for labels in (first, second)]
    assert described[0] != described[1]
