"""What a reader of the user's own may give, and what is said of what it may not."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from super_selfish.data.samples import Sample, Unreadable
from super_selfish.data.sources import ImageSource
from super_selfish.supervisors.rotate_net import RotateNetSupervisor

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (4, 32, 40, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (32, 40, 3), dtype=np.uint16)


def deep_png(path: Path, key: bytes = b"") -> None:
    """16 bits a channel, which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP)
    header = struct.pack(">IIBBBBB", 40, 32, 16, 2, 0, 0, 0)
    transparent = chunk(b"tRNS", key) if key else b""
    parts = (
        chunk(b"IHDR", header),
        transparent,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def opened_and_decoded(path: str) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


@pytest.mark.parametrize(
    ("ending", "loader"),
    [("tif", Image.open), ("png", Image.open), ("tif", opened_and_decoded)],
)
def test_an_opened_picture_of_more_than_8_bits_is_not_cut(
    tmp_path: Path, ending: str, loader: Callable[[str], Any]
) -> None:
    path = tmp_path / f"deep.{ending}"
    if ending == "png":
        deep_png(path)
    else:
        tifffile.imwrite(path, DEEP, photometric="rgb")
    with pytest.raises(ValueError, match=rf"deep\.{ending}: .*more than 8 bits.*let the loader"):
        ImageSource([path], loader=loader)
    kept = ImageSource([path])[0]
    assert isinstance(kept, Sample) and np.array_equal(kept.image.permute(1, 2, 0), DEEP)


def test_of_an_opened_stack_no_page_is_taken_unasked(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", metadata=None)

    def third(name: str) -> Image.Image:
        with Image.open(name) as image:
            image.seek(2)
            return image.copy()

    with pytest.raises(ValueError, match=r"stack\.tif: .*opened TIFF of 4 .*image\.seek\(number\)"):
        ImageSource([path], loader=Image.open)
    sample = ImageSource([path], loader=third)[0]
    assert isinstance(sample, Sample) and np.array_equal(sample.image.permute(1, 2, 0), RGB[2])


@pytest.mark.parametrize("pages", ["channels", "frames", 0])
def test_pages_and_a_loader_exclude_each_other(tmp_path: Path, pages: Any) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", metadata=None)
    with pytest.raises(ValueError, match=r"pages=.* but a loader= reads these: leave pages out"):
        ImageSource([path], loader=tifffile.imread, pages=pages)


@pytest.mark.parametrize("loader", ["tifffile", 3])
def test_a_loader_that_is_no_function_is_refused_at_once(tmp_path: Path, loader: Any) -> None:
    Image.fromarray(RGB[0]).save(tmp_path / "0.png")
    for build in (ImageSource, RotateNetSupervisor):
        with pytest.raises(TypeError, match="loader must be a function from a path"):
            build(tmp_path, loader=loader, on_error="skip")


GIVEN: list[tuple[Any, str]] = [
    ([1, 2], "TypeError: the loader must give .* but gave a list"),
    (b"bytes", "TypeError: the loader must give .* but gave a bytes"),
    (np.zeros((), np.uint8), r"ValueError: the loader gave no image: .*got shape \[\]"),
    (torch.zeros(1, 3, 8, 8), r"ValueError: the loader gave no image: .*got shape \[1, 3, 8, 8\]"),
    (np.zeros((8, 8), np.complex64), "ValueError: the loader gave no image: .*complex64"),
    (torch.zeros(3, 8, 8, dtype=torch.complex64), "ValueError: .*complex"),
]


@pytest.mark.parametrize(("given", "reason"), GIVEN)
def test_what_is_no_image_names_its_file_and_can_be_skipped(
    tmp_path: Path, given: Any, reason: str
) -> None:
    for number in range(3):
        Image.fromarray(RGB[number]).save(tmp_path / f"{number}.png")

    def loader(path: str) -> Any:
        return given if path.endswith("1.png") else Image.open(path)

    with pytest.raises(ValueError, match=rf"cannot read image .*1\.png: {reason}"):
        ImageSource(tmp_path, loader=loader)
    source = ImageSource(tmp_path, loader=loader, on_error="skip")
    assert [type(source[i]) for i in range(3)] == [Sample, Unreadable, Sample]


def test_a_picture_that_breaks_when_it_is_decoded_can_be_skipped(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(RGB[number]).save(tmp_path / f"{number}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"cannot read image .*1\.png: OSError: .*truncated"):
        ImageSource(tmp_path, loader=Image.open)
    source = ImageSource(tmp_path, loader=Image.open, on_error="skip")
    assert [type(source[i]) for i in range(3)] == [Sample, Unreadable, Sample]
