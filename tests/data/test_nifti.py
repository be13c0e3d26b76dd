from __future__ import annotations

import gzip
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data.decoding import count_frames, read_bytes, read_header, read_image
from super_selfish.data.sources import ImageSource, Sample

nibabel: Any = pytest.importorskip("nibabel")
RIGHT, FRONT, HEAD = 36, 34, 33  # of a volume whose axes lead to the right, the front, the head


def numbers(*shape: int, dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 2000, shape).astype(dtype)


def written(path: Path, volume: NDArray[Any], *scale: float, kind: str = "Nifti1Image") -> Path:
    image = getattr(nibabel, kind)(volume, np.eye(4), dtype=volume.dtype)
    if scale:
        image.header.set_slope_inter(*scale)
    nibabel.save(image, path)
    return path


def read(path: Path, pages: Any = None) -> NDArray[Any]:
    """The image, which has the shape that the header promises."""
    image = read_image(path, None, pages)
    assert read_header(path, pages) == tuple(image.shape)
    return image.numpy()


# Which side is up


def seen(volume: NDArray[Any], axis: int) -> NDArray[Any]:
    """Slices across an axis as on a screen: the head or front up; the right or front to the left.

    That is along the other two axes from their far ends, the later of them downwards.
    """
    far = np.flip(volume, tuple(other for other in range(3) if other != axis))
    slices = np.moveaxis(far, axis, 0)  # the earlier of the other axes, then the later
    return slices.transpose(0, 2, 1)


@pytest.mark.parametrize("across", [0, 1, 2])
def test_slices_are_seen_alike_however_they_are_stored(across: int, tmp_path: Path) -> None:
    volume = numbers(RIGHT, FRONT, HEAD)
    expected = seen(volume, across)
    image = nibabel.Nifti1Image(volume, np.eye(4))
    path = tmp_path / "1.nii"
    others = [axis for axis in range(3) if axis != across]
    for flips, order in itertools.product(
        itertools.product((-1, 1), repeat=3), (others, others[::-1])
    ):
        # Of each axis of the volume: as which it is stored, and which way.
        place = {axis: number for number, axis in enumerate([*order, across])}
        stored = image.as_reoriented([[place[axis], flips[axis]] for axis in range(3)])
        nibabel.save(stored, path)
        assert np.array_equal(read(path, "channels"), expected)
    middle = np.array([10, 20, 5])  # a point of the patient is where it belongs
    slice_number, (row, column) = (
        middle[across],
        [volume.shape[axis] - 1 - middle[axis] for axis in others[::-1]],
    )
    assert read(path, int(slice_number))[0, row, column] == volume[tuple(middle)]


def test_a_tilted_scan_is_seen_as_the_straight_one_that_is_nearest(tmp_path: Path) -> None:
    angle = np.deg2rad(20)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilt[:3, :3] *= (0.5, 0.5, 3)  # millimetres
    volume = numbers(RIGHT, FRONT, HEAD)
    nibabel.save(nibabel.Nifti1Image(volume, tilt), tmp_path / "1.nii")
    assert np.array_equal(read(tmp_path / "1.nii", "channels"), seen(volume, 2))


# What a file holds


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_slices_are_images(ending: str, kind: str, tmp_path: Path) -> None:
    volume = numbers(RIGHT, FRONT, HEAD)
    path = written(tmp_path / f"1{ending}", volume, kind=kind)
    with pytest.raises(ValueError, match="it holds 33 slices, and which of them is the image"):
        ImageSource(path)
    source = ImageSource(tmp_path, pages="frames", value_range=(0, 2000))
    assert (len(source), source.in_channels, source.image_size) == (HEAD, 1, (FRONT, RIGHT))
    item = source[7]
    expected = seen(volume, 2)[7] / 2000
    assert isinstance(item, Sample) and np.allclose(item.image[0].numpy(), expected)
    assert np.array_equal(read_bytes(path.read_bytes(), None, 7).numpy(), read(path, 7))


def test_numbers_are_rescaled(tmp_path: Path) -> None:
    volume = numbers(RIGHT, FRONT, HEAD)
    path = written(tmp_path / "1.nii.gz", volume, 0.5, -1024)
    image = read(path, "channels")
    assert image.dtype == np.float32
    assert np.array_equal(image, seen(volume, 2).astype(np.float32) / 2 - 1024)
    # Of one kind in every file, unless they are pictures.
    for dtype, given in ((np.float64, np.float32), (np.int16, np.float32), (np.uint8, np.uint8)):
        assert read(written(path, volume.astype(dtype)), 0).dtype == given


def test_colours_are_channels(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (RIGHT, FRONT, 4, 3), dtype=np.uint8)
    packed = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(packed, np.eye(4)), tmp_path / "1.nii")
    expected = [seen(colours[..., channel], 2)[2] for channel in range(3)]
    assert np.array_equal(read(tmp_path / "1.nii", 2), expected)


