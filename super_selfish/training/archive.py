"""The files of `torch.save`, with a checksum, and read only when they are what they say.

A stranger's file runs no code (`weights_only=True`) and takes no more memory than it is long. A
file that has changed by one bit since it was written is refused.

`torch.load` alone gives neither: it looks at no checksum, and believes the lengths that a file
states. Here the whole file is summed first, and its pickle is read once with objects that do
nothing, to hold every length against the record that it belongs to.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

_END = struct.Struct("<4s4H2LH")  # end of a zip file; the last number is the length of a comment
_END_MARK = b"PK\x05\x06"
_MARK = b"super-selfish crc32 "
_COMMENT = len(_MARK) + 8
_CHUNK = 1 << 18

# What a broken or crafted file makes of the readers beneath.
_TROUBLE = (
    RuntimeError,  # torch's; NotImplementedError and RecursionError too
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    MemoryError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


class UnreadableFileError(ValueError):
    """A file is damaged, or was never written by this library."""


class _ClaimError(ValueError):
    """A file says what cannot be."""


def write_archive(file: BinaryIO, value: Any) -> None:
    """Writes tensors and plain values, and a checksum of the file as the comment of its zip.

    Args:
        file: Open and empty.
        value: As `training.plain.plain` returns it.

    Raises:
        OSError: If the file cannot be written, whatever torch makes of it.
    """
    summed: Any = _SummedWriter(file)
    try:
        torch.save(value, summed)
    except RuntimeError as error:
        if summed.failure is not None:  # torch says "unexpected pos" when a disk is full
            raise summed.failure from error
        raise
    summed.close()


def _is_text(path: Path) -> bool:
    """Whether a path is UTF-8, without which torch maps no file; Linux has others."""
    return not any("\ud800" <= letter <= "\udfff" for letter in os.fspath(path))


def read_archive(path: Path, *, mapped: bool = False) -> Any:
    """Reads what `write_archive` wrote, or `torch.save`, to the CPU.

    Args:
        path: The file.
        mapped: Whether tensors stay in the file until they are used; it must not change then.

    Returns:
        The value.

    Raises:
        OSError: If the file cannot be opened or read.
        UnreadableFileError: If it is damaged, no such file, or claims more than it holds.
    """
    with path.open("rb") as file:
        try:
            _check_sum(file, path)
            _check_claims(file, path)
            file.seek(0)
            is_mapped = mapped and _is_text(path)
            source: Any = os.fspath(path) if is_mapped else file
            return torch.load(source, map_location="cpu", weights_only=True, mmap=is_mapped)
        except UnreadableFileError:
            raise
        except _TROUBLE as error:
            raise UnreadableFileError(f"{path} cannot be read: {_first_line(error)}") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place in the file that is none
                raise
            raise UnreadableFileError(f"{path} cannot be read: it is damaged") from error


def is_intact(path: Path) -> bool:
    """Whether a file is there and has the sum that it should have."""
    try:
        with path.open("rb") as file:
            _check_sum(file, path)
    except (OSError, *_TROUBLE):
        return False
    return True


class _SummedWriter:
    """Hands on what is written, and sums it; the end of the zip is held back for the comment."""

    def __init__(self, file: BinaryIO) -> None:
        self.failure: OSError | None = None
        self._file = file
        self._sum = 0
        self._tail = b""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            self._file.write(view)
        except OSError as error:
            self.failure = error
            raise
        if len(view) >= _END.size:
            self._sum = zlib.crc32(view[: -_END.size], zlib.crc32(self._tail, self._sum))
            self._tail = bytes(view[-_END.size :])
        else:
            joined = self._tail + view
            self._sum = zlib.crc32(joined[: -_END.size], self._sum)
            self._tail = joined[-_END.size :]
        return len(view)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        end = self._tail[:-2] + struct.pack("<H", _COMMENT) + _MARK
        self._sum = zlib.crc32(end, self._sum)
        self._file.seek(-_END.size, os.SEEK_END)
        self._file.write(end + b"%08x" % self._sum)


def _check_sum(file: BinaryIO, path: Path) -> None:
    """Holds a file against its checksum, or one of plain `torch.save` against those of its zip."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - _END.size - _COMMENT))
    tail = file.read()
    start = tail.rfind(_END_MARK)
    if start < 0 or len(tail) < start + _END.size:
        raise UnreadableFileError(f"{path} cannot be read: it is cut short, or no such file")
    comment = tail[start + _END.size :]
    stated_length = _END.unpack(tail[start : start + _END.size])[-1]
    if stated_length != len(comment):
        raise UnreadableFileError(f"{path} is damaged: its end is not that of its beginning")
    if not comment:
        with zipfile.ZipFile(file) as archive:
            _check_records(archive, path, length)
            broken = archive.testzip()
        if broken is not None:
            raise UnreadableFileError(f"{path} is damaged: the checksum of {broken} does not fit")
        return
    file.seek(0)
    found, left = 0, length - 8
    block = memoryview(bytearray(_CHUNK))  # one for all, which stays near the processor
    while left:
        count = file.readinto(block[: min(_CHUNK, left)])  # type: ignore[attr-defined]
        if not count:
            raise UnreadableFileError(f"{path} has become shorter while it was read")
        found, left = zlib.crc32(block[:count], found), left - count
    if comment != _MARK + b"%08x" % found:
        raise UnreadableFileError(f"{path} is damaged: its checksum does not fit")


