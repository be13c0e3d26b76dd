"""What a check finds in folders, tensors, data sets and streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from super_selfish import check
from super_selfish.data import ImageSource, StreamSource, photographs
from super_selfish.evaluation.checking.facts import Film
from super_selfish.evaluation.checking.looking_over import _Reader
from super_selfish.supervisors import RotateNetSupervisor

Images = Tensor


@pytest.fixture(scope="module")
def patches() -> Tensor:
    """Photographs that are no copies of one another."""
    return photographs(64, per_photograph=20).images[::3][:24]


def save(image: Tensor, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)


@pytest.fixture
def folder(tmp_path: Path, patches: Tensor) -> Path:
    """Twelve photographs, a copy, a darker one, an empty one, one cut off, and one for testing."""
    for number, image in enumerate(patches[:12]):
        save(image, tmp_path / "train" / f"{number:02}.png")
    save(patches[3], tmp_path / "train" / "copy.png")
    save(patches[4] // 2, tmp_path / "train" / "darker.png")
    Image.new("L", (50, 40), 7).save(tmp_path / "train" / "empty.png")
    whole = (tmp_path / "train" / "05.png").read_bytes()
    (tmp_path / "train" / "broken.png").write_bytes(whole[: len(whole) // 2])
    save(patches[6].flip(2), tmp_path / "test" / "mirrored.png")
    save(patches[7], tmp_path / "test" / "same.png")
    save(patches[20], tmp_path / "test" / "new.png")
    return tmp_path


def test_a_folder_is_looked_through(folder: Path) -> None:
    result = check(folder / "train", folder / "test", progress=False)
    facts = result.facts
    assert (facts.images, facts.looked_at, facts.readable) == (16, 16, 15)
    assert [name for name, _ in facts.unreadable] == ["broken.png"]
    assert facts.sizes == {(64, 64): 14, (40, 50): 1}
    assert facts.channels == {3: 14, 1: 1} and facts.kinds == {"uint8": 15}
    assert (facts.copies, facts.near, facts.mirrored) == (1, 1, 0)
    assert facts.copy_pairs == (("03.png", "copy.png"),)
    assert facts.near_pairs == (("04.png", "darker.png"),)
    assert (facts.flat, facts.black, facts.white, facts.flat_names) == (1, 1, 0, ("empty.png",))
    assert facts.shared is not None
    assert (facts.shared.test, facts.shared.exact, facts.shared.near) == (3, 1, 1)
    assert facts.shared.examples == (("07.png", "same.png"), ("06.png", "mirrored.png"))
    assert facts.largest_group == 2 and facts.films == () and facts.labels is None


def test_what_is_most_harmful_is_said_first(folder: Path) -> None:
    result = check(folder / "train", folder / "test", progress=False)
    text = str(result)
    first, rest = text.split("Mend before training")
    assert first.startswith("16 images of different sizes, 1 or 3 channels, uint8; 3 test images")
    assert rest.index("2 of 3 test images (67 %)") < rest.index("cannot be read")
    assert rest.index("cannot be read") < rest.index("Worth a thought")
    assert "07.png (training) and same.png (test)" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100
    assert not result.is_good
    assert [finding.topic for finding in result.bad()] == ["test images", "unreadable files"]


def test_markdown_and_numbers_say_the_same(folder: Path) -> None:
    result = check(folder / "train", folder / "test", progress=False)
    page = result.to_markdown()
    assert page.count("\n- **") == len(result.findings)
    assert page.index("**Mend before training**") < page.index("- **test images**: 2 of 3")
    numbers = json.loads(json.dumps(result.as_dict()))
    assert numbers["sizes"] == {"64x64": 14, "40x50": 1}
    assert numbers["shared"]["exact"] == 1
    assert numbers["findings"][0]["harm"] == "harm"


def test_what_is_left_without_duplicates(folder: Path) -> None:
    result = check(folder / "train", folder / "test", progress=False)
    names = sorted(path.name for path in (folder / "train").iterdir())

    def left_out(**options: bool) -> list[str]:
        kept = result.kept(**options)
        return [name for place, name in enumerate(names) if place not in kept]

    assert left_out() == ["06.png", "07.png", "broken.png", "copy.png", "darker.png"]
    assert left_out(test=False) == ["broken.png", "copy.png", "darker.png"]
    assert left_out(near=False) == ["07.png", "broken.png", "copy.png"]
    source = check(
        folder / "train", folder / "test", image_size=32, progress=False
    ).without_duplicates()
    assert len(source) == 11 and source.image_size == (32, 32)
    RotateNetSupervisor(source, "narrow-resnet").supervise(
        epochs=1, batch_size=4, name=None, progress=False
    )


def test_without_duplicates_goes_into_a_supervisor_of_any_size(folder: Path) -> None:
    source = check(folder / "train", progress=False).without_duplicates()
    supervisor = RotateNetSupervisor(source, "narrow-resnet", image_size=32)
    assert supervisor.source[0].image.shape == (3, 32, 32)
    assert RotateNetSupervisor(source, "narrow-resnet").image_size == source.image_size != (32, 32)


def test_of_images_that_are_all_black_only_that_is_bad() -> None:
    black = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    found = check(black, progress=False)
    assert [finding.topic for finding in found.bad()] == ["empty images"]
    assert "percentile" not in str(found) and "Leave it out" not in str(found)


def test_tensors_with_labels(patches: Tensor) -> None:
    images = torch.cat([patches[:10], patches[:2]])
    labels = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1])
    result = check((images, labels), (patches[15:18], torch.tensor([0, 1, 2])), progress=False)
    facts = result.facts
    assert facts.labels == {"0": 3, "1": 9}
    assert facts.contradicting == 1 and facts.contradicting_pairs == (("item 1", "item 11"),)
    assert facts.shared is not None and facts.shared.missing_classes == ("2",)
    assert (facts.shared.exact, facts.shared.near) == (0, 0)
    source = result.without_duplicates()
    assert [int(source.label(place) or 0) for place in range(len(source))] == labels[:10].tolist()


def test_floats_made_of_bytes_are_the_same_pixels(patches: Tensor) -> None:
    result = check(patches[:5], patches[3:8].float() / 255, progress=False)
    assert result.facts.shared is not None and result.facts.shared.exact == 2
    array = patches[3:8].permute(0, 2, 3, 1).numpy()
    again = check(patches[:5], array, progress=False)
    assert again.facts.shared is not None and again.facts.shared.exact == 2


def test_grey_in_three_channels_is_the_same_as_grey(patches: Tensor) -> None:
    grey = patches[:6, :1]
    result = check(grey.expand(-1, 3, -1, -1), grey[:2], in_channels=3, progress=False)
    assert result.facts.grey == 6
    assert result.facts.shared is not None and result.facts.shared.exact == 2


def test_dead_and_idle_channels_of_many(patches: Tensor) -> None:
    images = torch.cat([patches[:10], patches[:10].flip(0)], dim=1)  # six channels
    images[:, 2] = 9
    images[:4, 5] = 0
    facts = check(images, in_channels=6, progress=False).facts
    assert facts.dead == (2,)
    assert list(facts.idle) == [0, 0, 1, 0, 0, 0.4]
    assert facts.channels == {6: 10}


def test_sixteen_bits_that_use_a_sixteenth(patches: Tensor) -> None:
    deep = (patches[:8].to(torch.int32) * 16).to(torch.uint16)
    with pytest.warns(UserWarning, match="percentile"):
        result = check(deep.numpy(), progress=False)
    assert result.facts.kinds == {"uint16": 8}
    low, high = result.facts.used
    assert 0 <= low < 0.02 and 0.05 < high <= 0.0625 + 1 / 256
    assert [finding.topic for finding in result.bad()] == ["range"]
    assert result.facts.flat == 0  # by the range that is used
    spread = check(deep.numpy(), value_range="percentile", progress=False)
    assert spread.facts.used[1] > 0.9 and spread.bad() == ()


class Listed(Dataset[Any]):
    """Images one by one, perhaps changed each time."""

    def __init__(self, images: Tensor, *, changes: bool = False) -> None:
        self.images, self.changes = images, changes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.images[index]
        if self.changes:
            image = image.roll(int(torch.randint(1, 60, ())), dims=-1)
        return Image.fromarray(image.permute(1, 2, 0).numpy()), index % 2


def test_datasets_and_their_subsets(patches: Tensor) -> None:
    dataset = Listed(torch.cat([patches[:6], patches[:3]]))
    result = check(dataset, Subset(dataset, [0, 5]), progress=False)
    assert result.facts.copies == 3 and result.facts.labels == {"0": 5, "1": 4}
    assert result.facts.contradicting == 0
    assert result.facts.shared is not None and result.facts.shared.exact == 2
    part = ImageSource(dataset).subset([1, 3, 4])
    assert check(part, progress=False).facts.labels == {"0": 1, "1": 2}
    relabelled = part.with_labels(torch.tensor([5, 5, 6]))
    assert check(relabelled, progress=False).facts.labels == {"5": 2, "6": 1}


def test_a_dataset_that_augments_is_noticed(patches: Tensor) -> None:
    torch.manual_seed(0)
    result = check(Listed(patches, changes=True), progress=False)
    assert result.facts.varies
    assert [finding.topic for finding in result.bad()] == ["changing images"]
    assert not check(Listed(patches), progress=False).facts.varies


class Passing(IterableDataset[Any]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __iter__(self) -> Any:
        return iter(self.images)


def test_of_a_stream_the_first_images_are_looked_at(patches: Tensor) -> None:
    stream = Passing(torch.cat([patches[:6], patches[:2]]))
    for given in (stream, StreamSource(stream)):
        result = check(given, progress=False)
        assert result.facts.copies == 2
        assert "Of the stream the first 8 images were looked at" in result.facts.remarks[0]
        with pytest.raises(ValueError, match="where it is written"):
            result.without_duplicates()


def test_films_are_told_with_their_first_and_last_frame(patches: Tensor, tmp_path: Path) -> None:
    for number in range(12):
        frame = patches[0].clone()
        frame[:, 20:30, 3 * number : 3 * number + 8] = 255
        save(frame, tmp_path / "film" / f"frame{number}.png")
    for number, image in enumerate(patches[1:13]):
        save(image, tmp_path / "others" / f"{number}.png")
    result = check(tmp_path, progress=False)
    assert result.facts.films == (Film(12, "film/frame0.png", "film/frame11.png"),)


def test_what_cannot_be_checked_is_refused(patches: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"threshold is an agreement in \(0, 1\], got 80"):
        check(patches, threshold=80)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"none can be read of 1 image looked at; .*a\.png"):
        check(tmp_path)
    result = check(patches[:3], patches[:3], progress=False)
    with pytest.raises(ValueError, match="no image would be left"):
        result.without_duplicates()
    assert len(result.without_duplicates(test=False)) == 3


def test_many_processes_find_the_same(folder: Path) -> None:
    one = check(folder / "train", progress=False, num_workers=0).as_dict()
    two = check(folder / "train", progress=False, num_workers=1).as_dict()
    del one["seconds"], two["seconds"]
    assert one == two


def test_workers_hand_over_no_tensors(patches: Tensor) -> None:
    source = ImageSource((patches, torch.arange(24)))
    for given in (source, ImageSource(Listed(patches))):
        part = _Reader(given, range(24), (32, 32)).__getitems__([3, 5])
        assert {type(column) for column in part.footprints[0]} == {np.ndarray}
        assert {type(label) for label in part.labels.values()} == {int}
    assert _Reader(source, [8, 9], (32, 32)).__getitems__([1]).labels == {9: 9}


def test_images_without_a_label_are_of_no_class(patches: Tensor) -> None:
    images = torch.cat([patches[:12], patches[:2]])
    labels = torch.tensor([*[0, 1] * 6, -1, -1])
    tests = (patches[12:15], torch.tensor([-1, 0, 1]))
    facts = check((images, labels), tests, progress=False).facts
    assert facts.labels == {"0": 6, "1": 6}
    assert facts.contradicting == 0 and facts.copies == 2
    assert facts.shared is not None and facts.shared.missing_classes == ()
    unlabelled = check((images, -torch.ones(14, dtype=torch.int64)), progress=False)
    assert unlabelled.facts.labels is None


def test_masks_are_no_classes(patches: Tensor) -> None:
    assert (
        check(list(zip(patches, patches[:, 0].long(), strict=True)), progress=False).facts.labels
        is None
    )
    assert check((patches[:9], torch.eye(9).long()), progress=False).facts.labels == {
        str(number): 1 for number in range(9)
    }


def test_torchs_own_stream_is_left_alone(patches: Tensor) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check(patches[:3], progress=False)
    assert torch.equal(torch.rand(2), expected)


def test_the_sheet_shows_a_row_for_each_kind(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    result = check(folder / "train", folder / "test", progress=False)
    figure = result.plot(folder / "sheet.png", pairs=2)
    titles = [text.get_text().replace("\n", " ") for text in figure.texts]
    assert titles[:5] == [
        "in the test part too",
        "nearly in the test part",
        "same pixels",
        "nearly the same",
        "nearly empty",
    ]
    assert np.asarray(Image.open(folder / "sheet.png")).std() > 10
    captions = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert captions[:4] == ["07.png\nsame", "same.png\nsame", "06.png\n1.00", "mirrored.png\n1.00"]
    clean = check(folder / "test", progress=False)
    with pytest.raises(ValueError, match="nothing to show"):
        clean.plot()
    with pytest.raises(ValueError, match="pairs must be at least 1, got 0"):
        result.plot(pairs=0)


def test_channels_that_say_nothing_in_some_images_are_counted() -> None:
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    images[:2, 2] = 7
    images[5, 0] = 9
    assert check(images.to(torch.uint8), progress=False).facts.idle == (0.125, 0.0, 0.25)
