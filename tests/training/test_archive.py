from __future__ import annotations

import errno
import io
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.training.archive import (
    UnreadableFileError,
    _check_sum,
    _check_tensor,
    _Global,
    _Inspector,
    _Storage,
    _SummedWriter,
    is_intact,
    read_archive,
    write_archive,
)
from super_selfish.training.checkpoint import read_checkpoint, write_checkpoint

STATE: dict[str, Any] = {
    "format": 1,
    "weights": torch.arange(3000.0).reshape(30, 100),
    "others": [torch.ones(3, dtype=d) for d in (torch.bfloat16, torch.int8, torch.bool)],
    "words": {"a": (1, None, 2.5, "x"), "none": torch.ones(0, 3)},
}


def write(path: Path, value: Any = STATE) -> None:
    with path.open("w+b") as file:
        write_archive(file, value)


def test_what_is_written_is_read_by_us_and_by_torch(tmp_path: Path) -> None:
    write(tmp_path / "a.pt")
    for found in (
        read_archive(tmp_path / "a.pt"),
        read_archive(tmp_path / "a.pt", mapped=True),
        torch.load(tmp_path / "a.pt", weights_only=True),
    ):
        assert torch.equal(found["weights"], STATE["weights"])
        assert found["words"]["a"] == (1, None, 2.5, "x")
        assert [t.dtype for t in found["others"]] == [torch.bfloat16, torch.int8, torch.bool]


@pytest.mark.parametrize("ours", [True, False])
def test_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path, ours: bool) -> None:
    path = tmp_path / "a.pt"
    if ours:
        write(path)
    else:
        torch.save(STATE, path)
    content = path.read_bytes()
    draw = random.Random(0)
    places = [draw.randrange(len(content) * 8) for _ in range(150)]
    ends = [8 * byte + bit for byte in range(len(content) - 60, len(content)) for bit in (0, 5)]
    refused = 0
    for place in [*places, *ends]:
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = read_archive(path)
        except UnreadableFileError:
            refused += 1
            continue
        assert torch.equal(found["weights"], STATE["weights"])
        assert found["words"]["a"] == STATE["words"]["a"]
    assert refused == len(places) + len(ends) if ours else refused > 0.5 * len(places)


def test_zeroed_blocks_and_cut_ends_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write(path)
    content = path.read_bytes()
    for start in range(0, len(content) - 512, 512):
        changed = bytearray(content)
        changed[start : start + 512] = bytes(512)
        path.write_bytes(changed)
        assert changed == content or not is_intact(path)
    for length in (0, 1, 21, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableFileError, match=r"cut short|damaged|cannot be"):
            read_archive(path)


def crafted(path: Path, data: bytes, records: dict[str, bytes], packed: bool = False) -> None:
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
        for key, content in records.items():
            archive.writestr(f"a/data/{key}", content)


