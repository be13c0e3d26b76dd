"""Colour of more than 8 bits in formats of which Pillow gives 8."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data.decoding import count_frames, read_header, read_image
from super_selfish.data.deep import deep_png, deep_pnm, lossy_bits
from super_selfish.data.raster import raster_formats
from super_selfish.data.sources import ImageSource

HEIGHT, WIDTH = 33, 37


def numbers(channels: int, dtype: Any = np.uint16) -> NDArray[Any]:
    generator = np.random.default_rng(channels)
    high = np.iinfo(dtype).max
    return generator.integers(0, high, (HEIGHT, WIDTH, channels), dtype, endpoint=True)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filtered(rows: NDArray[Any], pixel: int) -> bytes:
    """Rows of bytes, each with another of PNG's five filters before it (section 9)."""
    out = []
    above = np.zeros(rows.shape[1], dtype=int)
    for number, row in enumerate(rows.astype(int)):
        left = np.concatenate([np.zeros(pixel, int), row[:-pixel]])
        corner = np.concatenate([np.zeros(pixel, int), above[:-pixel]])
        guess = left + above - corner
        apart = [abs(guess - near) for near in (left, above, corner)]
        nearest = np.choose(np.argmin(apart, axis=0), [left, above, corner])
        predicted = [0 * row, left, above, (left + above) // 2, nearest][number % 5]
        out.append(bytes([number % 5]) + ((row - predicted) % 256).astype(np.uint8).tobytes())
        above = row
    return b"".join(out)


def png(array: NDArray[Any], *extra: bytes, interlaced: bool = False) -> bytes:
    """A PNG of 16 bits a channel, written by the standard."""
    height, width, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first row, first column, steps
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
        passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    data = b""
    for top, start, down, right in passes:
        part = array[top::down, start::right].astype(">u2")
        rows = np.ascontiguousarray(part).view(np.uint8).reshape(part.shape[0], -1)
        data += filtered(rows, 2 * channels)
    packed = zlib.compress(data)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, int(interlaced))
    parts = [chunk(b"IHDR", header), *extra]
    parts += [chunk(b"IDAT", packed[i : i + 1000]) for i in range(0, len(packed), 1000)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_sixteen_bits_of_a_png_arrive(tmp_path: Path, channels: int, interlaced: bool) -> None:
    array = numbers(channels)
    path = tmp_path / "1.png"
    path.write_bytes(png(array, interlaced=interlaced))
    with Image.open(path) as opened:  # Pillow agrees on the higher bytes
        opened.load()
        if channels > 2:
            assert np.array_equal(np.asarray(opened), array >> 8)

    image = read_image(path, alpha=True)

    assert image.dtype == torch.uint16
    assert read_header(path, alpha=True) == tuple(image.shape)
    assert np.array_equal(image.numpy(), array.transpose(2, 0, 1))
    colours = channels - 1 + channels % 2  # alpha left out
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert np.array_equal(read_image(path).numpy(), array.transpose(2, 0, 1)[:colours])
    assert len(told) == (colours < channels)  # alpha is left out


def test_a_deep_png_is_turned_upright(tmp_path: Path) -> None:
    turn = Image.Exif()
    turn[0x0112] = 6
    array = numbers(3)
    path = tmp_path / "1.png"
    path.write_bytes(png(array, chunk(b"eXIf", turn.tobytes().removeprefix(b"Exif\0\0"))))
    expected = np.rot90(array, -1).transpose(2, 0, 1)
    assert np.array_equal(read_image(path).numpy(), expected)
    assert read_header(path) == expected.shape


def test_a_broken_deep_png_is_refused(tmp_path: Path) -> None:
    whole = png(numbers(3))
    path = tmp_path / "1.png"
    for broken, message in (
        (whole[:-900], "ends early"),
        (whole[:3000] + b"\0\0\0\0" + whole[3004:], "checksum of a IDAT"),
    ):
        path.write_bytes(broken)
        with pytest.raises((ValueError, OSError, EOFError, SyntaxError), match=message):
            read_image(path)


@pytest.mark.parametrize("brightest", [300, 4095, 65535])
@pytest.mark.parametrize("kind", [b"P6", b"P3"])
def test_all_sixteen_bits_of_a_ppm_arrive(tmp_path: Path, kind: bytes, brightest: int) -> None:
    array = (numbers(3).astype(int) % (brightest + 1)).astype(np.uint16)
    body = array.astype(">u2").tobytes()
    if kind == b"P3":
        body = " ".join(map(str, array.ravel())).encode()
    header = b"%s\n# of a camera\n%d %d\n%d\n" % (kind, WIDTH, HEIGHT, brightest)
    (tmp_path / "1.ppm").write_bytes(header + body)

    image = read_image(tmp_path / "1.ppm").numpy()

    assert read_header(tmp_path / "1.ppm") == image.shape
    expected = (array.astype(float) * 65535 / brightest).transpose(2, 0, 1)
    assert np.abs(image - expected).max() <= 0.5


def test_jpeg_2000_and_avif_of_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    imagecodecs: Any = pytest.importorskip("imagecodecs")
    deep, flat = numbers(3) >> 6, numbers(3, np.uint8)  # 10 bits
    files = {
        "deep.jp2": imagecodecs.jpeg2k_encode(deep, codecformat="jp2", bitspersample=10, level=0),
        "flat.jp2": imagecodecs.jpeg2k_encode(flat, codecformat="jp2", reversible=True, level=0),
        "deep.avif": imagecodecs.avif_encode(deep, bitspersample=10),
        "flat.avif": imagecodecs.avif_encode(flat),
    }
    for name, content in files.items():
        if name.endswith("avif") and "AVIF" not in raster_formats():
            continue
        path = tmp_path / name
        path.write_bytes(content)
        if name.startswith("flat"):
            assert read_image(path).shape == (3, HEIGHT, WIDTH)
            continue
        with pytest.raises(ValueError, match="with more than 8 bits a channel, of which 8 would"):
            read_image(path)


def test_an_opened_picture_that_pillow_would_cut_is_refused(tmp_path: Path) -> None:
    content = png(numbers(3))
    with pytest.raises(ValueError, match=r"item 0: .* opened PNG with more than 8 bits.*the path"):
        ImageSource([Image.open(io.BytesIO(content))])


# Animations


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_an_animation_is_refused_until_the_user_says_what_its_frames_are(
    tmp_path: Path, ending: str
) -> None:
    frames = [Image.new("RGB", (40, 32), (shade, 0, 255 - shade)) for shade in (0, 120, 250)]
    path = tmp_path / f"1.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True, duration=50)
    with pytest.raises(ValueError, match=r"it holds 3 frames.*pages='frames'"):
        ImageSource(path)
    assert count_frames(path) == 3
    assert read_image(path, None, "channels").shape == (9, 32, 40)
    assert read_header(path, "channels") == (9, 32, 40)
    source = ImageSource(path, pages="frames")
    assert [int(source[i].image[0, 0, 0]) for i in range(3)] == [0, 120, 250]  # type: ignore[union-attr]
    with Image.open(path) as opened, pytest.raises(ValueError, match="it holds 3 frames"):
        ImageSource([opened])
    with Image.open(path) as opened:
        opened.seek(1)  # the user has chosen
        assert int(ImageSource([opened])[0].image[0, 0, 0]) == 120  # type: ignore[union-attr]


def test_a_photograph_with_a_smaller_copy_is_the_photograph(tmp_path: Path) -> None:
    picture = Image.fromarray(numbers(3, np.uint8))
    small = picture.resize((16, 16))
    picture.save(tmp_path / "1.jpg", "MPO", save_all=True, append_images=[small])
    assert ImageSource(tmp_path).image_size == (HEIGHT, WIDTH)
    assert len(ImageSource(tmp_path, pages="frames", image_size=16)) == 2


def test_numbers_of_a_ppm_are_rounded_to_the_nearest_of_sixteen_bits() -> None:
    numbers = [0, 1, 499, 500, 999, 1000]
    header = b"P6\n# of one\n  0000000002 # ten digits\n1\n1000\n"
    found = deep_pnm(header + np.array(numbers, ">u2").tobytes())
    assert found.shape == (1, 2, 3)
    assert found.flatten().tolist() == [int(65535 * n / 1000 + 0.5) for n in numbers]
    with pytest.raises(ValueError, match="its header holds no numbers"):
        deep_pnm(header.replace(b"0000000002", b"00000000002"))
    with pytest.raises(EOFError, match="ends early"):
        deep_pnm(b"P6 # no end")


@pytest.mark.parametrize(
    "header",
    [b"P5 1 1 1000 ", b"P6 0 1 1000 ", b"P6 1 0 1000 ", b"P6 1 1 255 ", b"P6 1 1 65536 "],
)
def test_another_ppm_is_not_taken_for_a_deep_one(header: bytes) -> None:
    with pytest.raises(ValueError, match="expected a colour PPM of 16 bits"):
        deep_pnm(header + bytes(6))


@pytest.mark.parametrize("brightest", [256, 65535])
def test_the_first_and_the_last_depth_of_a_deep_ppm_are_taken(brightest: int) -> None:
    header = b"P3 1 1 %d " % brightest
    assert deep_pnm(header + b"0 %d 0" % brightest).flatten().tolist() == [0, 65535, 0]
    for wrong in (b"0 0", b"0 %d 0" % (brightest + 1)):
        with pytest.raises(ValueError, match="too few numbers, or too large ones"):
            deep_pnm(header + wrong)


@pytest.mark.parametrize("place", [b"", b"P6"])
def test_a_ppm_that_ends_in_its_header_is_refused(place: bytes) -> None:
    with pytest.raises(ValueError, match="its header holds no numbers"):
        deep_pnm(place)
    with pytest.raises(EOFError, match="the PPM ends early"):
        deep_pnm(place + b" # no end of a line")


def test_a_comment_of_a_ppm_ends_with_its_line() -> None:
    found = deep_pnm(b"P3\n#1 of 9\n#2\n 1\t1\n300\n7 8 300 999")  # the last one is of no image
    assert found.dtype == np.uint16
    assert found.tolist() == [[[1529, 1748, 65535]]]  # 65535 * n / 300, to the nearest


def test_the_header_of_a_deep_png_is_looked_at() -> None:
    def content(*fields: int, ending: bytes = b"") -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", *fields) + ending)
        data = chunk(b"IDAT", zlib.compress(bytes(1 + 8)))
        return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")

    assert deep_png(content(1, 1, 16, 2, 0, 0, 0)).tolist() == [[[0, 0, 0]]]
    for size_and_kind in ((0, 1, 16, 2), (1, 0, 16, 2), (1, 1, 8, 2), (1, 1, 16, 0), (1, 1, 16, 3)):
        bits, kind = size_and_kind[2:]
        with pytest.raises(ValueError, match=f"16 bits a channel, got {bits} bits of kind {kind}"):
            deep_png(content(*size_and_kind, 0, 0, 0))
    with pytest.raises(ValueError, match="its header has another length"):
        deep_png(content(1, 1, 16, 2, 0, 0, 0, ending=b"\0"))
    whole = content(1, 1, 16, 2, 0, 0, 0)
    with pytest.raises(ValueError, match="its first bytes are others"):
        deep_png(b"\0" + whole)
    with pytest.raises(ValueError, match="the checksum of a IHDR is another"):
        deep_png(whole.replace(struct.pack(">II", 1, 1), struct.pack(">II", 1, 2)))


def test_a_deep_png_may_end_with_the_name_of_its_end_and_no_earlier() -> None:
    whole = png(numbers(4))
    assert np.array_equal(deep_png(whole[:-4]), numbers(4))  # without a checksum of nothing
    for length in (len(whole) - 5, len(whole) - 13, 8 + 8 + 13 + 3):  # the last one in the header
        with pytest.raises(EOFError, match="the PNG ends early"):
            deep_png(whole[:length])


def lossy(kind: str, start: bytes) -> int:
    """What is found in the first bytes of a file; where it stands in it stays."""
    file = io.BytesIO(start)
    file.seek(3)
    found = lossy_bits(SimpleNamespace(format=kind, fp=file))  # type: ignore[arg-type]
    assert file.tell() == 3
    return found


@pytest.mark.parametrize("before", [0, 1, 85])
@pytest.mark.parametrize(("number", "bits"), [(7, 8), (9, 10), (0x89, 10), (15, 16), (37, 38)])
def test_bits_of_a_jpeg_2000_are_those_of_its_codestream(
    before: int, number: int, bits: int
) -> None:
    # ISO 15444-1, A.5.1: SOC, SIZ, Lsiz, Rsiz, eight sizes, Csiz, and then Ssiz of the first.
    sizes = struct.pack(">HH8IH", 41, 0, 4, 4, 0, 0, 4, 4, 0, 0, 1)
    start = bytes(before) + b"\xff\x4f\xff\x51" + sizes
    assert lossy("JPEG2000", start + bytes([number, 1, 1])) == bits
    assert lossy("JPEG2000", start + bytes([number])) == bits
    assert lossy("JPEG2000", start) == 8
    assert lossy("JPEG2000", bytes(60)) == 8


@pytest.mark.parametrize("before", [0, 1, 85])
@pytest.mark.parametrize(
    ("flags", "bits"), [(0x00, 8), (0x1F, 8), (0x40, 10), (0x60, 12), (0x4C, 10), (0x6C, 12)]
)
def test_bits_of_an_avif_are_those_of_its_configuration(before: int, flags: int, bits: int) -> None:
    # AV1 in ISOBMFF, 2.3.3: the third byte has a tier, high_bitdepth, twelve_bit, and more.
    start = bytes(before) + b"av1C" + b"\x81\x20"
    assert lossy("AVIF", start + bytes([flags, 0])) == bits
    assert lossy("AVIF", start + bytes([flags])) == bits
    assert lossy("AVIF", start) == 8
    assert lossy("AVIF", bytes(4) + b"\x60\x60\x60\x60") == 8  # without the box


def test_bits_of_what_was_not_opened_from_a_file_are_eight() -> None:
    assert lossy_bits(Image.new("RGB", (2, 2))) == 8


def test_bits_are_looked_for_in_the_first_64_kibibytes() -> None:
    box = b"av1C\x81\x20\x60"
    assert lossy("AVIF", bytes(65536 - len(box)) + box) == 12
    assert lossy("AVIF", bytes(65537 - len(box)) + box) == 8
