"""Labels are those that the items give, whatever lies beside them."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision.datasets import CIFAR10, MNIST, SVHN, ImageFolder

from super_selfish.data import labels as labels_module
from super_selfish.data.items import as_label
from super_selfish.data.known_labels import known_labels
from super_selfish.data.sources import ImageSource, Unreadable, labels_of
from super_selfish.evaluation import Monitor, embed
from super_selfish.evaluation.features import LabelledSource, extract_features
from super_selfish.evaluation.finetune import _drawn_targets
from super_selfish.supervisors import LabelSupervisor
from tests.conftest import TinyBackbone

COUNT = 12
STORED = [0, 1, 2] * 4
FIRST_SAMPLES = {0: 0, 5: 1, 11: 2}  # first, middle and last are left as they are


def relabelled(index: int) -> int:
    """Another label for every image but those at which one would look."""
    return FIRST_SAMPLES[index] if index in FIRST_SAMPLES else 7


EXPECTED = [STORED[i] if i in FIRST_SAMPLES else 7 for i in range(COUNT)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of three classes, in the order of their labels."""
    for number in range(COUNT):
        path = tmp_path / "images" / "abc"[number // 4] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(path)
    return tmp_path / "images"


class Overridden(ImageFolder):
    """Gives other labels than the lists that it inherits."""

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return image, label + 5


class Plain(ImageFolder):
    """A subclass that changes nothing about items."""


class Wrapper(Dataset[Any]):
    """Passes on the lists of what it wraps, but not its labels."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.targets, self.classes = inner.targets, inner.classes
        self.samples = inner.samples

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        image, label = self.inner[index]
        return image, 2 if label == 1 else label


class Skewed(Subset[Any]):
    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index)[0], 9

    def __getitems__(self, indices: list[int]) -> Any:
        return [self[index] for index in indices]


def merge(label: int) -> int:
    """Labels 0, 1, 2 become 0, 1, 1: three of them alike, no length betrays it."""
    return min(label, 1)


def items_say(data: Any) -> list[int]:
    return [int(data[index][1]) for index in range(len(data))]


def modified(folder: Path) -> ImageFolder:
    whole = ImageFolder(str(folder))
    whole.targets = [2] * COUNT  # items are made of `samples`
    return whole


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "plain": lambda folder: ImageFolder(str(folder)),
    "target_transform": lambda folder: ImageFolder(str(folder), target_transform=merge),
    "overridden": lambda folder: Overridden(str(folder)),
    "a subclass that changes nothing": lambda folder: Plain(str(folder), target_transform=merge),
    "targets altered afterwards": modified,
    "a wrapper": lambda folder: Wrapper(ImageFolder(str(folder))),
    "a subset": lambda folder: Subset(Overridden(str(folder)), [3, 9, 1]),
    "a subset of a kind of its own": lambda folder: Skewed(ImageFolder(str(folder)), [3, 9, 1]),
    "subsets of joined ones": lambda folder: Subset(
        ConcatDataset(
            [
                Subset(ImageFolder(str(folder), target_transform=merge), [11, 0]),
                ConcatDataset([Overridden(str(folder)), ImageFolder(str(folder))]),
            ]
        ),
        [0, 13, 3, 25],
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_labels_are_those_of_the_items(folder: Path, kind: str) -> None:
    data = FOLDERS[kind](folder)
    labels = labels_of(ImageSource(data))
    assert labels is not None and labels.tolist() == items_say(data)


@pytest.mark.parametrize("kind", ["plain", "target_transform", "a subclass that changes nothing"])
def test_what_is_known_is_found_without_decoding(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: Subset[Any] = Subset(ConcatDataset([FOLDERS[kind](folder)] * 2), [11, 12, 23])
    expected = items_say(data)
    source = ImageSource(data)
    part = source.subset([2, 0])
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: pytest.fail("decoded"))
    assert labels_of(source).tolist() == expected  # type: ignore[union-attr]
    assert labels_of(part).tolist() == [expected[2], expected[0]]  # type: ignore[union-attr]


def test_a_function_that_was_replaced_or_wrapped_is_not_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageFolder(str(folder))
    assert known_labels(data) is not None
    original = ImageFolder.__getitem__

    @functools.wraps(original)
    def wrapped(self: Any, index: int) -> Any:
        return original(self, index)[0], 4

    monkeypatch.setattr(ImageFolder, "__getitem__", wrapped)
    assert known_labels(data) is None
    assert labels_of(ImageSource(data)).tolist() == [4] * COUNT  # type: ignore[union-attr]


def bare(kind: type, **attributes: Any) -> Any:
    """A dataset of torchvision without its download."""
    data: Any = object.__new__(kind)
    data.transform = data.target_transform = None
    vars(data).update(attributes)
    return data


def torchvision_sets(target_transform: Any) -> dict[str, Any]:
    pixels = np.zeros((COUNT, 32, 32, 3), np.uint8)
    labels = np.array(STORED)
    more = {"target_transform": target_transform}
    return {
        "CIFAR10": bare(CIFAR10, data=pixels, targets=STORED, **more),
        "MNIST": bare(MNIST, data=torch.zeros(COUNT, 32, 32), targets=torch.tensor(STORED), **more),
        "SVHN": bare(SVHN, data=pixels.transpose(0, 3, 1, 2), labels=labels, **more),
    }


@pytest.mark.parametrize("target_transform", [None, merge])
@pytest.mark.parametrize("kind", ["CIFAR10", "MNIST", "SVHN"])
def test_sets_of_torchvision_are_read_as_they_read_themselves(
    kind: str, target_transform: Any
) -> None:
    data = torchvision_sets(target_transform)[kind]
    source = ImageSource(data)
    assert known_labels(data) is not None
    assert labels_of(source).tolist() == items_say(data)  # type: ignore[union-attr]


def test_a_list_that_disagrees_only_where_nobody_looks_is_not_used() -> None:
    class Stale(Dataset[Any]):
        targets = STORED

        def __len__(self) -> int:
            return COUNT

        def __getitem__(self, index: int) -> Any:
            return torch.zeros(3, 32, 32, dtype=torch.uint8), EXPECTED[index]

    source = ImageSource(Stale())
    assert labels_of(source).tolist() == EXPECTED  # type: ignore[union-attr]
    supervisor = LabelSupervisor(Stale(), TinyBackbone())
    assert supervisor.arguments["num_classes"] == 8
    _, targets, classes = _drawn_targets(LabelledSource(source, None), 100, 0)
    assert classes[targets].tolist() == EXPECTED


def test_a_source_of_a_class_of_its_own_is_asked_itself() -> None:
    images = torch.zeros(COUNT, 3, 32, 32, dtype=torch.uint8)

    class Other(ImageSource):
        def __getitem__(self, index: int) -> Any:
            sample = super().__getitem__(index)
            return sample if isinstance(sample, Unreadable) else sample._replace(label=LABEL)

    LABEL = torch.tensor(3)
    source = Other((images, torch.tensor(STORED)))
    for given in (source, source.subset([1, 2]), ImageSource(Subset(source, [1, 2]))):
        assert set(labels_of(given).tolist()) == {3}  # type: ignore[union-attr]
        assert {int(sample.label) for sample in given.__getitems__([0, 1])} == {3}  # type: ignore[union-attr, arg-type]


def test_no_label_is_known_as_none() -> None:
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    assert labels_of(ImageSource(TensorDataset(images))) is None
    half: Any = ConcatDataset([TensorDataset(images, torch.arange(4)), TensorDataset(images)])
    assert labels_of(ImageSource(half)) is None


class Items:
    """A dataset of the user's own."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(3, 32, 32, dtype=torch.uint8), STORED[index]


class FakeColumns:
    """A Hugging Face dataset as far as it matters here; its items decode."""

    def __init__(self, format_type: str | None, columns: list[str]) -> None:
        self.column_names = ["image", "label"]
        self.features = {"image": None, "label": types.SimpleNamespace(names=["cat", "dog"])}
        self.format: dict[str, Any] = {"type": format_type, "columns": columns}
        self.reads = 0

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, key: Any) -> Any:
        if key == "label":
            return STORED
        self.reads += 1
        item = {"image": torch.zeros(3, 32, 32, dtype=torch.uint8), "label": STORED[key]}
        if self.format["type"] == "custom":
            item["label"] = EXPECTED[key]
        return {name: item[name] for name in self.format["columns"]}


