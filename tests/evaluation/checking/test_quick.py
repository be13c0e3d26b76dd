"""A quick look finds test images among the others by where they come from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from super_selfish.data import ImageSource, photographs
from super_selfish.evaluation import compare, evaluate, quick_check
from super_selfish.evaluation.checking import quick
from super_selfish.evaluation.checking.quick import shared_places, warn_of_images
from super_selfish.evaluation.features import open_data


@pytest.fixture(scope="module")
def patches() -> Tensor:
    return photographs(32, per_photograph=20).images[::3][:30]


@pytest.fixture
def folder(tmp_path: Path, patches: Tensor) -> Path:
    for number, image in enumerate(patches):
        part = tmp_path / ("test" if number >= 24 else "train")
        part.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(part / f"{number}.png")
    return tmp_path


def places(train: Any, test: Any) -> list[tuple[int, int]]:
    return shared_places(ImageSource(train), ImageSource(test))


def test_the_same_files_are_found(folder: Path) -> None:
    files = sorted(map(str, (folder / "train").iterdir()))
    assert places(folder / "train", files[3:5]) == [(3, 0), (4, 1)]
    assert places(folder / "train", folder / "test") == []
    part = ImageSource(folder / "train").subset([7, 4])
    assert shared_places(part, ImageSource(files[3:5])) == [(1, 1)]


def test_copies_that_kept_their_names_are_found(folder: Path) -> None:
    files = sorted(path.name for path in (folder / "train").iterdir())
    shutil.copy(folder / "train" / files[2], folder / "test")
    shutil.copy(folder / "test" / "25.png", folder / "train" / "24.png")  # other bytes
    found = places(folder / "train", folder / "test")
    tests = sorted(path.name for path in (folder / "test").iterdir())
    trains = sorted(path.name for path in (folder / "train").iterdir())
    assert [(trains[one], tests[other]) for one, other in found] == [(files[2], files[2])]


def test_equal_rows_of_arrays_are_found(patches: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places(patches[:20], patches[18:25]) == [(18, 0), (19, 1)]
    assert places(patches[:20].numpy(), patches[18:25].numpy()) == [(18, 0), (19, 1)]
    deep = (patches.to(torch.int32) * 256).to(torch.uint16)
    assert places(deep[:20], deep[19:]) == [(19, 0)]
    monkeypatch.setattr(quick, "_MOST_BYTES", 20 * 3 * 32 * 32 - 1)
    assert places(patches[:20], patches[18:25]) == []


class Listed(Dataset[Any]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index]


def test_the_same_items_of_a_dataset_are_found(patches: Tensor) -> None:
    dataset = Listed(patches)
    train = Subset(dataset, list(range(5, 30)))
    assert places(train, Subset(dataset, [2, 9])) == [(4, 1)]
    assert places(train, Subset(Subset(dataset, [9, 2]), [0])) == [(4, 0)]
    assert places(train, Listed(patches)) == []


def test_of_many_images_some_are_looked_at_and_all_places_compared(patches: Tensor) -> None:
    result = quick_check(patches[:20], patches[17:], num_images=4)
    facts = result.facts
    assert facts.shared is not None
    assert (facts.shared.exact, facts.shared.test) == (3, 13)
    assert facts.shared.examples[0] == ("item 17", "item 0")
    assert facts.looked_at == 5 and facts.images == 20 and facts.labels is None
    assert "A quick look at 5 images" in facts.remarks[0]
    with pytest.raises(ValueError, match="not all images were looked at"):
        result.without_duplicates()
    clean = quick_check(patches[:15], patches[15:], num_images=4)
    assert clean.facts.shared is None and clean.bad() == ()


def test_of_few_images_all_is_known(patches: Tensor) -> None:
    result = quick_check(patches[:20], patches[18:] // 2)
    assert result.facts.shared is not None and result.facts.shared.near == 2
    assert result.facts.remarks == ()
    assert len(result.without_duplicates()) == 18


def test_only_what_is_bad_is_said(patches: Tensor) -> None:
    ours, theirs = open_data(patches[:20]), open_data(patches[18:])
    warn_of_images(ours, {"": open_data(patches[20:])})
    with pytest.warns(UserWarning, match=r"^2 of 12 test images .* are among the training images"):
        warn_of_images(ours, {"": theirs})
    with pytest.warns(UserWarning, match=r"^birds: 2 of 12 test images"):
        warn_of_images(ours, {"": open_data(patches[20:]), "birds": theirs})


def test_images_that_are_all_black_are_said_before_a_run(patches: Tensor) -> None:
    with pytest.warns(UserWarning, match=r"^All 20 images are nearly empty \(20 black\)"):
        warn_of_images(open_data(patches[:20] * 0), {})
    warn_of_images(open_data(torch.cat([patches[:10], patches[:10] * 0])), {})


def test_of_unreadable_images_that_are_to_be_skipped_nothing_is_said(folder: Path) -> None:
    ends = open_data(ImageSource(folder / "train", 32))
    skips = open_data(ImageSource(folder / "train", 32, on_error="skip"))
    (folder / "train" / "0.png").write_bytes(b"none")
    with pytest.warns(UserWarning, match=r'^1 of 24 images .* unless you give on_error="skip"'):
        warn_of_images(ends, {})
    warn_of_images(skips, {})


def test_a_comparison_says_that_test_images_are_pretrained_on(patches: Tensor) -> None:
    labels = torch.arange(30) % 2
    with pytest.warns(UserWarning, match="4 of 10 test images"):
        compare(
            ["rotate"],
            (patches[:24], labels[:24]),
            (patches[20:], labels[20:]),
            epochs=1,
            seeds=1,
            protocols=["knn"],
            backbone="narrow-resnet",
            path=None,
            progress=False,
        )


class Trained:
    """What `evaluate` needs of a supervisor that has its images."""

    def __init__(self, images: Any) -> None:
        self.source = ImageSource(images)

    def get_backbone(self) -> nn.Module:
        return nn.Conv2d(3, 2, 1)


def rate(backbone: Any, train: Any, test: Any) -> None:
    evaluate(backbone, train, test, protocols=("knn",), untrained=None, progress=False)


def test_an_evaluation_says_that_its_test_images_were_trained_on(patches: Tensor) -> None:
    labels = torch.arange(30) % 2
    train, test = (patches[:12], labels[:12]), (patches[20:], labels[20:])
    rate(Trained(patches[:20]), train, test)
    expected = r"^4 of 10 test images are among the images that the supervisor trains on as well, "
    with pytest.warns(UserWarning, match=expected + "such as item 0. Accuracy"):
        rate(Trained(patches[:24]), train, test)
    with pytest.warns(UserWarning, match=r"^1 of 10 test images is among the training images as"):
        rate(nn.Conv2d(3, 2, 1), (patches[:21], labels[:21]), test)


def test_data_that_are_open_already_were_looked_at_by_who_opened_them(patches: Tensor) -> None:
    data = open_data((patches, torch.arange(30) % 2))
    rate(Trained(patches), data, data)
