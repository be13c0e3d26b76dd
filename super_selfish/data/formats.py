"""Formats that a package of their own reads, each an extra of this library.

A file is known by its first bytes, whatever its ending says; a folder gives the files that end as
these do, and of those without an ending, or with a number for one, the DICOM files. A package is
imported when the first file of its format is opened.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from super_selfish.data.frames import Frames, Pages, are_slices
from super_selfish.data.regular import open_regular

HEAD_BYTES = 352  # by which a format is known: the header of NIfTI
_GZIP = b"\x1f\x8b"
_DICOM_MARK = slice(128, 132)


class Format(NamedTuple):
    """A format, and what reads it.

    Attributes:
        name: As people call it.
        endings: Of its files, in lower case.
        package: That reads it.
        extra: Of this library, which installs the package.
        starts: Whether a file that begins so is one.
        open: The images of an open file.
        is_array: Whether its files are, beside pictures, labels or features more often than images.
    """

    name: str
    endings: tuple[str, ...]
    package: str
    extra: str
    starts: Callable[[bytes], bool]
    open: Callable[[BinaryIO, Pages], Frames]
    is_array: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the package is there."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def remedy(self) -> str:
        """What installs it."""
        return f"pip install 'super-selfish[{self.extra}]'"

    def frames(self, file: BinaryIO, pages: Pages) -> Frames:
        """The images of an open file.

        Args:
            file: At its beginning.
            pages: Whether several images matter.

        Raises:
            ModuleNotFoundError: The package is missing.
            ValueError: The file is broken, or holds no image that can be kept.
        """
        if not self.is_installed:
            name = file.name if isinstance(file.name, str) else "the file"
            raise ModuleNotFoundError(
                f"{name} is {self.name}, which {self.package} reads: {self.remedy}",
                name=self.package,
            )
        return self.open(file, pages)


def _dicom(file: BinaryIO, pages: Pages) -> Frames:
    from super_selfish.data.dicom import DicomFrames

    return DicomFrames(file)


def _hdf5(file: BinaryIO, pages: Pages) -> Frames:
    from super_selfish.data.hdf5 import Hdf5Frames

    return Hdf5Frames(file, pages)


def _nifti(file: BinaryIO, pages: Pages) -> Frames:
    from super_selfish.data.nifti import NiftiFrames

    return NiftiFrames(file, volumes_are_channels=are_slices(pages))


DICOM = Format(
    "DICOM",
    endings=(".dcm", ".dicom", ".ima"),
    package="pydicom",
    extra="dicom",
    starts=lambda head: head[_DICOM_MARK] == b"DICM",
    open=_dicom,
)
NIFTI = Format(
    "NIfTI",
    endings=(".nii", ".nii.gz"),
    package="nibabel",
    extra="nifti",
    # Packed, nothing else is known here.
    starts=lambda head: b"n+1\0" == head[344:348] or head[4:7] == b"n+2" or head[:2] == _GZIP,
    open=_nifti,
)
HDF5 = Format(
    "HDF5",
    endings=(".h5", ".hdf5"),
    package="h5py",
    extra="hdf5",
    starts=lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"),
    open=_hdf5,
    is_array=True,
)
FORMATS = (DICOM, NIFTI, HDF5)


def format_of(head: bytes) -> Format | None:
    """The format of a file, if it is one of these.

    Args:
        head: Its first `HEAD_BYTES`, or all that it has.
    """
    return next((each for each in FORMATS if each.starts(head)), None)


def format_named(name: str) -> Format | None:
    """The format of files that end as this name does."""
    lowered = name.lower()
    return next((each for each in FORMATS if lowered.endswith(each.endings)), None)


def endings_read(*, arrays: bool = False) -> tuple[str, ...]:
    """Endings of the files that can be read, as the packages are there.

    Args:
        arrays: Of formats of arrays; left out, of formats of pictures.
    """
    found = (each for each in FORMATS if each.is_array is arrays and each.is_installed)
    return tuple(ending for each in found for ending in each.endings)


def is_bare_dicom(folder: str, name: str) -> bool:
    """Whether a file without an ending, or with a number for one, is DICOM: looks at its mark.

    Scanners and archives call them IM000001, or 1.2.840.113619.2.5.1762.

    Args:
        folder: Where it lies.
        name: Of the file; DICOMDIR, the list of all, is no image.
    """
    ending = os.path.splitext(name)[1]
    if (ending and not ending[1:].isdigit()) or name.upper() == "DICOMDIR":
        return False
    try:
        with open_regular(os.path.join(folder, name), whole=False, buffering=0) as file:
            head = file.read(_DICOM_MARK.stop)
    except OSError:  # a pipe, or not ours to read: no image that is known as one
        return False
    return head[_DICOM_MARK] == b"DICM"