@pytest.fixture
def hugging_face(monkeypatch: pytest.MonkeyPatch) -> type[FakeColumns]:
    """The class under the name that the library has."""
    kind = types.new_class("Dataset", (), exec_body=lambda body: body.update(vars(FakeColumns)))
    monkeypatch.setattr(FakeColumns.__getitem__, "__module__", "datasets.arrow_dataset")
    monkeypatch.setattr(FakeColumns.__getitem__, "__qualname__", "Dataset.__getitem__")
    kind.__module__ = "datasets.arrow_dataset"
    return kind


@pytest.mark.parametrize(
    ("format_type", "columns", "expected", "reads"),
    [
        (None, ["image", "label"], STORED, False),
        ("custom", ["image", "label"], EXPECTED, True),
        ("torch", ["image", "label"], STORED, True),
        (None, ["image"], None, True),
    ],
)
def test_a_column_of_hugging_face_is_used_if_items_show_it_as_it_is(
    hugging_face: type[FakeColumns],
    format_type: str | None,
    columns: list[str],
    expected: list[int] | None,
    reads: bool,
) -> None:
    data = hugging_face(format_type, columns)
    source = ImageSource(data)
    data.reads = 0
    labels = labels_of(source)
    assert (None if labels is None else labels.tolist()) == expected
    assert (data.reads > 0) == reads
    assert source.classes == (None if reads else ["cat", "dog"])


