from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data import regular
from super_selfish.data.decoding import DECODING_ERRORS, read_header, read_image
from super_selfish.data.files import FileList
from super_selfish.data.sources import ImageSource, Sample, Unreadable, labels_of

NAMES = ("a/1.png", "a/deep/2.png", "b/3.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images in two classes, each of a shade of its own."""
    root = tmp_path / "images"
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.tile(np.arange(32, dtype=np.uint8) * 7 + number, (32, 1))
        Image.fromarray(pixels).save(root / name)
    return root


def shades(source: ImageSource) -> list[int]:
    return [int(source[i].image[0, 0, 0]) for i in range(len(source))]  # type: ignore[union-attr]


# A folder and its equals


def test_a_pattern_is_as_good_as_its_folder(folder: Path) -> None:
    source = ImageSource(f"{folder}/**/*.png")
    assert shades(source) == [0, 1, 2]
    assert source.classes == ["a", "b"]
    labels = labels_of(source)
    assert labels is not None and labels.tolist() == [0, 0, 1]
    assert shades(ImageSource(folder / "a" / "*.png")) == [0]
    assert shades(ImageSource(f"{folder}/*/**/[12].png")) == [0, 1]
    assert shades(ImageSource(f"{folder}/**")) == [0, 1, 2]
    assert shades(ImageSource(f"{folder}/**/deep/*")) == [1]
    (folder / "a" / "again").symlink_to(folder, target_is_directory=True)
    assert shades(ImageSource(f"{folder}/**/*.png")) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"no image in files that match '.*\*\.bmp'"):
        ImageSource(f"{folder}/*/*.bmp")


def test_a_generator_of_paths_is_as_good_as_their_folder(folder: Path) -> None:
    assert shades(ImageSource(folder.rglob("*.png"))) == [0, 1, 2]
    backwards: Iterator[Path] = (folder / name for name in reversed(NAMES))
    assert shades(ImageSource(backwards)) == [0, 1, 2]
    assert shades(ImageSource(map(str, folder.rglob("*.png")))) == [0, 1, 2]
    with pytest.raises(ValueError, match="empty dataset"):
        ImageSource(folder.glob("*.bmp"))
    with pytest.raises(TypeError, match=r"generator is taken as one of paths.* but it gives a int"):
        ImageSource(iter([1, 2]))


def test_a_file_is_a_source_and_the_tilde_is_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert shades(ImageSource("~/b/3.png")) == [2]
    assert shades(ImageSource("~/a")) == [0, 1]
    assert shades(ImageSource(Path("~/a/*.png"))) == [0]
    assert shades(ImageSource(["~/b/3.png", Path("~/a/1.png")])) == [2, 0]


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(folder: Path) -> None:
    odd = folder.rename(folder.parent / "run [1]")
    assert shades(ImageSource(odd)) == [0, 1, 2]


# What is left out


def test_files_left_out_are_counted_in_one_line(folder: Path) -> None:
    others = ("1.jp2", "2.JP2", "a/3.czi", "film.mp4", "IM0001", "scan.mrc", "a.svs", "b.xyz")
    for name in (*others, "labels.csv", "README", "a/notes.txt", ".hidden.dcm"):
        (folder / name).write_bytes(b"x")
    with pytest.warns(UserWarning) as warned:
        source = ImageSource(folder)
    (message,) = [str(warning.message) for warning in warned]
    assert len(source) == 3
    assert message.startswith("8 files are left out, since they are no images that are read here: ")
    assert "2 .jp2" in message and "and 2 more kinds" in message and "loader=" in message


def test_a_folder_without_images_says_what_lies_there(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.svs").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no image in .*there are 3 \.svs, which a loader= could"):
        ImageSource(tmp_path)


# A reader of the user's own


def load(path: str) -> Any:
    """Reads what is in no format at all."""
    return np.frombuffer(Path(path).read_bytes(), np.uint16).reshape(2, 32, 40)


def test_a_loader_reads_what_this_library_does_not(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 65536, (3, 2, 32, 40), dtype=np.uint16)
    for number in range(3):
        (tmp_path / f"{number}.raw").write_bytes(planes[number].tobytes())
    (tmp_path / "notes.txt").write_text("no image")

    source = ImageSource(tmp_path, loader=load)

    assert (len(source), source.in_channels, source.image_size) == (3, 2, (32, 40))
    item = source[1]
    assert isinstance(item, Sample) and np.array_equal(item.image.numpy(), planes[1])
    (tmp_path / "1.raw").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"cannot read image .*1\.raw: ValueError: cannot reshape"):
        source[1]
    skipping = ImageSource(tmp_path, loader=load, on_error="skip")
    assert isinstance(skipping[1], Unreadable)
    with pytest.raises(ValueError, match="loader= reads files, but the data are a tensor"):
        ImageSource(torch.zeros(2, 3, 32, 32), loader=load)