def test_volumes_of_a_file_follow_one_another(tmp_path: Path) -> None:
    volumes = numbers(RIGHT, FRONT, 3, 2)
    path = written(tmp_path / "1.nii", volumes)
    assert count_frames(path) == 6
    expected = np.concatenate([seen(volumes[..., number], 2) for number in range(2)])
    assert np.array_equal(read(path, "channels"), expected)
    flat = written(path, numbers(RIGHT, FRONT))  # one slice
    assert np.array_equal(read(flat)[0], numbers(RIGHT, FRONT)[::-1, ::-1].T)
    same = written(path, numbers(RIGHT, FRONT, 3, 1, 1))
    assert np.array_equal(read(same, 1)[0], seen(numbers(RIGHT, FRONT, 3), 2)[1])
    with pytest.raises(ValueError, match=r"its shape is \[36, 34, 1, 1, 3\]: two to four axes"):
        read_image(written(path, numbers(RIGHT, FRONT, 1, 1, 3)))
    with pytest.raises(ValueError, match=r"its numbers are complex64, which no image holds"):
        read_image(written(path, numbers(RIGHT, FRONT, 3).astype(np.complex64)))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_volumes_of_a_file_are_channels_of_its_slices(ending: str, tmp_path: Path) -> None:
    volumes = numbers(RIGHT, FRONT, 3, 4)  # such as T1, T2, FLAIR and T1 with contrast
    path = written(tmp_path / f"1{ending}", volumes, 0.5, -3)
    source = ImageSource(tmp_path, pages="slices", value_range=(-3, 1000))
    assert (len(source), source.in_channels, source.image_size) == (3, 4, (FRONT, RIGHT))
    expected = np.stack([seen(volumes[..., number], 2) for number in range(4)], axis=1) / 2 - 3
    for place in range(3):
        item = source[place]
        assert isinstance(item, Sample)
        assert np.allclose(item.image.numpy(), (expected[place] + 3) / 1003, atol=1e-6)
    assert source.name(1) == f"{path} (page 1)"
    # One volume is one channel, and what says less than a file is as before.
    written(path, volumes[..., 0])
    source = ImageSource(path, pages="slices", value_range=(0, 2000))
    assert (len(source), source.in_channels) == (3, 1)
    assert np.array_equal(read(path, 2), read(path, "channels")[2:])


def test_slices_are_of_nifti_and_of_files_alone(tmp_path: Path) -> None:
    Image.fromarray(numbers(32, 40, dtype=np.uint8)).save(tmp_path / "1.png")
    with pytest.raises(
        ValueError, match=r"1\.png \(page 0\): .*pages='slices' is for the slices of NIfTI"
    ):
        ImageSource(tmp_path, pages="slices")
    with pytest.raises(ValueError, match="pages='slices' is for files of several images"):
        ImageSource(numbers(4, 32, 40, dtype=np.uint8), pages="slices")
    colours = np.zeros((RIGHT, FRONT, 4, 2, 3), np.uint8)
    packed = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(packed, np.eye(4)), tmp_path / "1.nii")
    with pytest.raises(ValueError, match="its volumes have colours, and cannot be channels"):
        ImageSource(tmp_path / "1.nii", pages="slices")


def test_one_slice_is_read_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "1.nii", numbers(RIGHT, FRONT, HEAD))
    lengths: list[int] = []
    whole = nibabel.fileslice.fileslice

    def watched(file: Any, *arguments: Any, **options: Any) -> Any:
        given = file.read

        def counted(size: int) -> Any:
            lengths.append(size)
            return given(size)

        monkeypatch.setattr(file, "read", counted, raising=False)
        return whole(file, *arguments, **options)

    monkeypatch.setattr(nibabel.arrayproxy, "fileslice", watched)
    assert np.array_equal(read(path, 5)[0], seen(numbers(RIGHT, FRONT, HEAD), 2)[5])
    assert lengths == [RIGHT * FRONT * 2]


# Files that are not what they should be


def test_a_missing_package_is_named_when_a_source_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "1.nii.gz", numbers(RIGHT, FRONT, 3))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    install = r"pip install 'super-selfish\[nifti\]'"
    with pytest.raises(ModuleNotFoundError, match=rf"1\.nii\.gz is NIfTI, .*nibabel.*: {install}"):
        ImageSource(path, pages="frames")
    Image.fromarray(numbers(32, 40, dtype=np.uint8)).save(tmp_path / "2.png")
    with pytest.warns(UserWarning, match=rf"^1 file is .*: 1 \.nii\.gz; .*; {install} reads \.nii"):
        assert len(ImageSource(tmp_path)) == 1


def test_no_volume_takes_more_memory_than_its_file_is_long(tmp_path: Path) -> None:
    path = written(tmp_path / "1.nii", numbers(RIGHT, FRONT, 3))
    content = bytearray(path.read_bytes())
    content[40:48] = np.array([3, 1, 1, 32767], "<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="promises 32,767 images"):
        count_frames(path)
    content[40:48] = np.array([3, 32767, 32767, 1], "<i2").tobytes()
    path.write_bytes(content)
    with pytest.raises(EOFError, match="the volume ends early: its header promises 2,147,352,930"):
        read_image(path)
    packed = tmp_path / "1.nii.gz"
    packed.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"promises an image of 2\.1 GB"):
        read_image(packed)
    content = bytearray(written(path, numbers(RIGHT, FRONT, 3)).read_bytes())
    content[108:112] = np.float32(2**30).tobytes()  # where the numbers begin, after extensions
    content[348:356] = b"\1\0\0\0" + np.uint32(2**30 - 352).tobytes()
    packed.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"promises an image of 1\.1 GB"):
        read_image(packed)
    packed.write_bytes(gzip.compress(b"text" * 200))
    with pytest.raises(ValueError, match="nibabel cannot read it"):
        read_image(packed)