def test_real_columns_of_hugging_face() -> None:
    datasets = pytest.importorskip("datasets")
    table = sys.modules["datasets.table"].InMemoryTable
    images = torch.zeros(COUNT, 3, 32, 32, dtype=torch.uint8)
    rows = {"image": list(range(COUNT)), "label": STORED}
    plain = datasets.Dataset(table.from_pydict(rows), fingerprint="plain")
    assert known_labels(plain) == STORED
    plain.set_transform(
        lambda rows: {
            "image": [images[row] for row in rows["image"]],
            "label": [merge(label) for label in rows["label"]],
        }
    )
    assert known_labels(plain) is None
    assert labels_of(ImageSource(plain)).tolist() == list(map(merge, STORED))  # type: ignore[union-attr]


# Where labels are used


def mean_features() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_embed_writes_the_labels_of_the_items_and_reads_each_once(folder: Path) -> None:
    class Counting(Overridden):
        reads = 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return super().__getitem__(index)

    data = Counting(str(folder))
    source = ImageSource(data)
    data.reads = 0
    embedding = embed(mean_features(), source, folder.parent / "out.csv")
    assert embedding.labels is not None and embedding.labels.tolist() == items_say(data)
    assert data.reads == 2 * COUNT  # the second time by the line above
    assert embedding.classes is None  # those of the folder have other numbers


def test_names_of_classes_and_files_belong_to_the_items(folder: Path) -> None:
    plain = ImageSource(ImageFolder(str(folder)))
    assert plain.classes == ["a", "b", "c"] and plain.name(4).endswith("b/04.png")
    merged = ImageSource(ImageFolder(str(folder), target_transform=merge))
    assert merged.classes is None and merged.name(4).endswith("b/04.png")
    other = ImageSource(Wrapper(ImageFolder(str(folder))))
    assert other.name(4) == "item 4"  # it might give them in another order


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["a", "b"], ["a", "b"]), (("a", 1), ["a", "1"]), (3, None), ({"a": 0}, None), (None, None)],
)
def test_names_of_classes_are_a_list_of_them(names: Any, expected: list[str] | None) -> None:
    class Named(Items):
        classes = names

    assert ImageSource(Named()).classes == expected


def test_evaluation_and_monitor_have_the_labels_of_the_items(folder: Path) -> None:
    data = ImageFolder(str(folder), target_transform=merge)
    features = extract_features(mean_features(), data)
    assert features.labels is not None and features.labels.tolist() == items_say(data)
    supervisor = LabelSupervisor(data, TinyBackbone())
    assert supervisor.arguments["num_classes"] == 2
    watched = Monitor(labels=True)._chosen(supervisor)
    assert watched.labels is not None and watched.labels.tolist() == items_say(data)


def test_reading_for_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(labels_module.time, "monotonic", lambda: next(clock))
    data = [(torch.zeros(3, 32, 32, dtype=torch.uint8), 1)] * 200
    with pytest.warns(UserWarning, match=r"the labels of list .* all its 200 items, about \d+ min"):
        labels_of(ImageSource(data))


@pytest.mark.parametrize(
    ("label", "is_one"),
    [(-(2**63), True), (2**63 - 1, True), (-(2**63) - 1, False), (2**63, False)],
)
def test_a_whole_number_is_a_label_if_it_has_sixty_four_bits(label: int, is_one: bool) -> None:
    found = as_label(label)
    assert (found is not None) == is_one
    assert found is None or int(found) == label


def test_how_long_reading_all_labels_takes_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Slow(Dataset[Any]):
        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            nonlocal now
            now += 1.3
            return torch.full((3, 32, 32), index, dtype=torch.uint8), index

    source = ImageSource(Slow())
    monkeypatch.setattr(labels_module.time, "monotonic", lambda: now)
    with pytest.warns(UserWarning, match=r"by reading all its 100 items, about 2 min") as told:
        found = labels_of(source)
    assert len(told) == 1 and found is not None and found.tolist() == list(range(100))
