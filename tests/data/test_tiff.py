from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data.decoding import count_frames, read_header, read_image
from super_selfish.data.frames import Pages
from super_selfish.data.sources import ImageSource, Sample

HEIGHT, WIDTH = 30, 41


def numbers(*shape: int, dtype: Any = np.uint16) -> NDArray[Any]:
    """Random numbers over the whole range of a type."""
    generator = np.random.default_rng(0)
    kind = np.dtype(dtype).newbyteorder("=")
    if kind.kind == "f":
        return (generator.normal(0, 3000, shape)).astype(dtype)
    bounds = np.iinfo(kind)
    return generator.integers(bounds.min, bounds.max, shape, kind, endpoint=True).astype(dtype)


def written(folder: Path, array: NDArray[Any], **options: Any) -> Path:
    path = folder / "1.tif"
    tifffile.imwrite(path, array, **options)
    return path


def read(path: Path, pages: Pages = None, *, alpha: bool = False) -> NDArray[Any]:
    """The image, of which the header must tell the shape."""
    image: NDArray[Any] = read_image(path, None, pages, alpha=alpha).numpy()
    assert read_header(path, pages, alpha=alpha) == image.shape
    return image


@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "float32", "float64", ">u2"]
)
def test_all_channels_and_bits_of_a_tiff_arrive(
    tmp_path: Path, dtype: str, channels: int, layout: str
) -> None:
    array = numbers(channels, HEIGHT, WIDTH, dtype=dtype)
    stored = array if layout == "separate" else np.ascontiguousarray(array.transpose(1, 2, 0))
    options: dict[str, Any] = {"planarconfig": layout} if channels > 1 else {}
    if channels == 1:
        stored = array[0]
    path = written(tmp_path, stored, photometric="minisblack", **options)

    image = read(path)

    assert np.array_equal(image, array)
    assert image.dtype == {"uint32": np.int64, ">u2": np.uint16}.get(dtype, np.dtype(dtype))


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "packbits", "lzma", "deflate"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 32)}, {"bigtiff": True}], ids=str)
def test_compressed_and_tiled_files_are_read(
    tmp_path: Path, compression: str, options: dict[str, Any]
) -> None:
    array = numbers(HEIGHT, WIDTH, 13)
    path = written(
        tmp_path,
        array,
        photometric="minisblack",
        planarconfig="contig",
        compression=compression,
        **options,
    )
    assert np.array_equal(read(path), array.transpose(2, 0, 1))


# Alpha, palettes, inverted grey


