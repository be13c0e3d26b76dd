"""Files are opened by what they begin with, and JPEGs go the shortest way that keeps all."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data import decoding
from super_selfish.data.arrays import ArrayFrames
from super_selfish.data.decoding import (
    count_frames,
    open_frames,
    read_bytes,
    read_header,
    read_image,
)
from super_selfish.data.raster import RasterFrames
from super_selfish.data.tiff import TiffFrames

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def content(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def array(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, PIXELS)
    else:
        np.savez(file, image=PIXELS)
    return file.getvalue()


KINDS: dict[str, tuple[bytes, type]] = {
    "tiff": (content("TIFF"), TiffFrames),
    "bigtiff": (content("TIFF", big_tiff=True), TiffFrames),
    "npy": (array("npy"), ArrayFrames),
    "npz": (array("npz"), ArrayFrames),
    "png": (content("PNG"), RasterFrames),
    "jpeg": (content("JPEG"), RasterFrames),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_what_it_begins_with_whatever_it_is_called(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "1.dat"
    data, reader = KINDS[kind]
    path.write_bytes(data)
    with open_frames(path) as frames:
        assert type(frames) is reader
    image = read_image(path)
    assert image.shape == read_header(path) == (3, 48, 64)
    assert count_frames(path) == (1 if kind not in ("npy", "npz") else 48)
    assert torch.equal(read_bytes(data), image)
    if kind != "jpeg":
        assert np.array_equal(image.permute(1, 2, 0).numpy(), PIXELS)


def test_an_archive_without_a_file_is_one_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "1.npz", "w"):
        pass
    with pytest.raises(ValueError, match=r"the archive holds the arrays \[\]"):
        read_image(tmp_path / "1.npz")


@pytest.mark.parametrize("error", [KeyError("a"), MemoryError("a"), ZeroDivisionError("a")])
def test_what_readers_stumble_over_is_a_broken_file(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, frame: int, cover: Any = None) -> None:
        raise error

    monkeypatch.setattr(RasterFrames, "read", fail)
    (tmp_path / "1.png").write_bytes(KINDS["png"][0])
    with pytest.raises(ValueError, match=rf"the file is broken \({type(error).__name__}: "):
        read_image(tmp_path / "1.png")


def test_bytes_of_no_known_format_are_counted() -> None:
    with pytest.raises(ValueError, match="7 bytes that are no image of a known format"):
        read_bytes(b"nothing")


# JPEG


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """What the fast decoder is asked for: shapes, and by what sides are divided."""
    asked: list[tuple[Any, int]] = []
    original = decoding.decode_jpeg

    def noting(data: bytes, shape: Any, scale: int) -> Any:
        asked.append((shape, scale))
        return original(data, shape, scale)

    monkeypatch.setattr(decoding, "decode_jpeg", noting)
    return asked


@pytest.mark.parametrize("by", ["path", "bytes"])
@pytest.mark.parametrize(
    ("cover", "scale"),
    [
        *((None, 1), ((48, 64), 1), ((13, 13), 1), ((12, 13), 1)),
        *(((12, 12), 2), ((4, 12), 2), ((7, 7), 2), ((6, 6), 4), ((3, 3), 8), ((1, 1), 8)),
    ],
)
def test_a_jpeg_of_four_times_the_size_is_decoded_at_a_fraction(
    tmp_path: Path, decoded: list[Any], cover: Any, scale: int, by: str
) -> None:
    path = tmp_path / "1.jpg"
    path.write_bytes(content("JPEG"))
    image = read_image(path, cover) if by == "path" else read_bytes(path.read_bytes(), cover)
    assert decoded == [((3, 48 // scale, 64 // scale), scale)]
    assert image.shape == (3, 48 // scale, 64 // scale)


@pytest.mark.parametrize("ending", ["jpg", "JPEG", "dat"])
def test_a_jpeg_is_known_by_its_ending_before_it_is_opened(
    tmp_path: Path, decoded: list[Any], ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"1.{ending}"
    path.write_bytes(content("JPEG"))
    opened: list[Any] = []
    original = decoding.open_raster
    monkeypatch.setattr(
        decoding,
        "open_raster",
        lambda file: (opened.append(file), original(file))[1],  # type: ignore[func-returns-value]
    )
    read_image(path)
    assert len(opened) == (ending == "dat")
    assert len(decoded) == 1


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("cover", [None, (6, 6)])
def test_a_jpeg_is_turned_after_it_was_decoded(tmp_path: Path, turn: int, cover: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "1.jpg"
    smooth = Image.fromarray(PIXELS).resize((4, 3)).resize((64, 48))
    smooth.save(path, exif=exif)
    found = read_image(path, cover).permute(1, 2, 0).numpy().astype(int)
    upright = np.asarray(smooth).astype(int)
    upright = upright.transpose(1, 0, 2) if turn > 4 else upright
    upright = upright[::-1] if turn in (3, 4, 7, 8) else upright
    upright = upright[:, ::-1] if turn in (2, 3, 6, 7) else upright
    step = 1 if cover is None else 4
    side = upright.reshape(upright.shape[0] // step, step, upright.shape[1] // step, step, 3)
    assert found.shape == side.shape[::2]
    assert np.abs(found - side.mean(axis=(1, 3))).mean() < 6


def test_a_page_that_a_jpeg_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.dat"
    path.write_bytes(content("JPEG"))
    for pages in (None, "channels", 0):
        assert read_image(path, None, pages).shape == (3, 48, 64)
    with pytest.raises(ValueError, match="there is no page 1: it has 1, counted from 0"):
        read_image(path, None, 1)


def test_a_damaged_jpeg_is_refused_by_whoever_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "decode_jpeg", lambda *arguments: None)
    path = tmp_path / "1.jpg"
    whole = content("JPEG")
    path.write_bytes(whole)
    assert read_image(path).shape == read_bytes(whole).shape == (3, 48, 64)
    checked: list[bytes] = []
    monkeypatch.setattr(decoding, "check_undamaged", checked.append)
    read_image(path)
    assert checked == [whole]
