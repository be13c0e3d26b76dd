"""Pages of a TIFF by pieces: their axes, colours, alpha, and what Pillow may read of them."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from super_selfish.data import tiff
from super_selfish.data.tiff import TiffFrames

HEIGHT, WIDTH = 3, 4


def page(**others: Any) -> Any:
    """A page of grey bytes, or another one."""
    usual = {
        "photometric": 1,
        "bitspersample": 8,
        "extrasamples": (),
        "samplesperpixel": 1,
        "colormap": None,
        "dtype": np.dtype(np.uint8),
        "compression": 5,
        "index": 0,
        "tags": {},
    }
    return SimpleNamespace(**{**usual, **others})


def pixels(*values: int, dtype: Any = np.uint8) -> Any:
    """`[1, 1, W, 1]`."""
    return np.array(values, dtype).reshape(1, 1, -1, 1)


def seen(given: Any, of: Any, *, alpha: bool = False) -> Any:
    return tiff._seen(given, of, alpha=alpha)


# Colours


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize(("bits", "most"), [(1, 1), (2, 3), (4, 15), (7, 127)])
def test_the_brightest_of_few_bits_is_255(photometric: int, bits: int, most: int) -> None:
    given = pixels(0, 1, most)
    found = seen(given, page(photometric=photometric, bitspersample=bits))
    expected = [0, 255 // most, 255]
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == (
        expected if photometric else [255, (most - 1) * 255 // most, 0]
    )


@pytest.mark.parametrize(
    ("dtype", "bits", "most"), [(np.uint8, 8, 255), (np.uint16, 16, 65535), (np.uint16, 12, 4095)]
)
def test_white_that_is_zero_is_turned_by_the_bits(dtype: Any, bits: int, most: int) -> None:
    given = pixels(0, 5, most, dtype=dtype)
    found = seen(given, page(photometric=0, bitspersample=bits))
    assert (found.dtype, found.ravel().tolist()) == (dtype, [most, most - 5, 0])
    assert seen(given, page(bitspersample=bits)).ravel().tolist() == [0, 5, most]
    several = page(photometric=0, bitspersample=(8, 8))  # of one number each: by their type
    if dtype == np.uint8:
        assert seen(given, several).ravel().tolist() == [255, 250, 0]


def test_truth_that_is_zero_is_turned() -> None:
    given = pixels(0, 1).astype(bool)
    assert seen(given, page(photometric=0, bitspersample=1)).ravel().tolist() == [True, False]
    assert seen(given, page(bitspersample=1)).ravel().tolist() == [False, True]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_numbers_without_a_highest_have_no_white_at_zero(dtype: Any) -> None:
    given = pixels(0, 5, dtype=dtype)
    with pytest.raises(ValueError, match=f"its white is the least number, .*{np.dtype(dtype)}"):
        seen(given, page(photometric=0, bitspersample=16))
    assert np.array_equal(seen(given, page(bitspersample=16)), given)


@pytest.mark.parametrize("photometric", [1, 2, 34892, 51177])
def test_plain_colours_are_as_they_are(photometric: int) -> None:
    assert seen(pixels(3), page(photometric=photometric)).ravel().tolist() == [3]


@pytest.mark.parametrize("photometric", [4, 6, 8, 32803, None])
def test_other_colours_are_refused_by_name(photometric: Any) -> None:
    name = "-1" if photometric is None else str(photometric)
    with pytest.raises(ValueError, match=f"its colours are stored as {name}, which is not read"):
        seen(pixels(3), page(photometric=photometric))
    named = page(photometric=tifffile.PHOTOMETRIC.CIELAB)
    with pytest.raises(ValueError, match="stored as CIELAB, which"):
        seen(pixels(3), named)


@pytest.mark.parametrize(
    ("samples", "extra", "places"),
    [
        *((1, (), []), (2, (1,), [1]), (2, (2,), [1]), (4, (0,), []), (5, (0, 2), [4])),
        *((5, (2, 0), [3]), (6, (1, 0, 2), [3, 5])),
    ],
)
def test_alpha_is_where_the_file_says(samples: int, extra: Any, places: list[int]) -> None:
    of = page(samplesperpixel=samples, extrasamples=extra)
    assert tiff._alpha_places(of) == places
    given = np.full((1, 1, 1, samples), 255, np.uint8)
    given[...] -= np.arange(samples, dtype=np.uint8) * np.isin(range(samples), places, invert=True)
    kept = [255 - place for place in range(samples) if place not in places]
    assert seen(given, of).ravel().tolist() == kept
    assert np.array_equal(seen(given, of, alpha=True), given)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_alpha_that_says_something_is_told(dtype: Any) -> None:
    most = 1 if dtype == np.float32 else np.iinfo(dtype).max
    of = page(samplesperpixel=2, extrasamples=(2,), bitspersample=16)
    given = np.full((1, 1, 2, 2), most, dtype)
    seen(given, of)
    given[0, 0, 1, 1] = 0
    with pytest.warns(UserWarning, match="an alpha channel is left out"):
        seen(given, of)


def test_a_palette_of_eight_bits_is_known_by_its_numbers() -> None:
    colours = np.array([[0, 1], [2, 3], [254, 255]], np.uint16)  # of each colour, [3, colours]
    expected = colours.T[[1, 0]].astype(np.uint8)
    for stored in (colours * 257, colours << 8):
        found = seen(pixels(1, 0), page(photometric=3, colormap=stored))
        assert found.dtype == np.uint8
        assert np.array_equal(found[0, 0], expected)
    deep = colours * 257
    deep[0, 1] += 1
    found = seen(pixels(1, 0), page(photometric=3, colormap=deep))
    assert found.dtype == np.uint16
    assert np.array_equal(found[0, 0], deep.T[[1, 0]])


def test_palettes_that_cannot_be_read_are_refused() -> None:
    colours = np.zeros((3, 4), np.uint16)
    assert seen(pixels(3), page(photometric=3, colormap=colours)).shape == (1, 1, 1, 3)
    with pytest.raises(ValueError, match="it names a colour that its palette lacks"):
        seen(pixels(4), page(photometric=3, colormap=colours))
    two = np.zeros((1, 1, 1, 2), np.uint8)
    for given, colormap in ((pixels(3), None), (two, colours), (pixels(3) * 1.0, colours)):
        with pytest.raises(ValueError, match="it has a palette that cannot be read"):
            seen(given, page(photometric=3, colormap=colormap))


def test_four_inks_become_colours() -> None:
    inks = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 4), np.uint8)
    picture = Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes())
    of = page(photometric=5, samplesperpixel=4)
    assert np.array_equal(seen(inks, of)[0], np.asarray(picture.convert("RGB")))
    with_alpha = page(photometric=5, samplesperpixel=5, extrasamples=(2,))
    opaque = np.concatenate([inks, np.full_like(inks[..., :1], 255)], axis=3)
    assert np.array_equal(seen(opaque, with_alpha), seen(inks, of))
    opaque[0, 0, 0, 4] = 254
    with pytest.warns(UserWarning, match="an RGB copy with alpha keeps it"):
        assert np.array_equal(seen(opaque, with_alpha), seen(inks, of))
    for given, said in (
        (inks.astype(np.uint16), r"inks \(CMYK\) of more than 8 bits \(uint16\)"),
        (inks[..., :3], "it has 3 inks, and only four"),
        (np.concatenate([inks, inks]), "it has 8 inks, and only four"),
    ):
        with pytest.raises(ValueError, match=said):
            seen(given, of)


@pytest.mark.parametrize(
    ("value", "orientation"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1), ("6", 1), (None, 1)]
)
def test_an_orientation_is_a_number_from_one_to_eight(value: Any, orientation: int) -> None:
    assert tiff._orientation(page(tags={274: SimpleNamespace(value=value)})) == orientation
    assert tiff._orientation(page()) == 1
    assert tiff._orientation(object()) == 1


# What a description promises


@pytest.mark.parametrize(
    ("description", "shape", "pages"),
    [
        ('<Pixels SizeC="2" SizeZ="3" SizeT="4" SizeX="99">', (2, 2), 24),
        ("<OME:Pixels SizeZ='5'/><Pixels SizeZ='6'/>", (2, 2), 11),
        ('{"shape": [6, 2, 2]}', (2, 2), 6),
        ("shape=(6, 2, 2)", (2, 2), 6),
        ('{"shape": [7, 3]}', (2, 5), 2),
        ("nothing", (2, 2), 0),
        ('a {"shape": [6, 2, 2]}', (2, 2), 0),
    ],
)
def test_a_file_holds_a_page_in_eight_bytes_at_least(
    description: str, shape: Any, pages: int, tmp_path: Path
) -> None:
    path = tmp_path / "1.tif"
    for length, is_enough in ((8 * pages, True), (8 * pages - 1, pages == 0)):
        path.write_bytes(bytes(max(0, length)))
        with path.open("rb") as file:
            if is_enough:
                tiff._check_promise(description, page(shape=shape), file)
                continue
            said = rf"the file has {length:,} bytes, but describes {pages} pages"
            with pytest.raises(ValueError, match=said):
                tiff._check_promise(description, page(shape=shape), file)


def test_nobody_has_more_than_a_million_pages(tmp_path: Path) -> None:
    path = tmp_path / "1.tif"
    with path.open("wb") as file:
        file.truncate(10**8)
    with path.open("rb") as file:
        tiff._check_promise('<Pixels SizeZ="1000000">', page(shape=(2, 2)), file)
        with pytest.raises(ValueError, match="but describes 1,000,001 pages"):
            tiff._check_promise('<Pixels SizeZ="1000001">', page(shape=(2, 2)), file)


# Axes


def series(axes: str, array: Any, per_page: int) -> Any:
    """A series of pages that hold the last axes of an array."""
    own = array.shape[array.ndim - per_page :]
    parts = array.reshape(-1, *own)
    pages = [SimpleNamespace(asarray=lambda part=part: part, shape=own) for part in parts]
    return SimpleNamespace(
        get_axes=lambda squeeze: axes,
        get_shape=lambda squeeze: array.shape,
        dtype=array.dtype,
        pages=pages,
        keyframe=pages[0],
        asarray=lambda out: array,
    )


LENGTHS = {"T": 2, "Z": 3, "C": 4, "Y": 5, "X": 6, "S": 7}


@pytest.mark.parametrize(
    ("axes", "per_page"),
    [
        *(("YX", 2), ("YXS", 3), ("SYX", 3), ("CYX", 2), ("CYX", 3), ("ZYX", 2), ("ZYX", 3)),
        *(("TZCYX", 2), ("ZTYX", 2), ("CZYX", 2), ("ZCYXS", 3), ("TCZSYX", 3), ("ZYXC", 3)),
        *(("TZCYXS", 4), ("XY", 2), ("ZSXY", 3)),
    ],
)
def test_a_frame_is_found_by_its_axes(axes: str, per_page: int) -> None:
    array = np.arange(np.prod([LENGTHS[axis] for axis in axes]))
    array = array.reshape([LENGTHS[axis] for axis in axes])
    of = series(axes, array, per_page)
    layout = tiff._Layout(of)
    outer = [axis for axis in axes if axis in "TZ"]
    counts = [LENGTHS[axis] for axis in outer]
    assert layout.count == int(np.prod(counts))
    assert layout.planes == (4 if "C" in axes else 1)
    assert layout.samples == (7 if "S" in axes else 1)
    assert layout.size == (5, 6)
    for place in range(layout.count):
        at = dict(zip(outer, np.unravel_index(place, counts or [1]), strict=False))
        expected = array[tuple(int(at[axis]) if axis in at else slice(None) for axis in axes)]
        left = [axis for axis in axes if axis not in at]
        for axis in "CYXS":
            if axis not in left:
                expected, left = expected[..., None], [*left, axis]
        expected = expected.transpose([left.index(axis) for axis in "CYXS"])
        assert np.array_equal(layout.read(of, place), expected)


def test_pages_that_only_say_how_the_rest_lies_are_read_as_one() -> None:
    array = np.arange(3 * 5 * 6).reshape(3, 5, 6)
    of = series("ZYX", array, 2)
    of.pages = of.pages[:1]
    assert np.array_equal(tiff._Layout(of).read(of, 2)[0, :, :, 0], array[2])


def test_a_page_that_is_missing_is_told() -> None:
    of = series("ZYX", np.zeros((3, 5, 6)), 2)
    of.pages[1] = None
    layout = tiff._Layout(of)
    assert layout.read(of, 0).shape == (1, 5, 6, 1)
    with pytest.raises(ValueError, match="a page that its description promises is missing"):
        layout.read(of, 1)


@pytest.mark.parametrize(
    ("axes", "shape"), [("ZX", (2, 3)), ("ZY", (2, 3)), ("YX", (0, 3)), ("ZYX", (2, 3, 0))]
)
def test_what_has_no_rows_or_columns_is_no_image(axes: str, shape: Any) -> None:
    of = SimpleNamespace(
        get_axes=lambda squeeze: axes, get_shape=lambda squeeze: shape, dtype=np.dtype(np.uint8)
    )
    with pytest.raises(ValueError, match=rf"it has no images: its axes are '{axes}', \["):
        tiff._Layout(of)
    of.dtype = None
    with pytest.raises(ValueError, match="its numbers are of no type that is known"):
        tiff._Layout(of)


# By Pillow


def lzw(array: Any, number: int = 0) -> TiffFrames:
    """An open file of some pages, of which the last is the array's."""
    stream = io.BytesIO()
    first = Image.new("L", (7, 2), 9)
    images = [first] * number + [Image.fromarray(array)]
    images[0].save(stream, "TIFF", save_all=True, append_images=images[1:])
    path = stream.getvalue()
    file: Any = io.BytesIO(path)
    frames = TiffFrames.__new__(TiffFrames)
    frames._file, frames._alpha = file, False
    file.seek(5)  # wherever it was left
    return frames


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize(
    ("kind", "bits", "channels"),
    [(np.uint8, 8, 1), (np.uint8, 8, 3), (np.uint16, 16, 1), (np.float32, 32, 1)],
)
def test_pillow_reads_a_page_of_which_it_cuts_nothing(
    kind: Any, bits: int, channels: int, number: int
) -> None:
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    array = (np.arange(HEIGHT * WIDTH * channels).reshape(shape) * 5).astype(kind)
    layout: Any = SimpleNamespace(samples=channels, planes=1)
    of = page(bitspersample=bits, dtype=np.dtype(kind), samplesperpixel=channels, index=number)
    found = lzw(array, number)._by_pillow(of, layout, None)
    assert np.array_equal(found.numpy(), array.reshape(HEIGHT, WIDTH, -1).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("others", "samples", "planes", "alpha"),
    [
        ({"bitspersample": 16, "dtype": np.dtype(np.uint16)}, 3, 1, False),
        ({"bitspersample": 12, "dtype": np.dtype(np.uint16)}, 1, 1, False),
        ({"bitspersample": 64, "dtype": np.dtype(np.float64)}, 1, 1, False),
        ({}, 2, 1, False),
        ({}, 1, 2, False),
        ({}, 1, 1, True),
        ({"photometric": 3}, 2, 1, False),
    ],
)
def test_pillow_reads_no_page_that_it_would_cut(
    others: Any, samples: int, planes: int, alpha: bool
) -> None:
    frames = lzw(np.zeros((HEIGHT, WIDTH), np.uint8))
    frames._alpha = alpha
    layout: Any = SimpleNamespace(samples=samples, planes=planes)
    of = page(samplesperpixel=samples, **others)
    cause = ValueError("no imagecodecs")
    said = rf"compressed \(5, {of.bitspersample} bits, {samples} channels\) and needs imagecodecs"
    with pytest.raises(ValueError, match=said) as caught:
        frames._by_pillow(of, layout, cause)
    assert caught.value.__cause__ is cause


def test_pillow_reads_truth_palettes_and_what_has_alpha_besides() -> None:
    one: Any = SimpleNamespace(samples=1, planes=1)
    truth = np.array([[True, False, True]])
    of = page(bitspersample=1, dtype=np.dtype(np.uint8))
    assert lzw(truth)._by_pillow(of, one, None).tolist() == [[[255, 0, 255]]]
    palette = page(photometric=3, bitspersample=4)
    assert lzw(np.zeros((2, 2), np.uint8))._by_pillow(palette, one, None).shape == (1, 2, 2)
    two: Any = SimpleNamespace(samples=2, planes=1)
    with_alpha = page(samplesperpixel=2, extrasamples=(2,))
    assert lzw(np.zeros((2, 2), np.uint8))._by_pillow(with_alpha, two, None).dtype == torch.uint8