def _check_records(archive: zipfile.ZipFile, path: Path, length: int) -> None:
    records = archive.infolist()
    if len({record.filename for record in records}) < len(records):
        raise UnreadableFileError(f"{path} cannot be read: it holds two records of one name")
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > length:
        raise UnreadableFileError(
            f"{path} cannot be read: it claims to hold more than the {length} bytes that it has"
        )


def _check_claims(file: BinaryIO, path: Path) -> None:
    """Reads the pickle with objects that do nothing, and checks what it says of its tensors."""
    length = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        _check_records(archive, path, length)
        sizes = {record.filename: record.file_size for record in archive.infolist()}
        pickles = [name for name in sizes if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in sizes):
            raise UnreadableFileError(f"{path} cannot be read: it is no file of torch.save")
        _Inspector(archive.read(pickles[0]), pickles[0].removesuffix("data.pkl"), sizes).load()


class _Storage(NamedTuple):
    """A record of numbers."""

    item_size: int  # bytes
    size: int  # bytes


class _Global:
    """Stands for a function or a class; calling it checks, and makes nothing."""

    def __init__(self, name: str, check: Callable[..., None] | None = None) -> None:
        self.name = name
        self._check = check

    def __call__(self, *args: Any) -> Any:
        if self._check is None:
            raise _ClaimError(f"it calls {self.name}")
        self._check(*args)
        return _Tensor()


class _Tensor:
    """Stands for a tensor."""


def _check_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> None:
    dtypes = [each for each in rest if isinstance(each, _Global)]
    item_size = storage.item_size
    if dtypes:  # a type without a storage of its own lies in one of bytes
        item_size = getattr(torch, dtypes[0].name.removeprefix("torch.")).itemsize
    numbers = (offset, *size, *stride)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _ClaimError("a tensor has no whole shape")
    count, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        count *= length
        last += (length - 1) * step
    if count and (max(count, last + 1) * item_size > storage.size):
        raise _ClaimError(
            f"a tensor {list(size)} claims more than the {storage.size} bytes of its record"
        )


def _check_nothing(*_: Any) -> None:
    """A tensor that was checked already, in a wrapping."""


class _Inspector(pickle._Unpickler):
    """Python's own reader of pickles, with nothing in it that could be called or filled."""

    _ITEM_SIZES = {  # noqa: RUF012
        "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2,
        "Char": 1, "Byte": 1, "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "Untyped": 1,
    }  # fmt: skip

    def __init__(self, data: bytes, prefix: str, sizes: dict[str, int]) -> None:
        super().__init__(io.BytesIO(data))
        self._prefix = prefix
        self._sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        where = f"{module}.{name}"
        if where == "collections.OrderedDict":
            return OrderedDict
        if where in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"):
            return _Global(where, _check_tensor)
        if where in ("torch._utils._rebuild_parameter", "torch.Size"):
            return _Global(where, _check_nothing)
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return _Global(where)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return _Global(where)
        raise _ClaimError(f"it names {where}, which is no tensor and no plain value")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, count = pid
        name = storage.name.rpartition(".")[2].removesuffix("Storage")
        item_size = self._ITEM_SIZES[name]
        size = self._sizes[f"{self._prefix}data/{key}"]
        if kind != "storage" or type(count) is not int or count * item_size != size:
            raise _ClaimError(
                f"it claims {count} numbers of {item_size} bytes in a record of {size} bytes"
            )
        return _Storage(item_size, size)


def _first_line(error: BaseException) -> str:
    text = str(error) if isinstance(error, _ClaimError) else f"{type(error).__name__}: {error}"
    return text.splitlines()[0]
