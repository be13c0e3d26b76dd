from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data import jpeg
from super_selfish.data.conversion import checked_values, numbers_from_pil
from super_selfish.data.decoding import DECODING_ERRORS, read_image
from super_selfish.data.sources import ImageSource, Sample

DATASETS = Path(__file__).parents[2].parent / "shared" / "datasets"  # beside the repository
PHOTOGRAPHS = DATASETS / "imagenette" / "imagenette_224_sample.tar"
DECODED = 1  # grey levels between the two decoders: none where both hold the same libjpeg-turbo
RESIZED = 2  # one more by the two ways to resize


def picture(height: int = 60, width: int = 83, seed: int = 0) -> Image.Image:
    """Smooth colours with edges and some noise, as photographs have them."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, dtype=np.int16) + generator.integers(-6, 7, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, "JPEG", **options)
    return path


def by_pil(path: Path | io.BytesIO) -> Tensor:
    with Image.open(path) as image:
        return checked_values(numbers_from_pil(image), None)


def distance(first: Tensor, second: Tensor) -> int:
    assert first.shape == second.shape
    return int((first.int() - second.int()).abs().max())


@pytest.fixture(params=["simplejpeg", "torchvision"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fast decoder in use."""
    decoders = jpeg.available_decoders()
    if request.param not in decoders:
        pytest.skip(f"needs {request.param}")
    monkeypatch.setattr(jpeg, "_DECODER", decoders[request.param])
    return str(request.param)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, decoder: str) -> list[jpeg.Shape]:
    """Shapes of the files that the fast decoder has read."""
    shapes: list[jpeg.Shape] = []
    decode = jpeg.decode_jpeg

    def watch(data: bytes, shape: jpeg.Shape, factor: int = 1) -> Tensor | None:
        pixels = decode(data, shape, factor)
        if pixels is not None:
            shapes.append(shape)
        return pixels

    monkeypatch.setattr("super_selfish.data.decoding.decode_jpeg", watch)
    return shapes


def refuse(*arguments: Any) -> Any:
    raise AssertionError(f"asked for {arguments}")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 30},
        {"quality": 97, "subsampling": "4:4:4"},
        {"subsampling": "4:2:2"},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"optimize": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(60, 83), (8, 8), (1, 5)])
