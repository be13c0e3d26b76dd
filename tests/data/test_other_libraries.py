"""Items as torchvision, Hugging Face, TorchGeo and MONAI give them go in as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.datasets import FakeData
from torchvision.tv_tensors import Image as ImageTensor

from super_selfish.data import ImageSource, SampledItems, as_source
from super_selfish.data.sources import labels_of
from super_selfish.supervisors import RotateNetSupervisor
from tests.data.standing_in import (
    Compose,
    EnsureChannelFirstd,
    GridGeoSampler,
    ListDataset,
    LoadImaged,
    MetaTensor,
    NonGeoDataset,
    RasterDataset,
    folder_of_pictures,
)


def first(source: ImageSource) -> Any:
    sample: Any = source[0]
    assert type(sample.image) is Tensor and type(sample.label) in (Tensor, type(None))
    return sample


def test_scenes_of_torchgeo_and_their_labels() -> None:
    data = NonGeoDataset()
    with pytest.raises(ValueError, match=r"float images must lie in \[0, 1\].*value_range="):
        ImageSource(data)
    source = ImageSource(data, value_range=(0, 8000))
    assert (len(source), source.in_channels, source.image_size) == (16, 13, (64, 64))
    assert torch.allclose(first(source).image, data[0]["image"] / 8000)
    assert labels_of(source).tolist() == [0, 1] * 8  # type: ignore[union-attr]


def test_masks_of_torchgeo_are_labels() -> None:
    source = ImageSource(NonGeoDataset(is_masked=True), value_range="percentile")
    assert torch.equal(first(source).label, NonGeoDataset(is_masked=True)[0]["mask"])
    assert labels_of(source).shape == (16, 64, 64)  # type: ignore[union-attr]


def test_a_map_of_the_globe_needs_a_sampler() -> None:
    globe = RasterDataset()
    with pytest.raises(TypeError, match=r"a RasterDataset of TorchGeo is asked by places, .*Sampl"):
        as_source(globe)
    patches = SampledItems(globe, GridGeoSampler(globe, size=32, stride=32))
    source = as_source(patches, value_range=(0, 4000))
    assert (len(source), source.in_channels, source.image_size) == (9, 4, (32, 32))
    last: Any = source[8]
    assert torch.allclose(last.image, globe.image[:, 64:, 64:] / 4000) and last.label is None


def test_metatensors_of_monai_are_taken_as_numbers(tmp_path: Path) -> None:
    paths = folder_of_pictures(tmp_path)
    read = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])
    data = ListDataset([{"image": path, "label": k % 2} for k, path in enumerate(paths)], read)
    assert type(data[0]["image"]) is MetaTensor and data[0]["image"].meta
    source = ImageSource(data, value_range=(0, 255))
    assert (len(source), source.image_size) == (8, (32, 40))  # width first
    picture = np.array(Image.open(paths[0]), np.float32).transpose(2, 1, 0) / 255
    assert np.allclose(first(source).image.numpy(), picture)
    supervisor = RotateNetSupervisor(data, "narrow-resnet", value_range=(0, 255))
    supervisor.supervise(epochs=1, batch_size=4, name=None, progress=False)
    # Labels too, such as masks, and whole sets in one.
    mask = as_meta(torch.ones(32, 32, dtype=torch.int64))
    masks = ListDataset([{"image": torch.rand(3, 32, 32), "label": mask}] * 4)
    assert first(ImageSource(masks)).label.shape == (32, 32)
    whole = ImageSource(as_meta(torch.rand(4, 3, 32, 32)))
    assert first(whole).image.shape == (3, 32, 32)


def as_meta(tensor: Tensor) -> MetaTensor:
    found = tensor.as_subclass(MetaTensor)
    found.meta = {}
    return found


def test_pictures_and_tensors_of_torchvision() -> None:
    data = FakeData(4, (3, 40, 48), num_classes=3)
    source = ImageSource(data)
    assert (len(source), source.image_size) == (4, (40, 48))
    assert np.array_equal(first(source).image.permute(1, 2, 0), np.asarray(data[0][0]))
    known = labels_of(source)
    assert known is not None and known.tolist() == [data[index][1] for index in range(4)]
    kinds = [(ImageTensor(torch.rand(3, 32, 32)), 1) for _ in range(4)]
    sample = first(ImageSource(kinds))
    assert sample.label == 1 and type(default_collate([sample.image])) is Tensor


@pytest.mark.parametrize("format", [None, "torch", "numpy"])
def test_pictures_of_hugging_face(format: str | None, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        folder_of_pictures(tmp_path / name, 4)
    data = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache")
    )["train"].with_format(format)
    source = ImageSource(data)
    assert (len(source), source.image_size, source.in_channels) == (8, (40, 32), 3)
    assert first(source).image.dtype == torch.uint8
    assert labels_of(source).tolist() == [0] * 4 + [1] * 4  # type: ignore[union-attr]
    assert source.classes == (["cat", "dog"] if format is None else None)
