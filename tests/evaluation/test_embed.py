from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset
from torchvision.datasets import ImageFolder

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.embed import embed
from super_selfish.evaluation.features import extract_features
from super_selfish.supervisors import RotateNetSupervisor

Backbones = Callable[..., nn.Module]


@pytest.fixture
def folder(tmp_path: Path, images: Tensor) -> Path:
    """Six images in two classes; a name with a comma, one with quotes, one that is not ASCII."""
    names = ["ant/a.png", "ant/b, c.png", 'ant/"d".png', "bée/e.png", "bée/f.png", "bée/g.png"]
    for name, image in zip(names, images, strict=False):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "photos"


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def test_npz_holds_features_names_and_labels_of_a_folder(
    tmp_path: Path, folder: Path, tiny_backbone: Backbones
) -> None:
    embed(tiny_backbone(), folder, tmp_path / "out" / "features.npz", batch_size=4)
    stored = np.load(tmp_path / "out" / "features.npz", allow_pickle=False)
    expected = extract_features(tiny_backbone(), folder, batch_size=4)
    assert expected.labels is not None
    assert stored["features"].dtype == np.float32
    assert np.array_equal(stored["features"], expected.features.numpy())
    assert stored["labels"].tolist() == expected.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert stored["classes"].tolist() == ["ant", "bée"]
    assert stored["names"].tolist() == ImageSource(folder).items.files
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "features.npz"]


def test_csv_gives_the_same_numbers_again(
    tmp_path: Path, folder: Path, tiny_backbone: Backbones
) -> None:
    written = embed(tiny_backbone(), folder, tmp_path / "features.csv")
    header, rows = read_csv(tmp_path / "features.csv")
    assert header == ["name", "label", *(f"f{column}" for column in range(16))]
    assert [row[0] for row in rows] == ImageSource(folder).items.files
    assert [int(row[1]) for row in rows] == [0, 0, 0, 1, 1, 1]
    numbers = np.array([row[2:] for row in rows], dtype=np.float64).astype(np.float32)
    assert np.array_equal(numbers, written.features.numpy())


def test_a_path_without_ending_gives_both(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    embed(tiny_backbone(), images, tmp_path / "features")
    assert {path.name for path in tmp_path.iterdir()} == {"features.npz", "features.csv"}


def test_images_without_files_are_numbered(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    embedding = embed(tiny_backbone(), images, tmp_path / "features")
    assert embedding.names == [str(position) for position in range(22)]
    assert embedding.labels is None
    stored = np.load(tmp_path / "features.npz", allow_pickle=False)
    assert set(stored) == {"features", "names"}
    assert read_csv(tmp_path / "features.csv")[0][:2] == ["name", "f0"]


def test_unreadable_images_are_missing_from_both(
    tmp_path: Path, folder: Path, tiny_backbone: Backbones
) -> None:
    broken = folder / "ant" / "b, c.png"
    broken.write_bytes(b"no image")
    source = ImageSource(folder, on_error="skip")
    with pytest.warns(UserWarning, match="1 image left out"):
        embed(tiny_backbone(), source, tmp_path / "features", batch_size=2)
    stored = np.load(tmp_path / "features.npz", allow_pickle=False)
    _, rows = read_csv(tmp_path / "features.csv")
    expected = [name for name in source.items.files if name != str(broken)]
    assert stored["names"].tolist() == [row[0] for row in rows] == expected
    assert stored["labels"].tolist() == [int(row[1]) for row in rows] == [0, 0, 1, 1, 1]
    assert len(stored["features"]) == 5
    rest = extract_features(tiny_backbone(), expected)
    assert np.allclose(stored["features"], rest.features.numpy(), atol=1e-6)


def test_labels_apart_from_the_images_are_kept(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    labels = list(range(22))
    embedding = embed(tiny_backbone(), (images, labels), tmp_path / "features.npz")
    assert embedding.labels is not None
    assert embedding.labels.tolist() == labels


def test_several_labels_an_image_get_a_column_each(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    labels = torch.stack([torch.arange(22) % 2, torch.arange(22) % 3 // 2], dim=1)
    embed(tiny_backbone(), TensorDataset(images, labels), tmp_path / "features.csv")
    header, rows = read_csv(tmp_path / "features.csv")
    assert header[:4] == ["name", "label0", "label1", "f0"]
    assert [[int(value) for value in row[1:3]] for row in rows] == labels.tolist()


def test_a_supervisor_brings_its_preprocessing_and_size(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = RotateNetSupervisor(
        backbone=tiny_backbone(), image_size=48, in_channels=3, normalize="imagenet"
    )
    embedding = embed(supervisor, images, tmp_path / "features.npz")
    expected = extract_features(
        supervisor.get_backbone(), images, image_size=48, preprocess=supervisor.preprocess
    )
    assert torch.equal(embedding.features, expected.features)
    with pytest.raises(ValueError, match="has its own preprocess"):
        embed(supervisor, images, tmp_path / "features.npz", preprocess=nn.Identity())


def test_another_ending_is_refused_before_anything_is_computed(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    with pytest.raises(ValueError, match=r"ends in \.npz or \.csv"):
        embed(tiny_backbone(5), images, tmp_path / "features.parquet")


def test_files_are_named_through_subsets(
    tmp_path: Path, folder: Path, tiny_backbone: Backbones
) -> None:
    whole = ImageFolder(str(folder))
    some = Subset(Subset(whole, [5, 3, 0]), [0, 2])
    embedding = embed(tiny_backbone(), some, tmp_path / "features.npz")
    assert embedding.names == [whole.samples[5][0], whole.samples[0][0]]
    assert embedding.labels is not None
    assert embedding.labels.tolist() == [1, 0]


def test_images_of_a_part_of_the_data_keep_their_numbers(
    tmp_path: Path, images: Tensor, tiny_backbone: Backbones
) -> None:
    part = ImageSource(images).subset([7, 2])
    assert embed(tiny_backbone(), part, tmp_path / "features.npz").names == ["7", "2"]
