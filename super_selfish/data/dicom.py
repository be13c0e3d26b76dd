"""DICOM by pydicom: the numbers that a file means, all of them.

Grey images are rescaled by the file's own slope and intercept (or its table), to Hounsfield units
and the like, and turned over where the file says that low is bright (MONOCHROME1). Pixels that the
file calls padding have measured nothing and get the least number of the others. Colours come as
RGB. (DICOM PS3.3, C.7.6.3 and C.11.1.)

Shapes: `C, H, W` channels, height, width of a frame.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread, pixels, uid
from pydicom.filereader import read_file_meta_info
from torch import Tensor

from super_selfish.data.conversion import number_tensor
from super_selfish.data.empty_pixels import darkened
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Frames, Shape
from super_selfish.data.regular import check_count, check_size

_GREY, _PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # pydicom makes RGB of them


class DicomFrames(Frames):
    """The images of an open DICOM file."""

    noun = "frames"

    def __init__(self, file: BinaryIO) -> None:
        """Reads the header.

        Args:
            file: Open for reading.

        Raises:
            ValueError: It holds no image, or one that is packed in a way that nothing here unpacks.
        """
        self._file = file
        with config.disable_value_validation():  # names of patients are not our concern
            syntax = read_file_meta_info(file.name).get("TransferSyntaxUID", uid.UID(""))
            if syntax == uid.DeflatedExplicitVRLittleEndian:  # unpacked as a whole, however large
                raise ValueError("it is deflated as a whole: store it otherwise (dcmconv +te)")
            file.seek(0)
            self._data: Any = dcmread(file, stop_before_pixels=True)
        if not self._data.get("Rows") or not self._data.get("Columns"):
            kind = getattr(self._data.get("SOPClassUID"), "name", "something else")
            raise ValueError(f"it is a DICOM file without an image ({kind})")
        if not pixels.get_decoder(syntax).is_available:
            raise ValueError(_packed(syntax.name))
        self._kind = str(self._data.PhotometricInterpretation)
        if self._kind not in (*_GREY, *_COLOURS, _PALETTE):
            raise ValueError(f"its colours are stored as {self._kind}, which is not read")
        self.count = int(self._data.get("NumberOfFrames") or 1)
        check_count(self.count, file)

    def shape(self, frame: int) -> Shape:
        """Shape of an image by the header."""
        channels = 3 if self._kind == _PALETTE else self._data.SamplesPerPixel
        return int(channels), int(self._data.Rows), int(self._data.Columns)

    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        """Decodes an image, `[C, H, W]`."""
        data, (channels, height, width) = self._data, self.shape(frame)
        check_size(channels * height * width * max(1, data.BitsAllocated // 8), self._file)
        stored = self._decoded(frame)  # [H, W], or [H, W, 3]
        if self._kind in _GREY:
            stored = self._measured(stored, frame)
        elif self._kind == _PALETTE:
            stored = pixels.apply_color_lut(stored, data)
        return number_tensor(stored[None] if stored.ndim == 2 else np.moveaxis(stored, 2, 0))

    def windowed(self, frame: int, view: int = 0) -> NDArray[np.float32]:
        """An image as the file's own window shows it (VOI LUT; PS3.3, C.11.2): black 0, white 1.

        Args:
            frame: Position.
            view: Which window, where the file has several.

        Returns:
            `[H, W]`, in [0, 1].

        Raises:
            ValueError: It has colours, or no such window.
        """
        if self._kind not in _GREY:
            raise ValueError(f"it has colours ({self._kind}), and windows are for grey images")
        window = self._window(frame)
        table, center = window.get("VOILUTSequence"), window.get("WindowCenter")
        if not table and center is None:
            raise ValueError("it has no window of its own: value_range=(low, high) says one")
        views = len(table) if table else np.size(center)
        if not 0 <= view < views:
            raise ValueError(f"there is no window {view}: it has {views}, counted from 0")
        _, height, width = self.shape(frame)
        check_size(height * width * 8, self._file)
        stored = self._decoded(frame)
        empty = self._padding(stored)
        measured = pixels.apply_modality_lut(stored, self._scale(frame))
        if table:
            shown = pixels.apply_voi(measured.round().astype(np.int64), window, view)
            shown = shown / (2.0 ** table[view].LUTDescriptor[2] - 1)
        else:
            shown = pixels.apply_windowing(measured, _as_bits(window), view)
        if self._kind == "MONOCHROME1":
            shown = 1 - shown
        if empty is not None:
            shown = np.where(empty, 0, shown)
        return shown.astype(np.float32)

    def _decoded(self, frame: int) -> NDArray[Any]:
        """What is stored of an image."""
        self._file.seek(0)
        try:
            return pixels.pixel_array(self._file, index=frame)
        except RuntimeError as error:  # all of its decoders have failed
            raise ValueError(_packed(self._data.file_meta.TransferSyntaxUID.name, error)) from error

    def _measured(self, stored: NDArray[Any], frame: int) -> NDArray[Any]:
        """What was measured; the stored numbers where that is the same."""
        empty, is_signed = self._padding(stored), stored.dtype.kind == "i"
        if self._kind == "MONOCHROME1":
            stored = turned_over(stored, int(self._data.BitsStored))
        if self._data.BitsStored == 1:
            return stored.astype(bool)
        scale = self._scale(frame)
        is_same = (scale.get("RescaleSlope", 1), scale.get("RescaleIntercept", 0)) == (1, 0)
        measured = pixels.apply_modality_lut(stored, scale)
        if measured.dtype.kind == "f" and stored.dtype.kind != "f":
            # Signed numbers are so many units, as those of another file that begins at -1024.
            measured = stored if is_same and not is_signed else measured.astype(np.float32)
        return measured if empty is None else darkened(measured, empty)

    def _scale(self, frame: int) -> Any:
        """Where slope and intercept stand."""
        return self._of_frame("PixelValueTransformationSequence", frame)

    def _window(self, frame: int) -> Any:
        """Where windows stand."""
        return self._of_frame("FrameVOILUTSequence", frame)

    def _of_frame(self, sequence: str, frame: int) -> Any:
        """The file itself; where it describes each frame, or all of them, elsewhere, that place."""
        for name, place in (("PerFrame", frame), ("Shared", 0)):
            groups = self._data.get(f"{name}FunctionalGroupsSequence")
            if groups and sequence in groups[place]:
                return groups[place][sequence][0]
        return self._data

    def _padding(self, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        value = self._data.get("PixelPaddingValue")
        if value is None:
            return None
        bounds = (int(value), int(self._data.get("PixelPaddingRangeLimit", value)))
        return (stored >= min(bounds)) & (stored <= max(bounds))


def _as_bits(window: Any) -> Any:
    """A window of an image of one bit, so that pydicom's formulas go from 0 to 1."""
    given = Dataset()
    given.PhotometricInterpretation = "MONOCHROME2"
    given.BitsStored, given.PixelRepresentation = 1, 0
    for name in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
        if name in window:
            given[name] = window[name]
    return given


def turned_over(stored: NDArray[Any], bits: int) -> NDArray[Any]:
    """Low numbers for high ones, within the same bits.

    Args:
        stored: Integers.
        bits: Of each that count.

    Raises:
        ValueError: They are none, or take more bits.
    """
    if stored.dtype.kind == "i":
        return ~stored
    most = 2**bits - 1
    if stored.dtype.kind != "u" or int(stored.max()) > most:
        raise ValueError(f"low is bright in it (MONOCHROME1), but numbers lie beyond {bits} bits")
    return stored.dtype.type(most) - stored


def _packed(syntax: str, error: Exception | None = None) -> str:
    why = "" if error is None else f" ({str(error).strip().splitlines()[-1].strip()})"
    return (
        f"it is compressed ({syntax}), and pydicom cannot unpack it{why}; if it is not broken, one "
        "of these does: pip install python-gdcm, or pylibjpeg with pylibjpeg-libjpeg and "
        "pylibjpeg-openjpeg"
    )
