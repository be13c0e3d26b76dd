from __future__ import annotations

import struct
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data.decoding import DECODING_ERRORS, count_frames, read_header, read_image
from super_selfish.data.sources import ImageSource, Sample, labels_of
from super_selfish.data.windows import dicom_window

pydicom: Any = pytest.importorskip("pydicom")
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    RLELossless,
)

from super_selfish.data.dicom import turned_over  # noqa: E402

HEIGHT, WIDTH = 34, 40


def stored(low: int, high: int, dtype: Any = np.uint16, *before: int) -> NDArray[Any]:
    """Numbers that are spread evenly and stand in no order."""
    shape = (*before, HEIGHT, WIDTH)
    line = np.linspace(low, high, int(np.prod(shape))).round().astype(dtype)
    return np.random.default_rng(0).permutation(line).reshape(shape)


def dataset(pixels: NDArray[Any], bits: int | None = None, **elements: Any) -> Any:
    """One that says of its pixels `[F, H, W]`, `[H, W]` or `[H, W, 3]` what a scanner says."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    is_colour = pixels.shape[-1] == 3
    data.Rows, data.Columns = pixels.shape[-3:-1] if is_colour else pixels.shape[-2:]
    data.SamplesPerPixel = 3 if is_colour else 1
    data.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    if is_colour:
        data.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def written(path: Path, pixels: NDArray[Any], bits: int | None = None, **elements: Any) -> Path:
    dataset(pixels, bits, **elements).save_as(path, enforce_file_format=True)
    return path


def bundled(name: str) -> str:
    """A file that comes with pydicom."""
    return str(get_testdata_file(name, download=False))


def read(path: Path, pages: Any = None) -> NDArray[Any]:
    """The image, which has the shape that the header promises."""
    image = read_image(path, None, pages)
    assert read_header(path, pages) == tuple(image.shape)
    return image.numpy()


# What the numbers mean


def test_a_scan_is_in_hounsfield_units(tmp_path: Path) -> None:
    raw = stored(0, 4095)
    path = written(tmp_path / "1.dcm", raw, 12, RescaleSlope="0.5", RescaleIntercept="-1024")
    image = read(path)
    assert image.dtype == np.float32
    assert np.array_equal(image[0], raw.astype(np.float32) / 2 - 1024)
    # Signed numbers that are such units already are of the same kind, so that a source has one.
    units = stored(-1024, 3071, np.int16)
    path = written(tmp_path / "2.dcm", units, RescaleSlope="1", RescaleIntercept="0")
    assert np.array_equal(read(path)[0], units.astype(np.float32))
    assert read(path).dtype == np.float32


def test_numbers_that_need_no_rescaling_stay_what_they_are(tmp_path: Path) -> None:
    raw = stored(0, 4095)
    for elements in ({}, {"RescaleSlope": "1", "RescaleIntercept": "0"}):
        image = read(written(tmp_path / "1.dcm", raw, 12, **elements))
        assert image.dtype == np.uint16 and np.array_equal(image[0], raw)
    source = ImageSource(tmp_path, value_range="bits")
    assert source.value_range == (0, 4095)


def test_low_is_bright_where_the_file_says_so(tmp_path: Path) -> None:
    path, kind = tmp_path / "1.dcm", {"PhotometricInterpretation": "MONOCHROME1"}
    raw = stored(0, 1023)
    assert np.array_equal(read(written(path, raw, 10, **kind))[0], 1023 - raw)
    scaled = written(path, raw, 10, RescaleSlope="2", RescaleIntercept="-100", **kind)
    assert np.array_equal(read(scaled)[0], (1023 - raw.astype(np.float32)) * 2 - 100)
    signed = stored(-512, 511, np.int16)
    assert np.array_equal(read(written(path, signed, 10, **kind))[0], -1 - signed)
    for numbers in (raw, raw.astype(np.float32)):
        with pytest.raises(ValueError, match=r"low is bright .*numbers lie beyond 8 bits"):
            turned_over(numbers, 8)


def test_padding_is_black(tmp_path: Path) -> None:
    raw = stored(100, 1000, np.int16)
    empty = np.zeros(raw.shape, bool)
    empty[:9] = True
    padded = np.where(empty, np.int16(-2000), raw)
    scaling: dict[str, Any] = {
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "PixelPaddingValue": -2000,
    }
    image = read(written(tmp_path / "1.dcm", padded, **scaling))[0]
    least = raw[~empty].min() - 1024
    assert np.array_equal(image, np.where(empty, least, raw.astype(np.float32) - 1024))
    # Of an image whose low is bright, black is what was high; padding may be a range of numbers.
    padded = np.where(empty, 4000, raw).astype(np.uint16)
    padded[0] = 4095
    elements = {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}
    path = written(
        tmp_path / "1.dcm", padded, 12, PhotometricInterpretation="MONOCHROME1", **elements
    )
    expected = np.where(empty, 4095 - raw[~empty].max(), 4095 - raw)
    assert np.array_equal(read(path)[0], expected)
    path = written(tmp_path / "1.dcm", np.full_like(padded, 4095), 12, PixelPaddingValue=4095)
    with pytest.raises(ValueError, match="none of its pixels holds data"):
        read_image(path)


def test_a_table_of_the_file_is_applied(tmp_path: Path) -> None:
    raw = stored(0, 255, np.uint8)
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = [number * number for number in range(256)]
    table["LUTData"].VR = "US"
    table.ModalityLUTType = "US"
    image = read(written(tmp_path / "1.dcm", raw, ModalityLUTSequence=[table]))
    assert image.dtype == np.uint16 and np.array_equal(image[0], raw.astype(np.uint16) ** 2)


def test_colours_are_rgb(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = written(tmp_path / "1.dcm", raw)
    assert np.array_equal(read(path), raw.transpose(2, 0, 1))
    source = ImageSource(path)
    assert (source.in_channels, source.image_size, source.values) == (3, (HEIGHT, WIDTH), None)
    path = written(tmp_path / "1.dcm", raw, PhotometricInterpretation="HSV")
    with pytest.raises(ValueError, match="its colours are stored as HSV"):
        read_image(path)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    raw = stored(0, 255, np.uint8)
    data = dataset(raw, PhotometricInterpretation="PALETTE COLOR")
    tables = np.random.default_rng(0).integers(0, 65536, (3, 256), dtype=np.uint16)
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        data[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(data, f"{name}PaletteColorLookupTableData", table.tobytes())
    data.save_as(tmp_path / "1.dcm", enforce_file_format=True)
    assert np.array_equal(read(tmp_path / "1.dcm"), tables[:, raw])


# Several frames


def test_frames_are_images_or_channels(tmp_path: Path) -> None:
    raw = stored(0, 65535, np.uint16, 4)
    path = written(tmp_path / "1.dcm", raw)
    with pytest.raises(ValueError, match="it holds 4 frames, and which of them is the image"):
        ImageSource(path)
    assert count_frames(path) == 4
    assert np.array_equal(read(path, "channels"), raw)
    assert np.array_equal(read(path, 2), raw[2:3])
    source = ImageSource(path, pages="frames")
    assert len(source) == 4
    item = source[3]
    assert isinstance(item, Sample) and np.array_equal(item.image.numpy(), raw[3:])


@pytest.mark.parametrize("place", ["PerFrame", "Shared"])
def test_frames_that_are_described_one_by_one_are_rescaled_so(place: str, tmp_path: Path) -> None:
    raw = stored(0, 4095, np.uint16, 3)
    groups = []
    for number in range(3 if place == "PerFrame" else 1):
        scale, group = Dataset(), Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = str(number + 2), "-5"
        group.PixelValueTransformationSequence = [scale]
        groups.append(group)
    elements = {f"{place}FunctionalGroupsSequence": groups}
    path = written(tmp_path / "1.dcm", raw, 12, **elements)
    slopes = np.array([2, 3, 4] if place == "PerFrame" else [2, 2, 2])
    assert np.array_equal(read(path, "channels"), raw * slopes[:, None, None] - 5)


# Windows


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
def test_the_window_of_a_file_says_which_numbers_are_black_and_white(
    kind: str, function: str | None, tmp_path: Path
) -> None:
    raw = stored(0, 4095)
    scaling = {"RescaleSlope": "0.5", "RescaleIntercept": "-1024"}
    window = {"WindowCenter": ["40", "-600"], "WindowWidth": ["400", "1500"]}
    given = {} if function is None else {"VOILUTFunction": function}
    path = written(
        tmp_path / "1.dcm", raw, 12, PhotometricInterpretation=kind, **scaling, **window, **given
    )
    units = raw / 2 - 1024.0
    for view, (center, width) in enumerate([(40, 400), (-600, 1500)]):
        if function == "SIGMOID":  # PS3.3, C.11.2.1.3.1
            expected = 1 / (1 + np.exp(-4 * (units - center) / width))
        elif function == "LINEAR_EXACT":  # C.11.2.1.3.2
            expected = np.clip((units - center) / width + 0.5, 0, 1)
        else:  # C.11.2.1.2.1
            expected = np.clip((units - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
        expected = 1 - expected if kind == "MONOCHROME1" else expected
        shown = dicom_window(path, view=view)
        assert shown.dtype == np.float32
        np.testing.assert_allclose(shown, expected, atol=1e-6)
    source = ImageSource(tmp_path, loader=dicom_window)
    item = source[0]
    assert isinstance(item, Sample) and source.value_range is None
    assert np.array_equal(item.image[0].numpy(), dicom_window(path))


def test_a_table_of_views_is_looked_up_and_padding_is_black(tmp_path: Path) -> None:
    raw = stored(0, 255, np.uint8)
    table = Dataset()
    table.LUTDescriptor = [256, 0, 10]
    values = np.linspace(1023, 0, 256).round().astype(np.uint16)  # bright is low in it
    table.LUTData = values.tobytes()
    table["LUTData"].VR = "OW"
    path = written(tmp_path / "1.dcm", raw, VOILUTSequence=[table], PixelPaddingValue=7)
    expected = np.where(raw == 7, 0, values[raw] / 1023)
    np.testing.assert_allclose(dicom_window(path), expected, atol=1e-6)


@pytest.mark.parametrize("place", ["PerFrame", "Shared"])
def test_a_frame_has_a_window_of_its_own(place: str, tmp_path: Path) -> None:
    raw = stored(0, 4095, np.uint16, 2)
    groups = []
    for number in range(2 if place == "PerFrame" else 1):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = str(1000 * (number + 1)), "500"
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    path = written(tmp_path / "1.dcm", raw, 12, **{f"{place}FunctionalGroupsSequence": groups})
    center = 2000 if place == "PerFrame" else 1000
    expected = np.clip((raw[1] - (center - 0.5)) / 499 + 0.5, 0, 1)
    source = ImageSource([path], loader=partial(dicom_window, frame=1))
    item = source[0]
    assert isinstance(item, Sample)
    np.testing.assert_allclose(item.image[0].numpy(), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"holds 2 frames: functools\.partial"):
        dicom_window(path)
    with pytest.raises(ValueError, match="there is no frame 2: it has 2"):
        dicom_window(path, frame=2)


def test_files_without_a_window_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "1.dcm", stored(0, 4095), 12)
    with pytest.raises(ValueError, match=r"1\.dcm: .*has no window of its own: value_range="):
        ImageSource([path], loader=dicom_window)
    path = written(tmp_path / "1.dcm", stored(0, 9), 12, WindowCenter="4", WindowWidth="9")
    with pytest.raises(ValueError, match="there is no window 1: it has 1"):
        dicom_window(path, view=1)
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(ValueError, match=r"it has colours \(RGB\)"):
        dicom_window(written(tmp_path / "2.dcm", colours, WindowCenter="4", WindowWidth="9"))
    (tmp_path / "3.png").write_bytes(b"none")
    with pytest.raises(ValueError, match="it is no DICOM file"):
        dicom_window(tmp_path / "3.png")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'super-selfish\[dicom\]'"):
        dicom_window(path)


# Files as they are met


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "extremes"),
    [  # pydicom's own, of scanners
        ("CT_small.dcm", (1, 128, 128), torch.float32, (128 - 1024, 2191 - 1024)),
        ("MR_small_RLE.dcm", (1, 64, 64), torch.int16, (127, 2145)),
        ("MR_small_bigendian.dcm", (1, 64, 64), torch.int16, (127, 2145)),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", (3, 100, 100), torch.uint8, (0, 255)),
        ("liver_1frame.dcm", (1, 512, 512), torch.bool, (0, 1)),
    ],
)
def test_files_of_scanners_are_read(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, extremes: tuple[int, int]
) -> None:
    path = bundled(name)
    image = read_image(path)
    assert (tuple(image.shape), image.dtype) == (shape, dtype) and read_header(path) == shape
    assert (float(image.float().min()), float(image.float().max())) == extremes


def test_a_folder_gives_them_with_and_without_an_ending(tmp_path: Path) -> None:
    names = ("ct/1.DCM", "ct/IM000001", "mr/1.2.840.113619.2.5.1762", "mr/2.dcm")
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path / name, stored(0, 60000 + number))
    dataset(stored(0, 9)).save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    (tmp_path / "ct" / "IM000009").write_bytes(b"something else" * 20)
    with pytest.warns(UserWarning, match=r"^2 files are left out.*: 2 without an ending; a loader"):
        source = ImageSource(tmp_path)
    assert [Path(source.name(i)).relative_to(tmp_path).as_posix() for i in range(4)] == list(names)
    labels = labels_of(source)
    assert labels is not None and labels.tolist() == [0, 0, 1, 1] and source.classes == ["ct", "mr"]


def test_a_picture_that_is_called_dicom_is_read_as_what_it_is(tmp_path: Path) -> None:
    Image.fromarray(stored(0, 255, np.uint8)).save(tmp_path / "1.png")
    path = (tmp_path / "1.png").rename(tmp_path / "1.dcm")
    assert np.array_equal(read(path)[0], stored(0, 255, np.uint8))
    path.write_bytes(b"x" * 500)
    with pytest.raises(ValueError, match=r"ends in \.dcm, but does not begin as DICOM does"):
        read_image(path)


def test_what_nothing_here_unpacks_is_refused_at_once_with_what_does(tmp_path: Path) -> None:
    path = bundled("MR_small_jpeg_ls_lossless.dcm")
    with pytest.raises(ValueError, match=r"compressed \(JPEG-LS Lossless.*pip install python-gdcm"):
        read_header(path)
    broken = dataset(stored(0, 9))
    broken.compress(RLELossless)
    broken.PixelData = broken.PixelData[:-200]
    broken.save_as(tmp_path / "1.dcm", enforce_file_format=True)
    with pytest.raises(DECODING_ERRORS):
        read_image(tmp_path / "1.dcm")


def test_files_without_an_image_say_what_they_are(tmp_path: Path) -> None:
    path = bundled("rtplan.dcm")
    with pytest.raises(ValueError, match=r"DICOM file without an image \(RT Plan Storage\)"):
        read_image(path)


# Without pydicom


def test_a_missing_package_is_named_when_a_source_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "1.dcm", stored(0, 65535))
    written(tmp_path / "IM000001", stored(0, 65535))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    install = r"pip install 'super-selfish\[dicom\]'"
    for data, options in ((path, {}), ([path], {"on_error": "skip"}), (path, {"pages": "frames"})):
        with pytest.raises(ModuleNotFoundError, match=rf"1\.dcm is DICOM, .*pydicom.*{install}"):
            ImageSource(data, **options)  # type: ignore[arg-type]
    reads = rf"{install} reads \.dcm, DICOM without an ending"
    with pytest.raises(ValueError, match=rf"no image in .*1 \.dcm, 1 DICOM without.*; {reads}"):
        ImageSource(tmp_path)
    Image.fromarray(stored(0, 255, np.uint8)).save(tmp_path / "2.png")
    with pytest.warns(UserWarning, match=rf"^2 files are left out.*own could read them; {reads}$"):
        assert len(ImageSource(tmp_path)) == 1


# Strangers' files


def test_no_dicom_file_takes_more_memory_than_it_is_long(tmp_path: Path) -> None:
    path = tmp_path / "1.dcm"
    data = dataset(stored(0, 9, np.uint16, 2), NumberOfFrames=2**31 - 1)
    data.save_as(path, enforce_file_format=True)
    with pytest.raises(ValueError, match=r"promises 2,147,483,647 images"):
        count_frames(path)
    written(path, stored(0, 9), Rows=65535, Columns=65535)
    with pytest.raises(ValueError, match=r"promises an image of 8\.6 GB"):
        read_image(path)
    content = bytearray(written(path, stored(0, 9)).read_bytes())
    place = content.index(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, HEIGHT * WIDTH * 2))
    content[place + 8 : place + 12] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    assert np.array_equal(read(path)[0], stored(0, 9))  # whose pixels are there, and no more


def test_a_deflated_dicom_file_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "1.dcm"
    data = dataset(stored(0, 9))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)

    def unpack(*arguments: Any) -> Any:
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(zlib, "decompress", unpack)
    with pytest.raises(ValueError, match="it is deflated as a whole"):
        read_header(path)