def test_pixels_are_those_of_pil(
    tmp_path: Path,
    mode: str,
    options: dict[str, Any],
    size: tuple[int, int],
    decoded: list[jpeg.Shape],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = saved(tmp_path / "1.jpg", picture(*size).convert(mode), **options)
    expected = by_pil(path)
    monkeypatch.setattr(Image, "open", refuse)
    image = read_image(path)
    assert decoded == [tuple(expected.shape)]
    assert image.dtype == torch.uint8
    assert distance(image, expected) <= DECODED


@pytest.mark.usefixtures("decoder")
def test_colours_that_were_stored_as_rgb_are_read_as_such(tmp_path: Path) -> None:
    path = saved(tmp_path / "1.jpg", picture(), keep_rgb=True)
    assert distance(read_image(path), by_pil(path)) <= DECODED


def test_a_header_that_says_more_is_read_by_pil_and_the_pixels_are_not(
    tmp_path: Path, decoded: list[jpeg.Shape]
) -> None:
    upright = Image.Exif()
    upright[0x0112] = 1
    options: list[dict[str, Any]] = [{"exif": upright}, {"icc_profile": b"profile"}, {}]
    for option in options:
        path = saved(tmp_path / "1.jpg", picture(), **option)
        if not option:  # an XMP packet, which Pillow writes from 11 on only
            packet = b"http://ns.adobe.com/xap/1.0/\x00<x"
            segment = b"\xff\xe1" + (2 + len(packet)).to_bytes(2, "big") + packet
            data = path.read_bytes()
            path.write_bytes(data[:2] + segment + data[2:])
        assert jpeg.plain_shape(path.read_bytes()) is None
        assert distance(read_image(path), by_pil(path)) <= DECODED
    path = saved(tmp_path / "1.jpg", picture()).rename(tmp_path / "named otherwise")
    assert distance(read_image(path), by_pil(path)) <= DECODED
    assert len(decoded) == 4


@pytest.mark.parametrize(
    ("mark", "is_plain"),
    [
        (0xFFC4, True),  # Huffman tables
        (0xFFDB, True),  # quantisation tables
        (0xFFDD, True),  # restart interval
        (0xFFE0, True),  # JFIF
        (0xFFEE, True),  # Adobe
        (0xFFFE, True),  # a comment
        (0xFFE1, False),  # EXIF, which may turn the image
        (0xFFE2, False),  # a colour profile
        (0xFFCC, False),  # arithmetic coding
    ],
)
def test_what_may_stand_before_the_size_of_a_plain_file(mark: int, is_plain: bool) -> None:
    segment = struct.pack(">HH4x", mark, 6)
    frame = struct.pack(">HHBHHB", 0xFFC0, 17, 8, 20, 30, 3)
    shape = jpeg.plain_shape(b"\xff\xd8" + 2 * segment + frame)
    assert shape == ((3, 20, 30) if is_plain else None)


@pytest.mark.usefixtures("decoder")
def test_pil_warns_of_a_file_with_too_many_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "1.jpg", picture(60, 83))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 83 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        read_image(path)
    for limit in (60 * 83, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_image(path).shape == (3, 60, 83)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("target", [(60, 60), (45, 83), (32, 48), (225, 225)])
def test_resized_images_agree_with_open_and_resize(tmp_path: Path, target: tuple[int, int]) -> None:
    path = saved(tmp_path / "1.jpg", picture(120, 166))
    sample = ImageSource(tmp_path, target)[0]
    assert isinstance(sample, Sample)
    assert distance(sample.image, open_and_resize(path, target)) <= RESIZED


def open_and_resize(path: Path | io.BytesIO, target: tuple[int, int]) -> Tensor:
    """What users of PIL write: open, RGB, cover the target, cut out the middle."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    height, width = target
    scale = max(height / image.height, width / image.width)
    covering = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    resized = image.resize(covering, Image.Resampling.BILINEAR)
    cropped = resized.crop((left, top, left + width, top + height))
    return checked_values(numbers_from_pil(cropped), None)


@pytest.mark.usefixtures("decoder")
@pytest.mark.skipif(not PHOTOGRAPHS.is_file(), reason=f"no photographs at {PHOTOGRAPHS}")
def test_photographs_agree_with_open_and_resize(tmp_path: Path) -> None:
    with tarfile.open(PHOTOGRAPHS) as tar:
        members = [member for member in tar if member.name.endswith(".jpg")][::8]
        for number, member in enumerate(members):
            content = tar.extractfile(member)
            assert content is not None
            (tmp_path / f"{number:03}.jpg").write_bytes(content.read())
    source = ImageSource(tmp_path, 160, 3)
    assert len(source) == 25
    for index in range(len(source)):
        path = tmp_path / f"{index:03}.jpg"
        sample = source[index]
        assert isinstance(sample, Sample)
        assert distance(sample.image, open_and_resize(path, (160, 160))) <= RESIZED
        with Image.open(path) as opened:
            assert (
                distance(read_image(path), checked_values(numbers_from_pil(opened), None))
                <= DECODED
            )


def test_what_is_unusual_is_left_to_pil(tmp_path: Path, decoded: list[jpeg.Shape]) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    saved(tmp_path / "turned.jpg", picture(), exif=turned)
    saved(tmp_path / "cmyk.jpg", picture().convert("CMYK"))
    picture().save(tmp_path / "png.jpg", "PNG")
    picture().save(tmp_path / "several.jpg", "MPO", save_all=True, append_images=[picture(seed=1)])
    for name in ("cmyk.jpg", "png.jpg", "several.jpg"):
        assert torch.equal(read_image(tmp_path / name), by_pil(tmp_path / name))
    upright = by_pil(tmp_path / "turned.jpg").rot90(-1, (1, 2))
    assert distance(read_image(tmp_path / "turned.jpg"), upright) <= DECODED
    assert decoded == [(3, 60, 83)]  # of the one that is only turned


def test_a_jpeg_far_too_large_is_decoded_at_a_fraction(
    tmp_path: Path, decoder: str, decoded: list[jpeg.Shape]
) -> None:
    path = saved(tmp_path / "1.jpg", picture(403, 401))
    for side, size in ((50, (101, 101)), (25, (51, 51)), (100, (202, 201)), (120, (403, 401))):
        with Image.open(path) as image:
            if side < 120:
                image.draft(None, (2 * side, 2 * side))
            expected = checked_values(numbers_from_pil(image), None)
        assert expected.shape[1:] == size
        decoded.clear()
        assert distance(read_image(path, (side, side)), expected) <= DECODED
        fast = decoder == "simplejpeg" or side == 120  # torchvision decodes whole images only
        assert decoded == ([(3, *size)] if fast else [])


def outcome(path: Path) -> Tensor | str:
    try:
        return read_image(path)
    except DECODING_ERRORS as error:
        return f"{type(error).__name__}: {error}"


def is_damaged_by_libjpeg(path: Path) -> bool:
    """Whether libjpeg warns of lost data, as simplejpeg alone tells."""
    simplejpeg = pytest.importorskip("simplejpeg")
    try:
        simplejpeg.decode_jpeg(path.read_bytes())
    except ValueError as error:
        return "Corrupt JPEG data" in str(error) or "Premature end" in str(error)
    return False


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_broken_files_end_as_with_pil_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], decoder: str
) -> None:
    whole = saved(tmp_path / "1.jpg", picture(), **options).read_bytes()
    generator = np.random.default_rng(0)
    broken = [whole[:length] for length in range(2, len(whole), len(whole) // 40)]
    broken += [whole[:-2], whole + b"more", whole[:700] + whole[730:]]
    for _ in range(60):
        changed = bytearray(whole)
        changed[generator.integers(len(whole))] = generator.integers(256)
        broken.append(bytes(changed))
    for place in range(whole.index(b"\xff\xda") + 14):  # of the header every byte
        changed = bytearray(whole)
        changed[place] = generator.integers(256)
        broken.append(bytes(changed))
    failures = 0
    for number, content in enumerate(broken):
        path = tmp_path / f"broken{number}.jpg"
        path.write_bytes(content)
        ours = outcome(path)
        with monkeypatch.context() as without:
            without.setattr(jpeg, "_DECODER", None)
            expected = outcome(path)
        if isinstance(expected, str):
            assert ours == expected
            failures += 1
        elif decoder == "simplejpeg" and is_damaged_by_libjpeg(path):  # PIL makes pixels up
            assert isinstance(ours, str) and ours.startswith("DamagedError: the file is damaged (")
        else:
            assert isinstance(ours, Tensor)
            assert distance(ours, expected) <= DECODED
    assert failures > 20


@pytest.mark.usefixtures("decoder")
def test_a_file_that_the_fast_decoder_gives_up_is_read_by_pil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "1.jpg", picture())
    assert jpeg.decode_jpeg(path.read_bytes()[:500], (3, 60, 83), 1) is None
    monkeypatch.setattr("super_selfish.data.decoding.decode_jpeg", lambda *arguments: None)
    assert torch.equal(read_image(path), by_pil(path))


@pytest.mark.usefixtures("decoder")
def test_a_file_that_is_not_what_its_header_promised_is_not_taken(tmp_path: Path) -> None:
    data = saved(tmp_path / "1.jpg", picture()).read_bytes()
    assert jpeg.decode_jpeg(data, (3, 60, 83), 1) is not None
    assert jpeg.decode_jpeg(data, (3, 61, 83), 1) is None


def test_without_a_fast_decoder_pil_reads_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg, "_DECODER", None)
    path = saved(tmp_path / "1.jpg", picture())
    assert torch.equal(read_image(path), by_pil(path))


def test_the_fastest_decoder_that_is_installed_comes_first() -> None:
    pytest.importorskip("simplejpeg")
    assert next(iter(jpeg.available_decoders())) == "simplejpeg"
