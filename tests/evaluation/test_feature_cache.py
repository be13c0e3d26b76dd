from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset

from super_selfish.evaluation import evaluate
from super_selfish.evaluation.feature_cache import FeatureCache, _checked
from super_selfish.evaluation.features import Features, open_data


class Counting(nn.Module):
    """Counts the images it is shown."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return self.get_buffer("scale") * images.mean(dim=3).flatten(1)


def labelled(images: Tensor) -> tuple[Tensor, Tensor]:
    return images, torch.arange(len(images)) % 2


def test_a_second_evaluation_computes_nothing(images: Tensor, tmp_path: Path) -> None:
    train, test = labelled(images), labelled(images.flip(3))
    first, second = Counting(), Counting()
    expected = evaluate(first, train, test, untrained=None, cache=tmp_path / "features")
    again = evaluate(second, train, test, untrained=None, cache=tmp_path / "features")
    assert (first.seen, second.seen) == (44, 0)
    assert again == expected
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_other_weights_images_labels_and_preprocessing_have_other_files(
    images: Tensor, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    changed = images.clone()
    changed[3, 0, 0, 0] += 1
    plain = open_data(labelled(images))
    paths = [
        cache.path(Counting(), plain, None),
        cache.path(Counting(2.0), plain, None),
        cache.path(Counting(), plain, nn.Identity()),
        cache.path(Counting(), open_data(labelled(changed)), None),
        cache.path(Counting(), open_data((images, torch.zeros(22, dtype=torch.int64))), None),
        cache.path(Counting(), open_data(labelled(images), 40), None),
    ]
    assert len(set(paths)) == len(paths)
    assert cache.path(Counting(), open_data(labelled(images)), None) == paths[0]


def test_parts_of_one_data_set_have_files_of_their_own(images: Tensor, tmp_path: Path) -> None:
    images = images.repeat(2, 1, 1, 1)  # both halves look the same, but for one image
    images[22 + 3, 0, 0, 0] += 1
    whole = TensorDataset(*labelled(images))
    paths = {
        FeatureCache(tmp_path).path(Counting(), open_data(Subset(whole, part)), None)
        for part in (range(22), range(22, 44))
    }
    assert len(paths) == 2


def test_a_file_that_changed_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "a"
    folder.mkdir(parents=True)
    for number in range(40):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number:02}.png")
    cache = FeatureCache(tmp_path / "features")
    before = cache.path(Counting(), open_data(tmp_path / "images"), None)
    Image.new("RGB", (32, 32), (200, 100, 30)).save(folder / "01.png")
    assert cache.path(Counting(), open_data(tmp_path / "images"), None) != before


@pytest.mark.parametrize("content", ["half", "text", "other", "nan", "fewer labels", "no tensor"])
def test_a_file_that_is_broken_or_holds_something_else_is_computed_anew(
    images: Tensor, tmp_path: Path, content: str
) -> None:
    train, test = labelled(images), labelled(images.flip(3))
    expected = evaluate(Counting(), train, test, untrained=None, cache=tmp_path)
    for path in tmp_path.iterdir():
        features = {"features": torch.zeros(22, 5), "labels": torch.zeros(22, dtype=torch.int64)}
        if content == "half":
            path.write_bytes(path.read_bytes()[:-300])
            continue
        if content == "text":
            path.write_text("features")
            continue
        wrong: dict[str, dict[str, object]] = {
            "other": {"features": torch.zeros(22)},
            "nan": {"features": torch.full((22, 5), torch.nan)},
            "fewer labels": {"labels": torch.zeros(21, dtype=torch.int64)},
            "no tensor": {"features": [1.0]},
        }
        torch.save({"format": 1, **features, **wrong[content]}, path)
    network = Counting()
    with pytest.warns(UserWarning, match=r"features-.*\.pt is of no use, .* computed anew"):
        assert evaluate(network, train, test, untrained=None, cache=tmp_path) == expected
    assert network.seen == 44
    assert evaluate(Counting(), train, test, untrained=None, cache=tmp_path) == expected


def test_no_flipped_bit_ever_gives_other_features(images: Tensor, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    features = Features(torch.rand(22, 5), torch.arange(22))
    path = tmp_path / "features.pt"
    cache.write(path, features)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    noticed = 0
    for _ in range(150):
        data = bytearray(whole)
        position, bit = (int(torch.randint(n, (), generator=generator)) for n in (len(data), 8))
        data[position] ^= 1 << bit
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* is of no use, features are computed anew")
            found = cache.read(path)
        noticed += found is None
        if found is not None:
            assert torch.equal(found.features, features.features)
            assert found.labels is not None and torch.equal(found.labels, torch.arange(22))
    assert noticed > 50


def test_data_without_labels_are_refused_from_the_cache_too(images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the test part has no labels"):
        evaluate(Counting(), labelled(images), images, untrained=None, cache=tmp_path)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.zeros(2, 3), None, None),
        (torch.zeros(2, 3), torch.tensor([0, 1]), None),
        (torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.int64), None),
        (torch.zeros(2), None, "no finite features"),
        (torch.zeros(2, 3, dtype=torch.float64), None, "no finite features"),
        (torch.tensor([[0.0, float("nan")]]), None, "no finite features"),
        (torch.zeros(3, 2).T, None, "no finite features"),
        ([[0.0]], None, "no finite features"),
        (torch.zeros(2, 3), torch.zeros(2), "no labels of whole numbers"),
        (torch.zeros(2, 3), torch.zeros(2, 1, 1, dtype=torch.int64), "no labels of whole numbers"),
        (torch.zeros(2, 3), [0, 1], "no labels of whole numbers"),
        (torch.zeros(2, 3), torch.tensor([0, 1, 2]), "2 features, but 3 labels"),
    ],
)
def test_a_file_holds_features_with_labels_or_is_of_no_use(
    features: object, labels: object, message: str | None
) -> None:
    if message is None:
        found = _checked(features, labels)
        assert found.features is features and found.labels is labels
    else:
        with pytest.raises(ValueError, match=message):
            _checked(features, labels)