class Claim:
    """Pickles as a call of a function by its name."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


class Storage:
    def __init__(self, key: str, count: int) -> None:
        self.pid = ("storage", torch.FloatStorage, key, "cpu", count)


class Crafter(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.pid if isinstance(value, Storage) else None


def pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    Crafter(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def tensor(count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Claim:
    from torch._utils import _rebuild_tensor_v2

    return Claim(_rebuild_tensor_v2, Storage("0", count), offset, size, stride, False, {})


CLAIMS: dict[str, Callable[[], Any]] = {
    "more numbers than the record has": lambda: tensor(900_000_000, (900_000_000,), (1,)),
    "a shape that repeats one number": lambda: tensor(16, (900_000_000,), (0,)),
    "a shape beyond the end": lambda: tensor(16, (4, 8), (8, 1)),
    "an offset beyond the end": lambda: tensor(16, (8,), (1,), offset=12),
    "a negative offset": lambda: tensor(16, (8,), (1,), offset=-4),
    "an array of bytes": lambda: Claim(bytearray, 3_600_000_000),
    "bytes, which torch 2.4 does not read": lambda: b"x",
    "a set, which it does not read either": lambda: {1},
    "a command": lambda: Claim(print, "run"),
    "a record that is not there": lambda: Claim(
        torch._utils._rebuild_tensor_v2, Storage("7", 16), 0, (16,), (1,), False, {}
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_file_may_claim_no_more_than_it_holds(tmp_path: Path, claim: str) -> None:
    path = tmp_path / "a.pt"
    data = pickled({"format": 1, "model": {"w": CLAIMS[claim]()}})
    crafted(path, data, {"0": bytes(64)})
    with pytest.raises(UnreadableFileError, match=r"claims|names|cannot be read") as caught:
        read_archive(path)
    assert str(path) in str(caught.value)


def test_the_crafted_files_are_read_where_they_are_honest(tmp_path: Path) -> None:
    data = pickled({"format": 1, "w": tensor(16, (4, 4), (4, 1))})
    crafted(tmp_path / "a.pt", data, {"0": struct.pack("<16f", *range(16))})
    found: Tensor = read_archive(tmp_path / "a.pt")["w"]
    assert torch.equal(found, torch.arange(16.0).reshape(4, 4))


def test_packed_and_doubled_records_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    data = pickled({"format": 1, "w": tensor(1 << 20, (1 << 20,), (1,))})
    crafted(path, data, {"0": bytes(4 << 20)}, packed=True)  # a few kB that unpack to 4 MB
    with pytest.raises(UnreadableFileError, match="claims to hold more than the"):
        read_archive(path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        with zipfile.ZipFile(path, "w") as archive:
            for _ in range(2):
                archive.writestr("a/data.pkl", data)
    with pytest.raises(UnreadableFileError, match="two records of one name"):
        read_archive(path)


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pt")
    assert torch.equal(read_checkpoint(tmp_path / "a.pt")["weights"], STATE["weights"])


def test_a_writer_that_cannot_write_says_why(tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 1000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    with pytest.raises(OSError, match="No space left on device"):
        write_archive(Full(), STATE)


def test_what_is_written_otherwise_than_it_was_given_takes_no_files_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "base.pt"
    write_checkpoint(path, {"epoch": 1})
    former = path.read_bytes()

    def lose_the_end(file: Any, value: Any) -> None:
        write_archive(file, value)
        file.truncate(file.tell() - 100)

    monkeypatch.setattr("super_selfish.training.checkpoint.write_archive", lose_the_end)
    with pytest.raises(OSError, match="does not read back"):
        write_checkpoint(path, {"epoch": 2})
    assert path.read_bytes() == former and [p.name for p in tmp_path.iterdir()] == ["base.pt"]


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (0, (4, 4), (4, 1), None),
        (12, (4,), (1,), None),
        (13, (4,), (1,), r"a tensor \[4\] claims more than the 64 bytes"),
        (0, (17,), (0,), r"a tensor \[17\] claims more"),
        (0, (16,), (0,), None),
        (0, (2, 2), (15, 1), "claims more"),
        (0, (2, 2), (14, 1), None),
        (99, (0, 4), (4, 1), None),  # of no numbers
        (15, (), (), None),
        (16, (), (), "claims more"),
        (-1, (2,), (1,), "a tensor has no whole shape"),
        (0, (2.0,), (1,), "a tensor has no whole shape"),
        (0, (2,), (-1,), "a tensor has no whole shape"),
    ],
)
def test_a_tensor_lies_within_its_record(
    offset: int, size: Any, stride: Any, message: str | None
) -> None:
    storage = _Storage(4, 64)
    if message is None:
        _check_tensor(storage, offset, size, stride)
    else:
        with pytest.raises(ValueError, match=message):
            _check_tensor(storage, offset, size, stride)


def test_a_tensor_of_a_type_of_its_own_lies_in_bytes() -> None:
    dtype = _Global("torch.uint16")
    _check_tensor(_Storage(1, 8), 0, (4,), (1,), False, {}, dtype)
    with pytest.raises(ValueError, match=r"a tensor \[5\] claims more than the 8 bytes"):
        _check_tensor(_Storage(1, 8), 0, (5,), (1,), False, {}, dtype)


def test_a_record_has_as_many_numbers_as_it_says() -> None:
    inspector = _Inspector(b"", "a/", {"a/data/0": 64})
    storage = _Global("torch.FloatStorage")
    assert inspector.persistent_load(("storage", storage, "0", "cpu", 16)) == (4, 64)
    for pid in (
        ("storage", storage, "0", "cpu", 15),
        ("storage", storage, "0", "cpu", 16.0),
        ("module", storage, "0", "cpu", 16),
        ("storage", _Global("torch.DoubleStorage"), "0", "cpu", 16),
    ):
        with pytest.raises(ValueError, match=r"numbers of \d bytes in a record of 64 bytes"):
            inspector.persistent_load(pid)


def test_names_in_a_file_are_those_of_tensors_and_call_nothing() -> None:
    inspector = _Inspector(b"", "a/", {})
    for module, name in (
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch", "Size"),
    ):
        called = inspector.find_class(module, name)
        called(_Storage(4, 64), 0, (16,), (1,))
        if "tensor" in name:
            with pytest.raises(ValueError, match="claims more"):
                called(_Storage(4, 64), 0, (17,), (1,))
        else:
            called(_Storage(4, 64), 0, (17,), (1,))
    for module, name in (("torch", "FloatStorage"), ("torch.storage", "UntypedStorage")):
        with pytest.raises(ValueError, match=f"it calls {module}.{name}"):
            inspector.find_class(module, name)(1)
    with pytest.raises(ValueError, match=r"it calls torch\.float32"):
        inspector.find_class("torch", "float32")()
    for module, name in (("builtins", "print"), ("torch", "load"), ("other", "FloatStorage")):
        with pytest.raises(ValueError, match=f"it names {module}.{name}, which is no tensor"):
            inspector.find_class(module, name)


def test_a_zip_of_something_else_is_no_file_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    data = pickled({"format": 1})
    for records in (
        {"a/other.pkl": data},
        {"data.pkl": data},
        {"a/b/data.pkl": data},
        {"a/data.pkl": data, "b/data.pkl": data},
        {"a/data.pkl": data, "a/constants.pkl": data},
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in records.items():
                archive.writestr(name, content)
        with pytest.raises(UnreadableFileError, match=r"a\.pt cannot be read: it is no file of"):
            read_archive(path)


class Odd(io.BytesIO):
    """Ends before the length that it has."""

    def readinto(self, block: Any) -> int:
        return 0


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt", STATE)
    content = (tmp_path / "a.pt").read_bytes()
    _check_sum(io.BytesIO(content), tmp_path / "a.pt")
    with pytest.raises(UnreadableFileError, match="has become shorter while it was read"):
        _check_sum(Odd(content), tmp_path / "a.pt")


def test_the_end_of_a_file_is_that_of_its_beginning(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt", STATE)
    content = (tmp_path / "a.pt").read_bytes()
    with pytest.raises(UnreadableFileError, match="its end is not that of its beginning"):
        _check_sum(io.BytesIO(content[:-1]), tmp_path / "a.pt")
    for length in (0, 10, 21):
        with pytest.raises(UnreadableFileError, match="it is cut short, or no such file"):
            _check_sum(io.BytesIO(content[:length]), tmp_path / "a.pt")


@pytest.mark.parametrize("parts", [[5], [21, 1, 2, 22, 23, 40, 3], [100, 7], [22] * 4])
def test_a_sum_is_the_same_however_it_is_written(parts: list[int]) -> None:
    data = bytes(range(256)) * 2
    whole, pieces = io.BytesIO(), io.BytesIO()
    one, other = _SummedWriter(whole), _SummedWriter(pieces)
    end = b"PK\x05\x06" + bytes(18)
    total = data[: sum(parts)] + end
    one.write(total)
    place = 0
    for length in [*parts, len(end)]:
        assert other.write(total[place : place + length]) == length
        place += length
    one.close()
    other.close()
    assert whole.getvalue() == pieces.getvalue()
    sum_of = zlib.crc32(whole.getvalue()[:-8])
    assert whole.getvalue()[-8:] == b"%08x" % sum_of


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EINVAL, UnreadableFileError), (errno.EIO, OSError)]
)
def test_errors_of_a_disk_are_told_apart_from_damage(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, "refused")

    write_checkpoint(tmp_path / "a.pt", STATE)
    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(kind) as caught:
        read_archive(tmp_path / "a.pt")
    assert ("cannot be read: it is damaged" in str(caught.value)) == (number == errno.EINVAL)


def test_another_error_of_torch_passes_while_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(torch, "save", refuse)
    with pytest.raises(RuntimeError, match="something else"):
        write_archive(io.BytesIO(), STATE)
