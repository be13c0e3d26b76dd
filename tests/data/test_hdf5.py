from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data.decoding import (
    DECODING_ERRORS,
    count_frames,
    read_bytes,
    read_header,
    read_image,
)
from super_selfish.data.sources import ImageSource, images_at

h5py: Any = pytest.importorskip("h5py")


def numbers(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def written(path: Path, **sets: NDArray[Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in sets.items():
            file[name.replace("_", "/")] = array
    return path


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 16, 16, 3), "compression": "gzip"}])
def test_a_file_is_a_data_set_of_images(options: dict[str, Any], tmp_path: Path) -> None:
    images = numbers(5, 32, 40, 3)
    path = tmp_path / "train.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **options)
        file["labels"] = np.arange(5)
    with pytest.raises(ValueError, match="it holds 5 images along its first axis, and which of"):
        ImageSource(path)
    source = ImageSource(tmp_path, pages="frames")
    assert (len(source), source.in_channels, source.image_size) == (5, 3, (32, 40))
    expected = torch.from_numpy(images.transpose(0, 3, 1, 2))
    assert torch.equal(images_at(source, range(5)), expected)
    assert torch.equal(read_bytes(path.read_bytes(), None, 3), expected[3])


def test_one_image_of_many_is_read_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "1.h5", images=numbers(500, 32, 40, 3))
    asked: list[Any] = []
    whole = h5py.Dataset.__getitem__

    def watched(self: Any, index: Any, **options: Any) -> Any:
        asked.append(index)
        return whole(self, index, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    read_image(path, None, 17)
    assert count_frames(path) == 500 and asked == [17]


def test_a_file_may_be_one_image(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16, np.float32, bool):
        for shape, expected in (((32, 40), (1, 32, 40)), ((12, 32, 40), (12, 32, 40))):
            array = numbers(*shape, dtype=dtype)
            path = written(tmp_path / "1.hdf5", patch=array)
            assert read_header(path) == expected
            assert np.array_equal(read_image(path).numpy(), array.reshape(expected))
    with pytest.raises(ValueError, match=r"\[64, 40, 40\], and whether an axis holds channels"):
        read_image(written(path, patch=numbers(64, 40, 40)))


def test_of_several_data_sets_that_of_the_images_is_found(tmp_path: Path) -> None:
    path, images = tmp_path / "1.h5", numbers(4, 32, 40, 3)
    others = {"label": numbers(4, 17), "boxes": numbers(4, 9, 4), "names": np.array([b"a", b"b"])}
    for sets in (
        {"sen2": images, **others},  # it alone has most axes
        {"train_images": images, "train_masks": numbers(4, 32, 40, 1)},  # it alone is called so
    ):
        assert np.array_equal(read_image(written(path, **sets), None, 2)[0], images[2, :, :, 0])
    for sets, message in (
        ({"sen1": images, "sen2": images}, r"holds the data sets /sen1, /sen2: one data set of"),
        ({"a_images": images, "b_images": images}, r"data sets /a/images, /b/images: one"),
        ({f"scene{number}": images[0] for number in range(101)}, r"more than 100 data sets"),
        ({"labels": np.arange(4)}, "none of its data sets can be images"),
        ({"images": images * 1j}, "none of its data sets can be images"),
    ):
        with pytest.raises(ValueError, match=message):
            read_image(written(path, **sets))


def test_arrays_beside_pictures_are_left_out(tmp_path: Path) -> None:
    Image.fromarray(numbers(32, 40)).save(tmp_path / "1.png")
    written(tmp_path / "features.h5", features=numbers(4, 4))
    with pytest.warns(UserWarning, match=r"1 file is left out.*: 1 \.h5; a loader= of your own"):
        assert len(ImageSource(tmp_path)) == 1


def test_a_missing_package_is_named_when_a_source_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "1.h5", images=numbers(32, 40))
    monkeypatch.setitem(sys.modules, "h5py", None)
    install = r"pip install 'super-selfish\[hdf5\]'"
    with pytest.raises(ModuleNotFoundError, match=rf"1\.h5 is HDF5, which h5py reads: {install}"):
        ImageSource(path)
    with pytest.raises(
        ValueError, match=rf"no image in .*1 \.h5, which a .*; {install} reads \.h5"
    ):
        ImageSource(tmp_path)


# Strangers' files


def test_no_hdf5_file_leads_to_another(tmp_path: Path) -> None:
    secret, path = written(tmp_path / "secret.h5", images=numbers(4, 32, 40)), tmp_path / "1.h5"
    raw = tmp_path / "raw"
    raw.write_bytes(secret.read_bytes())
    with h5py.File(path, "w") as file:
        file["images"] = h5py.ExternalLink("secret.h5", "images")
        file["image"] = h5py.SoftLink("/images")
    with pytest.raises(ValueError, match="none of its data sets can be images"):
        read_image(path, None, 0)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (32, 40), "u1", external=[(str(raw), 0, 32 * 40)])
    with pytest.raises(ValueError, match="data set /images lies in other files, which are not"):
        read_image(path)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((4, 32, 40), "i8")
        layout[:] = h5py.VirtualSource(str(secret), "images", (4, 32, 40))
        file.create_virtual_dataset("images", layout)
    with pytest.raises(ValueError, match="data set /images lies in other files, which are not"):
        read_image(path, None, 0)


def test_no_hdf5_file_takes_more_memory_than_it_is_long(tmp_path: Path) -> None:
    path = tmp_path / "1.h5"
    for shape, chunks, message in (
        ((2**40, 32, 32), (1, 32, 32), "promises 1,099,511,627,776 images"),
        ((2**16, 2**16), (32, 32), r"promises an image of 4\.3 GB"),
        ((4, 2**15, 2**15), (1, 2**15, 2**15), r"promises an image of 1\.1 GB"),
        ((16, 32, 32), (2**20, 32, 32), r"promises an image of 1\.1 GB"),
    ):
        with h5py.File(path, "w") as file:
            limits = (None, *shape[1:])  # else a chunk is no longer than the whole
            file.create_dataset("images", shape, "u1", chunks=chunks, maxshape=limits)
        with pytest.raises(ValueError, match=message):
            read_image(path, None, 0 if len(shape) == 3 else None)


def test_groups_that_hold_one_another_end_the_search(tmp_path: Path) -> None:
    path = tmp_path / "1.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("a").create_group("b")
        group["a"] = file["a"]
        group["root"] = file["/"]
        group["images"] = numbers(32, 40)
    assert np.array_equal(read_image(path)[0].numpy(), numbers(32, 40))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DECODING_ERRORS):
        read_image(path)