def test_a_fourth_band_is_alpha_only_where_the_file_says_so(tmp_path: Path) -> None:
    array = numbers(HEIGHT, WIDTH, 4)
    bands = array.transpose(2, 0, 1)
    path = written(tmp_path, array, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(read(path), bands)
    for kind in ("unassalpha", "assocalpha"):
        path = written(tmp_path, array, photometric="rgb", extrasamples=[kind])
        with pytest.warns(UserWarning, match="a band that is only called so"):
            assert np.array_equal(read(path), bands[:3])
        assert np.array_equal(read(path, alpha=True), bands)
        whole = ImageSource(path, in_channels=4)[0]
        assert isinstance(whole, Sample) and whole.image.shape[0] == 4
    array[..., 3] = 65535
    opaque = written(tmp_path, array, photometric="rgb", extrasamples=["unassalpha"])
    assert ImageSource(opaque).in_channels == 3


def test_white_may_be_zero(tmp_path: Path) -> None:
    grey = numbers(HEIGHT, WIDTH)
    assert np.array_equal(read(written(tmp_path, grey, photometric="miniswhite"))[0], 65535 - grey)
    ink = numbers(HEIGHT, WIDTH, dtype=np.uint8) > 127
    image = ImageSource(written(tmp_path, ink, photometric="miniswhite"), (HEIGHT, WIDTH))[0]
    assert isinstance(image, Sample)
    assert np.array_equal(image.image[0].numpy(), np.where(ink, 0, 255))


def test_white_that_is_the_least_of_numbers_without_a_range_is_refused(tmp_path: Path) -> None:
    for dtype in (np.float32, np.int16):
        path = written(tmp_path, numbers(HEIGHT, WIDTH, dtype=dtype), photometric="miniswhite")
        with pytest.raises(ValueError, match=rf"white is the least number, .*{dtype.__name__}"):
            read_image(path)


def test_inks_with_alpha_are_read_without_it(tmp_path: Path) -> None:
    inks = numbers(HEIGHT, WIDTH, 5, dtype=np.uint8)
    path = written(tmp_path, inks, photometric="separated", extrasamples=["unassalpha"])
    with pytest.warns(UserWarning, match="an alpha channel is left out"):
        image = read_image(path)
    plain = written(tmp_path, inks[..., :4].copy(), photometric="separated")
    assert torch.equal(image, read_image(plain))
    many = written(tmp_path, inks, photometric="separated", extrasamples=["unspecified"])
    with pytest.raises(ValueError, match="it has 5 inks, and only four"):
        read_image(many)


def test_a_palette_becomes_colour_with_as_many_bits_as_it_has(tmp_path: Path) -> None:
    indices = numbers(HEIGHT, WIDTH, dtype=np.uint8)
    deep = numbers(3, 256)
    path = written(tmp_path, indices, photometric="palette", colormap=deep)
    assert np.array_equal(read(path), deep[:, indices])
    path = written(tmp_path, indices, photometric="palette", colormap=deep // 257 * 257)
    assert read(path).dtype == np.uint8
    assert np.array_equal(read(path), (deep // 257)[:, indices])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_what_pillow_reads_without_loss_is_read_as_pillow_does(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(numbers(HEIGHT, 40, 3, dtype=np.uint8))
    picture = picture.convert("L") if mode == "I;16" else picture
    picture.convert(mode).save(tmp_path / "1.tif")
    if mode == "YCbCr" and PIL.__version__.startswith("9."):
        pytest.skip("that Pillow cannot read what it has written")
    with Image.open(tmp_path / "1.tif") as opened:
        plain = "L" if mode in ("1", "L", "LA") else mode if mode in ("I;16", "F") else "RGB"
        expected = np.array(opened.convert(plain))
    image = read(tmp_path / "1.tif")
    if mode == "1":
        image = image * np.uint8(255)
    assert np.array_equal(image, expected.transpose(2, 0, 1) if expected.ndim == 3 else [expected])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_a_tiff_is_turned_upright(
    tmp_path: Path, orientation: int, compression: str | None
) -> None:
    path = tmp_path / "1.tif"
    turn = Image.Exif()
    turn[274] = orientation
    picture = Image.fromarray(numbers(HEIGHT, WIDTH, 3, dtype=np.uint8))
    picture.save(path, exif=turn, compression=compression)
    with Image.open(path) as opened:
        opened.load()  # which turns a TIFF upright
        expected = np.array(opened)
    assert np.array_equal(read(path), expected.transpose(2, 0, 1))


def test_colours_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    Image.new("LAB", (40, 32)).save(tmp_path / "1.tif")
    with pytest.raises(ValueError, match="colours are stored as CIELAB, which is not read"):
        read_image(tmp_path / "1.tif")
    path = written(tmp_path, numbers(HEIGHT, WIDTH, 4), photometric="separated")
    with pytest.raises(ValueError, match=r"inks \(CMYK\) of more than 8 bits"):
        read_image(path)


# Pages


def test_a_stack_is_refused_until_the_user_says_what_its_pages_are(tmp_path: Path) -> None:
    stack = numbers(5, HEIGHT, WIDTH)
    path = written(tmp_path, stack)
    with pytest.raises(ValueError, match=r"1\.tif: ValueError: it holds 5 pages.*pages='channels'"):
        ImageSource(tmp_path)
    assert np.array_equal(read(path, "channels"), stack)
    assert np.array_equal(read(path, 3), stack[3:4])
    with pytest.raises(ValueError, match="there is no page 5: it has 5"):
        read_image(path, None, 5)


@pytest.mark.parametrize("metadata", [{}, {"metadata": None}, {"truncate": True}], ids=str)
def test_frames_of_a_stack_are_images_of_their_own(
    tmp_path: Path, metadata: dict[str, Any]
) -> None:
    stack = numbers(5, 32, 41, 3, dtype=np.uint8)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tifffile.imwrite(tmp_path / "a" / "1.tif", stack, photometric="rgb", **metadata)
    tifffile.imwrite(tmp_path / "b" / "2.tif", stack[0], photometric="rgb")

    source = ImageSource(tmp_path, pages="frames")

    assert len(source) == 6
    assert source.name(4).endswith("1.tif (page 4)")
    for index in range(6):
        item = source[index]
        assert isinstance(item, Sample)
        assert np.array_equal(item.image, stack[index % 5].transpose(2, 0, 1))
        assert item.label == index // 5


@pytest.mark.parametrize("kind", ["ome", "imagej"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_axes_that_a_file_describes_are_honoured(
    tmp_path: Path, kind: str, compression: str | None
) -> None:
    stack = numbers(2, 3, 4, HEIGHT, WIDTH)  # time, depth, channel

    def store(array: NDArray[Any], axes: str) -> Path:
        options: dict[str, Any] = {kind: True, "compression": compression}
        return written(tmp_path, array, metadata={"axes": axes}, **options)

    assert np.array_equal(read(store(stack[0, 0], "CYX")), stack[0, 0])
    path = store(stack, "TZCYX")
    assert count_frames(path) == 6
    with pytest.raises(ValueError, match="it holds 6 pages"):
        read_image(path)
    for frame in range(6):
        assert np.array_equal(read(path, frame), stack[frame // 3, frame % 3])
    assert np.array_equal(read(path, "channels"), stack.reshape(24, HEIGHT, WIDTH))


def test_depth_may_run_before_the_channels(tmp_path: Path) -> None:
    stack = numbers(4, 3, HEIGHT, WIDTH)  # channel, depth
    path = written(tmp_path, stack, ome=True, metadata={"axes": "CZYX"})
    assert np.array_equal(read(path, 2), stack[:, 2])


def test_a_volume_in_one_page_is_a_stack(tmp_path: Path) -> None:
    volume = numbers(1, 16, 32, 48)
    path = written(tmp_path, volume, volumetric=True, tile=(16, 16, 16))
    assert count_frames(path) == 16
    assert np.array_equal(read(path, 7), volume[:, 7])


def test_a_smaller_copy_is_no_page_of_its_own(tmp_path: Path) -> None:
    grey = numbers(HEIGHT, WIDTH)
    path = tmp_path / "1.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(grey, metadata=None)
        file.write(grey[::2, ::2], subfiletype=1, metadata=None)
    assert np.array_equal(read(path), grey[None])


def test_pages_of_several_sizes_can_be_frames_only(tmp_path: Path) -> None:
    grey = numbers(HEIGHT, WIDTH)
    path = tmp_path / "1.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(grey, metadata=None)
        file.write(grey[:20], metadata=None)
    assert np.array_equal(read(path, 1), grey[None, :20])
    with pytest.raises(ValueError, match=r"differ in size \(\(20, 41\), \(30, 41\)\)"):
        read_image(path, None, "channels")


def test_a_file_that_names_others_opens_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.tif"
    tifffile.imwrite(other, numbers(HEIGHT, WIDTH))
    path = written(tmp_path, numbers(2, HEIGHT, WIDTH), ome=True, metadata={"axes": "ZYX"})
    description = tifffile.tiffcomment(path)
    assert isinstance(description, str) and 'FileName="1.tif"' not in description
    lying = description.replace(
        "</Pixels>",
        '<TiffData FirstZ="1" IFD="0"><UUID FileName="other.tif">urn:uuid:1</UUID></TiffData>'
        "</Pixels>",
    )
    tifffile.tiffcomment(path, lying.encode())
    opened: list[str] = []
    system_open = io.open

    def watch(file: Any, *arguments: Any, **options: Any) -> Any:
        opened.append(str(file))
        return system_open(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", watch)
    read_image(path, None, 0)
    assert opened == [str(path)]


@pytest.mark.parametrize("kind", ["ome", "shaped"])
def test_a_file_that_describes_more_pages_than_it_can_hold_is_refused(
    tmp_path: Path, kind: str
) -> None:
    options: dict[str, Any] = {"ome": True, "metadata": {"axes": "ZYX"}} if kind == "ome" else {}
    path = written(tmp_path, numbers(2, HEIGHT, WIDTH), **options)
    description = str(tifffile.tiffcomment(path))
    lying = description.replace('SizeZ="2"', 'SizeZ="1000000000"')
    lying = lying.replace("[2, 30, 41]", "[1000000000, 30, 41]")
    assert lying != description
    tifffile.tiffcomment(path, lying.encode())
    with pytest.raises(ValueError, match="describes 1,000,000,000 pages"):
        read_header(path)


# Without imagecodecs


def test_without_imagecodecs_pillow_reads_what_it_keeps_and_the_rest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey, colour = numbers(HEIGHT, WIDTH), numbers(HEIGHT, WIDTH, 3, dtype=np.uint8)
    bands: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
    turn = Image.Exif()
    turn[274] = 6
    picture = Image.fromarray(colour)
    names = [tmp_path / f"{number}.tif" for number in range(6)]
    picture.save(names[0], compression="tiff_lzw")
    Image.fromarray(grey).save(names[1], compression="tiff_lzw")
    tifffile.imwrite(names[2], numbers(HEIGHT, WIDTH, 3), compression="lzw")
    tifffile.imwrite(names[3], grey, compression="zlib")
    tifffile.imwrite(names[4], numbers(HEIGHT, WIDTH, 5), compression="zstd", **bands)
    picture.save(names[5], compression="tiff_lzw", exif=turn)
    module = importlib.import_module("tifffile.tifffile")
    monkeypatch.setattr(module, "imagecodecs", importlib.import_module("tifffile._imagecodecs"))
    for codecs in (tifffile.TIFF.DECOMPRESSORS, tifffile.TIFF.UNPREDICTORS):
        monkeypatch.setattr(codecs, "_codecs", {1: codecs[1]})

    assert np.array_equal(read(names[0]), colour.transpose(2, 0, 1))
    assert np.array_equal(read(names[1]), grey[None])
    assert np.array_equal(read(names[3]), grey[None])
    assert np.array_equal(read(names[5]), np.rot90(colour, -1).transpose(2, 0, 1))
    for path, what in ((names[2], "LZW, 16 bits, 3"), (names[4], "ZSTD, 16 bits, 5")):
        remedy = r"needs imagecodecs: pip install 'super-selfish\[tiff\]'"
        with pytest.raises(ValueError, match=rf"compressed \({what} channels\) and {remedy}"):
            read_image(path)


# Sources


def test_thirteen_bands_of_sixteen_bits_reach_the_networks(tmp_path: Path) -> None:
    bands = numbers(HEIGHT + 2, WIDTH, 13)
    for number in range(3):
        tifffile.imwrite(
            tmp_path / f"{number}.tif", bands, photometric="minisblack", planarconfig="contig"
        )

    source = ImageSource(tmp_path)

    assert (source.in_channels, source.image_size) == (13, (HEIGHT + 2, WIDTH))
    item = source[2]
    assert isinstance(item, Sample) and item.image.dtype == torch.uint16
    assert np.array_equal(item.image.numpy(), bands.transpose(2, 0, 1))


# Satellite images


def no_data(text: str) -> dict[str, Any]:
    """The tag by which GDAL says which number means that there is no data."""
    return {"extratags": [(42113, "s", 0, text, True)]}


@pytest.mark.parametrize(
    ("dtype", "text", "empty"),
    [
        (np.float32, "-9999", -9999),
        (np.float32, "nan", np.nan),
        (np.float32, "-3.4028234663852886e+38", np.finfo(np.float32).min),
        (np.float32, "1e+300", np.inf),
        (np.float64, "1e+20", 1e20),
        (np.int16, "-32768", -32768),
        (np.uint16, "65535", 65535),
    ],
)
@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_pixels_without_data_are_black(
    dtype: Any, text: str, empty: float, layout: Any, tmp_path: Path
) -> None:
    bands = np.random.default_rng(0).integers(5, 1000, (5, 33, 40)).astype(dtype)
    bands[:, 8:, 8:] += 7  # so that the least number of a channel is its own
    given, expected = bands.copy(), bands.copy()
    for channel in range(5):
        given[channel, : channel + 4] = empty
        expected[channel, : channel + 4] = bands[channel, channel + 4 :].min()
    stored = given if layout == "separate" else given.transpose(1, 2, 0)
    options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": layout}
    path = written(tmp_path, stored, **options, **no_data(text))
    assert np.array_equal(read(path), expected)
    source = ImageSource(path, value_range="percentile")
    assert np.all(np.less(source.values.low, 20))  # type: ignore[union-attr]


def test_what_no_pixel_can_be_is_no_number_for_none(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 9, (33, 40)).astype(np.uint16)
    for text in ("-9999", "1e30", "0", "none", "7.5"):  # 0 is black already
        assert np.array_equal(read(written(tmp_path, array, **no_data(text)))[0], array)
    colours = np.full((33, 40, 4), 255, np.uint8)
    colours[:9, :, :3] = array[:9, :, None] * 20
    path = written(
        tmp_path, colours, photometric="rgb", extrasamples=["unassalpha"], **no_data("255")
    )
    image = read(path, alpha=True)  # whose alpha is opaque, and not without data
    assert (image[3] == 255).all() and (image[:3, 9:] == 0).all()
    with pytest.raises(ValueError, match="none of its pixels holds data"):
        read_image(written(tmp_path, np.full((33, 40), 7, np.uint16), **no_data("7")))
