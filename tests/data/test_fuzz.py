"""Damaged images: each is read, or refused by an error that is expected, and never waited for.

`make fuzz` reads ten thousand; the suite a few hundred.
"""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from super_selfish.data.decoding import DECODING_ERRORS, read_header, read_image
from super_selfish.data.sources import ImageSource, Sample, Unreadable

TOTAL = int(os.environ.get("FUZZ", "400"))  # damaged files, over all formats
# Of the processor, for one file, whatever else the machine does. The largest picture that is read,
# 179 million pixels, takes 8.
SECONDS = 20.0


def picture(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Smooth with some noise, so that every format has something to pack."""
    generator = np.random.default_rng(0)
    line = np.linspace(0, np.iinfo(dtype).max - 40, int(np.prod(shape)))
    return (line + generator.integers(0, 40, line.shape)).astype(dtype).reshape(shape)


def by_pillow(image: NDArray[Any], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def by_tifffile(image: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def by_numpy(image: NDArray[Any], *, packed: bool = False) -> bytes:
    file = io.BytesIO()
    if packed:
        np.savez_compressed(file, image=image)
    else:
        np.save(file, image)
    return file.getvalue()


def by_pydicom(frames: NDArray[Any], *, packed: bool = False) -> bytes:
    """`[F, H, W]` of 16 bits."""
    if find_spec("pydicom") is None:
        return b""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME1"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept, data.PixelPaddingValue = "2", "-1024", 7
    data.PixelData = frames.tobytes()
    data["PixelData"].VR = "OW"
    if packed:
        data.compress(uid.RLELossless)
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def by_h5py(images: NDArray[Any], **options: Any) -> bytes:
    if find_spec("h5py") is None:
        return b""
    import h5py

    with tempfile.NamedTemporaryFile() as given:
        with h5py.File(given.name, "w") as file:
            file.create_dataset("images", data=images, **options)
            file["labels"] = np.arange(len(images))
        return Path(given.name).read_bytes()


def by_nibabel(volume: NDArray[Any], *, packed: bool = False) -> bytes:
    if find_spec("nibabel") is None:
        return b""
    import nibabel

    content: bytes = nibabel.Nifti1Image(volume, np.diag([-1, 1, 2, 1])).to_bytes()
    return gzip.compress(content) if packed else content


COLOUR = picture(33, 40, 3)
BANDS = picture(33, 40, 5, dtype=np.uint16)
BAND: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
SEVERAL: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(COLOUR[::-1])]}
FILES: dict[str, bytes] = {
    "plain.jpg": by_pillow(COLOUR, "JPEG"),
    "progressive.jpg": by_pillow(COLOUR, "JPEG", progressive=True),
    "plain.png": by_pillow(COLOUR, "PNG"),
    "deep.png": by_pillow(BANDS[..., 0], "PNG"),
    "animated.gif": by_pillow(COLOUR, "GIF", **SEVERAL),
    "plain.webp": by_pillow(COLOUR, "WEBP"),
    "animated.webp": by_pillow(COLOUR, "WEBP", **SEVERAL),
    "plain.bmp": by_pillow(COLOUR, "BMP"),
    "deep.ppm": b"P6 40 33 65535\n" + BANDS[..., :3].astype(">u2").tobytes(),
    "plain.ppm": by_pillow(COLOUR, "PPM"),
    "bands.tif": by_tifffile(BANDS, **BAND),
    "packed.tif": by_tifffile(BANDS, compression="zlib", tile=(16, 16), **BAND),
    "pages.tif": by_tifffile(BANDS.transpose(2, 0, 1), photometric="minisblack"),
    "ome.tif": by_tifffile(BANDS.transpose(2, 0, 1), ome=True, metadata={"axes": "CYX"}),
    "lzw.tif": by_pillow(COLOUR, "TIFF", compression="tiff_lzw"),
    "plain.npy": by_numpy(BANDS),
    "packed.npz": by_numpy(BANDS, packed=True),
    "plain.dcm": by_pydicom(BANDS[..., 0][None]),
    "frames.dcm": by_pydicom(BANDS.transpose(2, 0, 1), packed=True),
    "plain.nii": by_nibabel(BANDS),
    "packed.nii.gz": by_nibabel(BANDS, packed=True),
    "plain.h5": by_h5py(BANDS),
    "packed.h5": by_h5py(BANDS, chunks=(16, 16, 5), compression="gzip", shuffle=True),
}
FILES = {name: content for name, content in FILES.items() if content}  # whose package is there


def damaged(whole: bytes, generator: np.random.Generator) -> bytes:
    """One of the ways in which files break."""
    content = bytearray(whole)
    place = int(generator.integers(len(content)))
    start = int(generator.integers(min(200, len(content))))  # where headers are
    kind = int(generator.integers(7))
    if kind == 0:
        return bytes(content[:place])
    if kind == 1:
        content[place] ^= 1 << int(generator.integers(8))
    elif kind == 2:
        content[start] = int(generator.integers(256))
    elif kind == 3:
        content[start : start + 4] = generator.bytes(4)
    elif kind == 4:
        del content[place : place + int(generator.integers(1, 30))]
    elif kind == 5:
        content[place:place] = generator.bytes(int(generator.integers(1, 30)))
    else:
        end = min(len(content), place + 512)
        content[place:end] = bytes(end - place)
    return bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(sum(map(ord, name)) + TOTAL)
    path = tmp_path / name
    refused = 0
    for _ in range(max(1, TOTAL // len(FILES))):
        content = damaged(FILES[name], generator)
        path.write_bytes(content)
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, on what it finds odd
            for read in (read_header, read_image):
                for pages in (None, 0):
                    try:
                        read(path, pages=pages)
                    except DECODING_ERRORS:
                        refused += 1
                    except Exception as error:
                        raise AssertionError(f"{content!r} is no file that is refused") from error
        assert time.process_time() - began < SECONDS, content
    assert refused > 0


def test_the_damaged_are_named_and_the_others_read(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(40):
        whole = FILES["plain.png"]
        content = damaged(whole, generator) if number % 4 == 3 else whole
        (tmp_path / f"{number:02}.png").write_bytes(content)
    source = ImageSource(tmp_path, 32, 3, on_error="skip")
    items = [source[index] for index in range(40)]
    assert all(isinstance(items[index], Sample) for index in range(40) if index % 4 != 3)
    left_out = [item for item in items if isinstance(item, Unreadable)]
    assert len(left_out) > 3
    assert all(item.name.endswith(f"{item.index:02}.png") for item in left_out)
