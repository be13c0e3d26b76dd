from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data.decoding import count_frames, read_header, read_image
from super_selfish.data.sources import ImageSource, Sample, images_at

GENERATOR = np.random.default_rng(0)


def numbers(*shape: int, dtype: Any = np.uint16) -> NDArray[Any]:
    return GENERATOR.integers(0, 2**15, shape).astype(dtype)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64", ">f4"]
)
@pytest.mark.parametrize("shape", [(32, 40), (5, 32, 40), (32, 40, 13)])
@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("fortran", [False, True])
def test_an_array_in_a_file_is_an_image(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], ending: str, fortran: bool
) -> None:
    array = np.asarray(numbers(*shape, dtype=dtype), order="F" if fortran else "C")
    path = tmp_path / f"1.{ending}"
    if ending == "npy":
        np.save(path, array)
    else:
        np.savez_compressed(path, image=array, label=np.array(3))

    image = read_image(path).numpy()

    expected = array[None] if array.ndim == 2 else array
    if shape[-1] == 13:
        expected = array.transpose(2, 0, 1)
    assert np.array_equal(image, expected)
    assert image.dtype == np.dtype(dtype).newbyteorder("=")
    assert read_header(path) == image.shape
    assert count_frames(path) == (1 if len(shape) == 2 else shape[0])


def test_a_volume_is_frames_or_channels_as_the_user_says(tmp_path: Path) -> None:
    volume = numbers(7, 32, 40)
    np.save(tmp_path / "1.npy", volume)
    frames = ImageSource(tmp_path, pages="frames")
    assert (len(frames), frames.in_channels) == (7, 1)
    item = frames[4]
    assert isinstance(item, Sample) and np.array_equal(item.image.numpy(), volume[4:5])
    assert frames.name(4).endswith("1.npy (page 4)")
    assert ImageSource(tmp_path, pages="channels").in_channels == 7
    assert ImageSource(tmp_path, pages=2).in_channels == 1

    np.save(tmp_path / "1.npy", numbers(7, 32, 40, 3))
    with pytest.raises(ValueError, match="it holds 7 images along its first axis"):
        ImageSource(tmp_path)
    colours = ImageSource(tmp_path, pages="frames")
    assert (len(colours), colours.in_channels) == (7, 3)
    assert ImageSource(tmp_path, pages="channels").in_channels == 21


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize(
    "shape", [(200, 28, 28), (64, 48, 48), (48, 48, 200), (30, 40, 30), (17, 64, 64), (16, 28, 28)]
)
def test_an_axis_that_may_be_channels_or_images_is_refused_until_the_user_says(
    tmp_path: Path, shape: tuple[int, int, int], ending: str
) -> None:
    array = numbers(*shape).astype(np.float32) / 2**15
    path = tmp_path / f"1.{ending}"
    if ending == "npy":
        np.save(path, array)
    else:
        np.savez(path, image=array)
    first, height, width = shape
    choices = rf"pages='frames' \({first} images of {height}x{width}\), pages='channels' \(one"
    readers: list[Callable[[Path], Any]] = [read_header, read_image]
    for read in readers:
        with pytest.raises(
            ValueError, match=rf"shape is \[{first}, {height}, {width}\].*{choices}"
        ):
            read(path)
    for data in (path, tmp_path):  # the file itself, and a folder of such
        with pytest.raises(ValueError, match=choices):
            ImageSource(data)
        frames, memory = ImageSource(data, pages="frames"), ImageSource(array)
        assert (len(frames), frames.in_channels, frames.image_size) == (first, 1, memory.image_size)
        every = list(range(first))
        assert torch.equal(images_at(frames, every), images_at(memory, every))
    assert np.array_equal(read_image(path, pages="channels").numpy(), array)
    assert np.array_equal(read_image(path, pages=1).numpy(), array[1:2])


def test_channels_are_the_first_or_last_axis_where_that_is_clear(tmp_path: Path) -> None:
    path = tmp_path / "1.npy"
    for shape in ((16, 32, 32), (1, 28, 28), (2, 4, 4)):
        array = numbers(*shape)
        for pages in (None, "channels"):
            np.save(path, array)
            assert np.array_equal(read_image(path, pages=pages).numpy(), array)
            np.save(path, array.transpose(1, 2, 0))
            assert np.array_equal(read_image(path, pages=pages).numpy(), array)
    np.save(path, numbers(3, 40, 30, 30))
    with pytest.raises(ValueError, match=r"\[3, 40, 30, 30\], and which axis of each image"):
        ImageSource(path, pages="frames")


def test_arrays_beside_pictures_are_left_out(tmp_path: Path) -> None:
    Image.fromarray(numbers(32, 32, dtype=np.uint8)).save(tmp_path / "1.png")
    np.save(tmp_path / "features.npy", numbers(4))
    with pytest.warns(
        UserWarning, match=r"1 file is left out, since it is no image that is read.*: 1 \.npy"
    ):
        assert len(ImageSource(tmp_path)) == 1


def test_pickles_and_what_is_no_image_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.npy"
    for array, message in (
        (np.array([{"a": 1}], dtype=object), r"must hold real numbers, got object"),
        (np.array(["a"]), "must hold real numbers, got <U1"),
        (np.zeros((4, 4), complex), "must hold real numbers, got complex128"),
        (np.zeros(4), r"must be \[H, W\].*got shape \[4\]"),
        (np.zeros((0, 4)), r"not empty; got shape \[0, 4\]"),
    ):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ValueError, match=message):
            read_image(path)
    np.savez(tmp_path / "2.npz", first=np.zeros((4, 4)), second=np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"the arrays \['first', 'second'\]: name the image's"):
        read_image(tmp_path / "2.npz")


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.npy"
    np.save(path, numbers(32, 40))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(EOFError, match="the array ends early: its header promises 2560 bytes"):
        read_image(path)
    buffer = io.BytesIO()
    header = {"descr": "<u2", "fortran_order": False, "shape": (10**7, 10**7)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path.write_bytes(buffer.getvalue())
    readers: list[Callable[[Path], Any]] = [read_header, read_image, count_frames]
    for read in readers:
        with pytest.raises(EOFError, match="the array ends early"):
            read(path)
