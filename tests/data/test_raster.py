"""Frames of pictures, and which of them Pillow would cut."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data.raster import (
    RasterFrames,
    is_cut_by_pillow,
    numbers_from_opened,
    open_raster,
    orientation,
    raster_formats,
)
from tests.data.test_deep import chunk, numbers, png

SHADES = (0, 120, 250)


def saved(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def animation(kind: str = "GIF") -> Image.Image:
    """Three frames, opened."""
    frames = [Image.new("L", (6, 4), shade) for shade in SHADES]
    return open_raster(saved(frames[0], kind, save_all=True, append_images=frames[1:]))


def with_turn(image: Image.Image, kind: str, turn: int) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = turn
    return open_raster(saved(image, kind, exif=exif.tobytes()))


def test_only_raster_formats_are_opened() -> None:
    assert {"JPEG", "PNG", "GIF", "PPM"} <= set(raster_formats()) <= set(Image.OPEN)
    for kind in ("EPS", "TIFF", "PDF"):
        assert kind not in raster_formats()
        with pytest.raises(OSError, match="cannot identify image file"):
            open_raster(saved(Image.new("L", (4, 4)), kind))


def test_frames_of_an_animation_are_read_in_any_order() -> None:
    frames = RasterFrames(animation())
    assert frames.count == 3
    assert frames.noun == "frames"
    for place in (2, 0, 1, 2):
        assert int(frames.read(place).float().mean()) == SHADES[place]
    assert frames.shape(1)[1:] == (4, 6)
    assert frames.image.tell() == 1
    frames.shape(0)  # of the header, which is where it is
    assert frames.image.tell() == 1


def test_a_photograph_is_its_first_image_until_all_are_wanted() -> None:
    images = [Image.new("RGB", (6, 4), (shade,) * 3) for shade in SHADES]
    file = saved(images[0], "MPO", save_all=True, append_images=images[1:])
    opened = open_raster(file)
    assert opened.format == "MPO"
    assert RasterFrames(opened).count == 1
    assert RasterFrames(opened, "frames").count == 3
    assert RasterFrames(open_raster(saved(images[0], "JPEG")), "frames").count == 1
    assert RasterFrames(open_raster(saved(images[0], "PNG")), "frames").count == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_its_orientation_says(kind: str, turn: int) -> None:
    grey = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5)
    image = with_turn(grey, kind, turn)
    assert orientation(image) == turn
    frames = RasterFrames(image)
    shape = frames.shape(0)
    assert shape == ((1, 8, 6) if turn > 4 else (1, 6, 8))
    found = frames.read(0)
    assert found.shape == shape
    upright = np.asarray(grey)
    upright = upright.T if turn > 4 else upright
    upright = upright[::-1] if turn in (3, 4, 7, 8) else upright
    upright = upright[:, ::-1] if turn in (2, 3, 6, 7) else upright
    assert np.abs(found[0].float().numpy() - upright).max() <= (8 if kind == "JPEG" else 0)


def test_without_a_word_a_picture_is_upright() -> None:
    assert orientation(Image.new("L", (1, 1))) == 1


def test_a_jpeg_is_decoded_at_the_fraction_that_covers_both_sides() -> None:
    image = Image.new("RGB", (256, 128), "red")
    for cover, side in ((None, 256), ((8, 8), 32), ((8, 16), 64), ((32, 1), 128), ((65, 1), 256)):
        frames = RasterFrames(open_raster(saved(image, "JPEG")))
        assert frames.read(0, cover).shape == (3, side // 2, side)
    assert RasterFrames(open_raster(saved(image, "PNG"))).read(0, (8, 8)).shape == (3, 128, 256)


def test_a_picture_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from super_selfish.data import raster

    asked: list[int] = []
    monkeypatch.setattr(raster, "check_size", asked.append)
    RasterFrames(open_raster(saved(Image.new("RGB", (6, 4)), "PNG"))).read(0)
    assert asked == [6 * 4 * 8]  # of 16 bits and four bands


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_deep_png_has_its_channels_with_alpha_if_wanted(alpha: bool, channels: int) -> None:
    array = numbers(channels)
    if channels in (2, 4):
        array[..., -1] = 65535  # which may be left out without a word
    frames = RasterFrames(open_raster(io.BytesIO(png(array))), alpha=alpha)
    kept = channels if alpha else channels - (channels in (2, 4))
    found = frames.read(0)
    assert found.dtype == torch.uint16
    assert np.array_equal(found.numpy(), array.transpose(2, 0, 1)[:kept])
    assert RasterFrames(open_raster(io.BytesIO(png(array))), alpha=alpha).shape(0) == found.shape


@pytest.mark.parametrize("channels", [2, 4])
def test_deep_alpha_that_says_something_is_told(channels: int) -> None:
    array = numbers(channels)
    array[..., -1] = 65535
    array[3, 4, -1] = 65534
    with pytest.warns(UserWarning, match="an alpha channel is left out"):
        RasterFrames(open_raster(io.BytesIO(png(array)))).read(0)


# What is opened


def test_an_opened_animation_is_the_frame_to_which_it_was_moved() -> None:
    opened = animation()
    opened.seek(2)
    assert int(numbers_from_opened(opened, None).float().mean()) == SHADES[2]
    assert int(numbers_from_opened(opened, 1).float().mean()) == SHADES[1]
    opened.seek(0)
    with pytest.raises(ValueError, match="it holds 3 frames"):
        numbers_from_opened(opened, None)
    every = numbers_from_opened(opened, "channels").reshape(3, -1)  # three colours each
    assert every.float().mean(dim=1).tolist() == list(SHADES)
    assert numbers_from_opened(Image.new("RGB", (6, 4)), None).shape == (3, 4, 6)


def test_a_loader_chooses_the_frame_itself() -> None:
    opened = animation()
    with pytest.raises(ValueError, match="the loader gives an opened GIF of 3 frames, of which"):
        numbers_from_opened(opened, None, giver="loader")
    one = open_raster(saved(Image.new("L", (6, 4), 9), "PNG"))
    assert int(numbers_from_opened(one, None, giver="loader").float().mean()) == 9


@pytest.mark.parametrize(
    ("giver", "remedy"),
    [
        ("dataset", "let the dataset give the path of the file, or an array"),
        ("loader", "let the loader give an array, or leave loader= out"),
    ],
)
def test_an_opened_picture_that_would_be_cut_is_refused(giver: Any, remedy: str) -> None:
    opened = open_raster(io.BytesIO(png(numbers(3))))
    with pytest.raises(ValueError, match=f"it is an opened PNG with more than 8 bits.*: {remedy}"):
        numbers_from_opened(opened, None, giver=giver)


def test_an_opened_picture_is_not_turned_and_keeps_alpha_if_wanted() -> None:
    turned = with_turn(Image.new("RGBA", (6, 4), (1, 2, 3, 255)), "PNG", 6)
    assert numbers_from_opened(turned, None).shape == (3, 4, 6)
    assert numbers_from_opened(turned, None, alpha=True).shape == (4, 4, 6)


# What Pillow cuts


def looked_at(kind: str, mode: str = "RGB", raw: Any = "RGB", **others: Any) -> bool:
    tile = [("raw", (0, 0, 1, 1), 0, raw)]
    image: Any = SimpleNamespace(format=kind, mode=mode, tile=tile, **others)
    return is_cut_by_pillow(image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_sixteen_bits_of_colour_are_cut(mode: str) -> None:
    for raw in ("RGB;16B", "RGB;16L", "RGB;16N", ("RGB;16B", 0, 1)):
        assert looked_at("PNG", mode, raw)
    for raw in ("RGB", "RGB;16", ("RGB", 16), ()):  # type: ignore[assignment]
        assert not looked_at("PNG", mode, raw)


def test_deep_grey_is_not_cut() -> None:
    assert not looked_at("PNG", "I;16", "I;16B")


def test_a_ppm_is_cut_above_255() -> None:
    for raw, is_cut in ((("RGB", 255), False), (("RGB", 256), True), (("RGB", 65535), True)):
        assert looked_at("PPM", "RGB", raw) is is_cut


def test_a_tiff_is_cut_above_eight_bits() -> None:
    assert not looked_at("TIFF")
    for bits, is_cut in ((8, False), (9, True), ((8, 8, 8), False), ((8, 16, 8), True)):
        assert looked_at("TIFF", tag_v2={258: bits}) is is_cut


@pytest.mark.parametrize("kind", ["JPEG2000", "AVIF"])
def test_lossy_formats_are_cut_by_what_their_headers_say(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from super_selfish.data import raster

    for bits, is_cut in ((8, False), (9, True)):
        monkeypatch.setattr(raster, "lossy_bits", lambda image, bits=bits: bits)
        assert looked_at(kind) is is_cut
        assert not looked_at("PNG")


def test_a_deep_picture_that_is_neither_png_nor_ppm_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from super_selfish.data import raster

    image = Image.new("RGB", (6, 4))
    monkeypatch.setattr(raster, "is_cut_by_pillow", lambda image: True)
    with pytest.raises(ValueError, match="it is JPEG with more than 8 bits a channel, of which 8"):
        RasterFrames(open_raster(saved(image, "JPEG"))).read(0)
    with pytest.raises(ValueError, match="it is GIF with more than 8 bits"):
        RasterFrames(animation()).read(1)


def test_a_png_that_says_at_its_end_how_it_lies_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.new("L", (8, 6)), "PNG").getvalue()
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    found = RasterFrames(open_raster(io.BytesIO(content[:-12] + late + content[-12:]))).read(0)
    assert found.shape == (1, 8, 6)