def test_whatever_a_loader_raises_names_the_file_and_can_be_skipped(folder: Path) -> None:
    class Odd(Exception):
        pass

    def broken(path: str) -> Any:
        if path.endswith("2.png"):
            raise Odd("no such tag")
        return None if path.endswith("3.png") else Image.open(path)

    with pytest.raises(ValueError, match=r"2\.png: Odd: no such tag"):
        ImageSource(folder, loader=broken)
    source = ImageSource(folder, loader=broken, on_error="skip")
    assert [type(source[i]) for i in range(3)] == [Sample, Unreadable, Unreadable]
    assert source[2].reason == "ValueError: the loader gave None"  # type: ignore[union-attr]


def test_pages_are_refused_where_there_are_no_files() -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"pages='channels' is for files of several images"):
        ImageSource(images, pages="channels")
    with pytest.raises(ValueError, match=r"pages must be 'channels' .* got 'all'"):
        ImageSource(images, pages="all")  # type: ignore[arg-type]


# None, where a dataset has nothing to give


@pytest.mark.parametrize("empty", [None, (None, 1), {"image": None}])
def test_an_item_that_is_none_is_an_unreadable_one(empty: Any) -> None:
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    items = [(image, 0), (image, 1), empty]
    with pytest.raises(ValueError, match=r"item 2: .*None instead of an image.*on_error='skip'"):
        ImageSource(items)
    source = ImageSource(items, on_error="skip")
    assert isinstance(source[1], Sample)
    assert source[2] == Unreadable(2, "item 2", "ValueError: " + NONE)


NONE = "the dataset gives None instead of an image"


# Strangers' files


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe, link, bound = (tmp_path / f"{name}.jpg" for name in ("pipe", "link", "bound"))
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    (tmp_path / "linked.png").symlink_to(pipe)
    (tmp_path / "folder.png").mkdir()
    server = socket.socket(socket.AF_UNIX)
    short = os.path.relpath(bound)  # the system allows a hundred characters
    server.bind(short if len(short) < len(str(bound)) else str(bound))
    kinds = {
        pipe: "a pipe",
        link: "a device",
        bound: "a socket",
        tmp_path / "linked.png": "a pipe",
        tmp_path / "folder.png": "a folder",
    }
    try:
        for path, kind in kinds.items():
            for reader in (read_image, read_header):
                with pytest.raises(OSError, match=f"expected a regular file, but it is {kind}"):
                    reader(path)
    finally:
        server.close()
    with pytest.raises(OSError, match=r"pipe\.jpg: OSError: expected a regular file"):
        ImageSource([pipe])
    with pytest.raises(OSError, match=r"pipe\.jpg: OSError: expected a regular file"):
        ImageSource([pipe], loader=load)


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b""])
def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "1.jpg"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(2**40)
    with pytest.raises(DECODING_ERRORS):
        read_image(path)
    with pytest.raises(DECODING_ERRORS):
        read_header(path)


def test_images_that_would_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "1.npy", np.zeros((64, 64), np.uint16))
    monkeypatch.setattr(regular, "MAX_IMAGE_BYTES", 64 * 64 * 2 - 1)
    with pytest.raises(ValueError, match=r"would take .* GB of memory"):
        read_image(tmp_path / "1.npy")


def test_postscript_reaches_no_other_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("another program was started")

    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("os.system", refuse)
    page = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    for name in ("1.jpg", "1.png", "1.eps"):
        (tmp_path / name).write_text(page)
        with pytest.raises(OSError, match="cannot identify image file"):
            read_image(tmp_path / name)


def test_everything_opens_pictures_by_the_one_door() -> None:
    package = Path(regular.__file__).parents[1]
    places = [package, package.parent / "examples"]
    doors = [
        (path.name, line.strip())
        for place in places
        for path in sorted(place.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Image.open(" in line and "formats=" not in line
    ]
    assert doors == []


def test_a_list_of_files_can_be_made_without_a_source(folder: Path) -> None:
    assert len(FileList.from_folder(folder)) == 3


@pytest.mark.parametrize("folders", [("cat", "dog"), ("", "")])
def test_every_page_has_the_class_of_its_file_if_there_are_classes(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    for name, folder, numbers in (
        ("1.tif", folders[0], (1, 2)),
        ("2.tif", folders[1], (3,)),
    ):
        rows = [np.tile(np.arange(32, dtype=np.uint8) * 7 + shade, (32, 1)) for shade in numbers]
        pages = [Image.fromarray(pixels) for pixels in rows]
        (tmp_path / folder).mkdir(exist_ok=True)
        pages[0].save(tmp_path / folder / name, save_all=True, append_images=pages[1:])
    source = ImageSource(tmp_path, pages="frames")
    assert shades(source) == [1, 2, 3]
    labels = labels_of(source)
    assert (labels if labels is None else labels.tolist()) == ([0, 0, 1] if folders[0] else None)


def test_a_folder_among_files_is_told_from_a_file_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(OSError, match="it is a folder; give a folder by itself, not among files"):
        ImageSource([tmp_path / "images", tmp_path / "labels.npy"])
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(OSError, match="remove it, or skip such images with on_error"):
        ImageSource([tmp_path / "broken.png"])
