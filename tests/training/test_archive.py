from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.training.archive import (
    UnreadableFileError,
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
