"""Labels that nobody asks for stop nothing; where somebody does, it is said what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from super_selfish.data.collate import LabelCollator
from super_selfish.data.on_device import held_on_device
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation import embed, extract_features, health
from super_selfish.supervisors import (
    InstanceDiscriminationSupervisor,
    LabelSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from tests.conftest import TinyBackbone

COUNT = 8
LABELS: dict[str, Callable[[int], Any]] = {
    "boxes": lambda i: torch.rand(i % 3 + 1, 4),
    "boxes with gradients": lambda i: torch.rand(i % 3 + 1, 4, requires_grad=True),
    "masks of several sizes": lambda i: np.zeros((30 + i, 20), np.uint8),
    "masks of one size": lambda i: torch.zeros(32, 32, dtype=torch.uint8),
    "strings": lambda i: f"class {i}",
    "none": lambda i: None,
    "some": lambda i: i if i % 2 else None,
    "dicts": lambda i: {"boxes": torch.rand(i + 1, 4), "labels": torch.ones(i + 1)},
    "lists": lambda i: [1] * i,
    "numbers and rows": lambda i: i if i % 2 else torch.zeros(5),
    "whole and broken numbers": lambda i: torch.tensor(i if i % 2 else 0.5),
    "numbers beyond 64 bits": lambda i: 10**25 + i,
    "big-endian numbers": lambda i: np.array(i, ">i4"),
    "long doubles": lambda i: np.longdouble(i),
    "complex numbers": lambda i: torch.tensor(1j),
    "objects": lambda i: np.array([object()]),
}


class Items:
    """Images whose second part is a label of a kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(256, (3, 4, 4), generator=generator, dtype=torch.uint8)
        return image.repeat_interleave(8, 1).repeat_interleave(8, 2), LABELS[self.kind](index)


def weights_after(dataset: Any, **options: Any) -> Tensor:
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(dataset, TinyBackbone(), nn.Linear(16, 4))
    settings = {"epochs": 1, "batch_size": 4, "name": None, "progress": False, **options}
    supervisor.supervise(**settings)
    return nn.utils.parameters_to_vector(supervisor.parameters())


@pytest.mark.parametrize("kind", LABELS)
def test_they_change_nothing(kind: str) -> None:
    images = torch.stack([Items(kind)[index][0] for index in range(COUNT)])
    expected = weights_after(images)
    assert torch.equal(weights_after(Items(kind)), expected)
    assert torch.equal(weights_after(Items(kind), dataset_on_device=True), expected)


@pytest.mark.parametrize("kind", ["masks of one size", "some"])
def test_they_come_through_workers(kind: str) -> None:
    assert torch.equal(weights_after(Items(kind), num_workers=1), weights_after(Items(kind)))


def test_an_algorithm_with_a_memory_trains_as_well() -> None:
    supervisor = InstanceDiscriminationSupervisor(Items("boxes"), TinyBackbone(), num_negatives=4)
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)
    assert supervisor.history[0]["loss"] > 0


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("boxes", r"labels of a batch must be of one shape, got \[1, 4\] and \[2, 4\]"),
        ("some", "4 of the 8 images of a batch have no label"),
        ("strings", "the dataset gives no labels"),
    ],
)
def test_who_needs_labels_is_told_what_is_wrong_with_them(kind: str, message: str) -> None:
    supervisor = LabelSupervisor(Items(kind), TinyBackbone(), num_classes=3)
    with pytest.raises(ValueError, match=message):
        supervisor.supervise(batch_size=8, name=None, progress=False)
    plain = Supervisor(nn.Linear(1, 1), Items(kind), nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match=message):
        plain.supervise(batch_size=8, name=None, progress=False)


def test_evaluation_is_told_too() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    with pytest.raises(ValueError, match="labels of a batch must be of one shape"):
        extract_features(network, Items("boxes"))
    with pytest.raises(ValueError, match="4 of the 8 images of a batch have no label"):
        extract_features(network, Items("some"))
    with pytest.raises(ValueError, match="labels must be of one shape"):
        extract_features(network, _Halves(), batch_size=4)


class _Halves(Items):
    """One class an image at first, several in the second half: no batch has both."""

    def __init__(self) -> None:
        super().__init__("none")

    def __getitem__(self, index: int) -> Any:
        image, _ = super().__getitem__(index)
        return image, 1 if index < 4 else torch.tensor([0, 1])


@pytest.mark.parametrize("kind", LABELS)
def test_measures_without_labels_work(kind: str, tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    embedding = embed(network, Items(kind), tmp_path / "out.npz")
    assert len(embedding.features) == COUNT
    expected = {"big-endian numbers", "whole and broken numbers", "complex numbers"}
    assert (embedding.labels is not None) == (kind in expected)
    assert health(network, Items(kind)).images == COUNT


def test_labels_that_differ_from_batch_to_batch_are_left_off_the_device() -> None:
    source = held_on_device(ImageSource(_Halves()), torch.device("cpu"), progress=False)
    batch = LabelCollator().stack(source.__getitems__(range(COUNT)))
    assert len(batch.images) == COUNT
