"""A cache that is damaged, or made by somebody who means harm."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from super_selfish.data import cache_file
from super_selfish.data.cache import parts_of
from super_selfish.data.cache_file import DamagedCacheError, Note, header, open_file
from super_selfish.data.collate import LabelCollator
from super_selfish.data.file_states import FileStates
from super_selfish.data.samples import Batch, Sample
from super_selfish.data.sources import ImageSource

COUNT, SIDE = 5, 32
PIXELS = SIDE * SIDE * 3

BUILDS = """
import sys, time
from super_selfish.data import ImageSource

source = ImageSource(sys.argv[1])

def decode(index):
    sys.stdout.write("builds\\n")  # at once: several threads decode
    sys.stdout.flush()
    time.sleep(60)

source.decode = decode
source.cached(sys.argv[2], progress=False)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def file(folder: Path) -> Path:
    """A whole cache."""
    path = folder.parent / "cache.npy"
    ImageSource(folder, cache=path)
    return path


def expected(folder: Path) -> torch.Tensor:
    return images_of(ImageSource(folder))


def images_of(source: ImageSource) -> torch.Tensor:
    return LabelCollator().stack(source.__getitems__(range(COUNT))).images


def note_of(folder: Path, file: Path) -> Note:
    source = ImageSource(folder)
    (part,) = parts_of(source, file, FileStates(source.items.files))
    return part.note


def start() -> int:
    return len(header([COUNT, SIDE, SIDE, 3]))


def flip(path: Path, position: int, bit: int = 3) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def test_every_flipped_bit_is_noticed_and_no_other_pixel_is_ever_given(
    folder: Path, file: Path
) -> None:
    whole, images = file.read_bytes(), expected(folder)
    generator = np.random.default_rng(1)
    outside = [*range(start()), *range(start() + COUNT * PIXELS, len(whole))]
    positions = [*generator.choice(outside, 60), *generator.integers(0, len(whole), 20)]
    for position in positions:
        file.write_bytes(whole)
        flip(file, int(position), int(generator.integers(8)))
        with pytest.warns(UserWarning, match="is damaged"):
            assert torch.equal(images_of(ImageSource(folder, cache=file)), images)
        assert file.read_bytes() == whole  # built anew, or written back


LENGTHS = [1, 100, 127, 129, 5000, -1, -8, -16, -17, -300, -1000]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_cache_that_is_cut_off_is_built_anew(folder: Path, file: Path, length: int) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    if (
        b"a cache of super-selfish" not in whole[:length]
    ):  # nothing tells that it is a cache: it may be anybody's
        with pytest.raises(ValueError, match="is no cache of images, or a broken one"):
            ImageSource(folder, cache=file)
        return
    with pytest.warns(UserWarning, match=r"cache\.npy is damaged \(its .*\): it is built anew"):
        ImageSource(folder, cache=file)
    assert file.read_bytes() == whole


def test_a_zeroed_block_is_noticed(folder: Path, file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[start() + 2 * PIXELS + 100 : start() + 2 * PIXELS + 612] = bytes(512)
    file.write_bytes(data)
    source = ImageSource(folder, cache=file)
    with pytest.warns(UserWarning, match="image 2 in the cache .* is damaged: it is decoded again"):
        assert torch.equal(images_of(source), expected(folder))
    assert isinstance(source.__getitems__([1, 2]), Batch)  # it is whole again


def test_a_file_that_shrinks_while_it_is_read_kills_nobody(folder: Path, file: Path) -> None:
    source, images = ImageSource(folder, cache=file), expected(folder)
    os.truncate(file, start() + PIXELS + 7)
    with pytest.warns(UserWarning, match="image 1 in the cache"):
        sample = source[1]
    assert isinstance(sample, Sample) and torch.equal(sample.image, images[1])
    os.truncate(file, 0)
    with pytest.warns(UserWarning, match=r"image \d in the cache"):
        assert torch.equal(images_of(source), images)
    with pytest.raises(ValueError, match="no cache of images, or a broken one"):
        ImageSource(folder, cache=file)


def test_a_cache_of_which_all_is_damaged_does_not_flood_the_screen(
    tmp_path: Path, folder: Path
) -> None:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    for number in range(20):
        Image.fromarray(pixels + number).save(folder / f"more{number:02}.png")
    source = ImageSource(folder, cache=tmp_path / "cache.npy")
    os.truncate(tmp_path / "cache.npy", start())
    with pytest.warns(UserWarning, match=r"image \d+ in the cache") as caught:
        source.__getitems__(range(25))
    assert len(caught) == 10


def test_workers_read_past_damage(folder: Path, file: Path) -> None:
    source = ImageSource(folder, cache=file)
    flip(file, start() + 3 * PIXELS + 5)
    loader = DataLoader(source, 2, num_workers=2, collate_fn=LabelCollator().stack)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # theirs go to their stderr
        images = torch.cat([batch.images for batch in loader])
    assert torch.equal(images, expected(folder))


def test_what_cannot_be_written_back_is_decoded_each_time(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ImageSource(folder, cache=file)
    flip(file, start() + 3 * PIXELS + 5)

    def refuse(*arguments: object) -> bool:
        raise PermissionError("read-only")

    monkeypatch.setattr(cache_file.CacheFile, "mend", refuse)
    with pytest.warns(UserWarning, match="image 3") as caught:
        for _ in range(2):
            assert torch.equal(images_of(source), expected(folder))
    assert len(caught) == 1


def npy(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (117 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


CRAFTED = {
    "objects": npy("'|O'", f"({COUNT}, {SIDE}, {SIDE}, 3)"),
    "a larger type": npy("'<f8'", f"({COUNT}, {SIDE}, {SIDE}, 3)"),
    "a larger shape": npy("'|u1'", f"(50000000, {SIDE}, {SIDE}, 3)"),
    "no images": npy("'|u1'", f"(0, {SIDE}, {SIDE}, 3)"),
    "a list of types": npy("[('a', '|O'), ('b', '|u1')]", "(5,)"),
}


@pytest.mark.parametrize("kind", CRAFTED)
@pytest.mark.parametrize("is_former", [False, True])
def test_type_and_shape_of_the_header_are_never_taken(
    folder: Path, file: Path, kind: str, is_former: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As crafted files of today and of the former format would have it."""
    whole = file.read_bytes()
    head = CRAFTED[kind]
    note = note_of(folder, file)
    if is_former:
        text = json.dumps({**note, "format": 1, "unreadable": []}).encode()
        content = head + b"\x41" * COUNT * PIXELS
        content += text + len(text).to_bytes(8, "little") + b"SelfishC"
    else:
        content = head + whole[start() :]
    file.write_bytes(content)
    for name in ("memmap", "load", "fromfile"):
        monkeypatch.setattr(np, name, lambda *a, **k: pytest.fail("the file's header was used"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = ImageSource(folder, cache=file)
    assert len(caught) == (0 if is_former else 1)
    assert torch.equal(images_of(source), expected(folder))
    assert file.read_bytes() == whole


NOTES: dict[str, Callable[[dict[str, object]], object]] = {
    "a list": lambda note: [1],
    "deep": lambda note: json.loads("[" * 900 + "]" * 900),
    "no digest": lambda note: {k: v for k, v in note.items() if k != "digest"},
    "unreadable of numbers": lambda note: {**note, "unreadable": [[1, 2, 3]]},
    "unreadable of text": lambda note: {**note, "unreadable": "abc"},
}


@pytest.mark.parametrize("kind", NOTES)
def test_a_note_that_is_not_as_it_should_be_is_damage(folder: Path, file: Path, kind: str) -> None:
    wanted = note_of(folder, file)
    found = open_file(file, wanted)
    assert found is not None
    note = NOTES[kind]({**found.note, "digest": "0"})
    if isinstance(note, dict) and "digest" in note:  # somebody knows how it is made
        del note["digest"]
        note["digest"] = cache_file._digest(note)
    text = json.dumps(note).encode()
    content = file.read_bytes()[: start() + COUNT * (PIXELS + 4)]
    file.write_bytes(content + text + len(text).to_bytes(8, "little") + b"SelfishC")
    with pytest.raises(DamagedCacheError, match="its note is broken"):
        open_file(file, wanted)


def test_a_pipe_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(ValueError, match="is no file"):
        ImageSource(folder, cache=tmp_path / "pipe")


@pytest.mark.parametrize("count", [1, 9, 100_000])
def test_the_header_is_one_that_numpy_reads(count: int) -> None:
    stream = io.BytesIO(header([count, 40, 32, 1]))
    assert np.lib.format.read_magic(stream) == (1, 0)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    assert (shape, is_fortran, dtype) == ((count, 40, 32, 1), False, np.dtype(np.uint8))
    assert stream.read() == b"" and len(stream.getvalue()) % 64 == 0


def test_a_build_without_locks_is_as_good(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("fcntl.flock", no_locks)
    source = ImageSource(folder, cache=tmp_path / "cache.npy")
    assert torch.equal(images_of(source), expected(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_process_that_builds_is_waited_for_and_no_longer_than_it_lives(
    folder: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", BUILDS, str(folder), str(tmp_path / "cache")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == "builds\n"
        ours = pool.submit(ImageSource, folder, cache=tmp_path / "cache")
        with pytest.raises(StillWaiting):  # in Python 3.10 another one than the builtin
            ours.result(timeout=0.5)
        other.kill()
        assert torch.equal(images_of(ours.result(timeout=60)), expected(folder))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["cache.npy"]


def test_a_copy_of_a_cache_is_as_good(folder: Path, file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "other.npy")
    before = (tmp_path / "other.npy").stat().st_mtime_ns
    ImageSource(folder, cache=tmp_path / "other.npy")
    assert (tmp_path / "other.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize("missing", [["preadv"], ["preadv", "pread"]])
def test_a_cache_is_read_with_what_a_system_has(
    folder: Path, file: Path, missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in missing:
        monkeypatch.delattr(os, name, raising=False)
    source = ImageSource(folder, cache=file)
    assert torch.equal(images_of(source), expected(folder))
    assert isinstance(source.__getitems__([3, 1]), Batch)


# The file itself


def crafted(file: Path, note: dict[str, object], *, body: bytes, after: bytes = b"") -> None:
    """A file of a body and a note, which say of each other what they should."""
    note = {**note, "digest": cache_file._digest(note)}
    text = json.dumps(note).encode()
    file.write_bytes(body + text + after + len(text + after).to_bytes(8, "little") + b"SelfishC")


def parts(folder: Path, file: Path) -> tuple[Note, dict[str, object], bytes]:
    """What is wanted, the note of a whole cache, and all that stands before it."""
    wanted = note_of(folder, file)
    found = open_file(file, wanted)
    assert found is not None
    return wanted, dict(found.note), file.read_bytes()[: start() + COUNT * (PIXELS + 4)]


def test_what_of_a_cache_is_damaged_is_said(folder: Path, file: Path) -> None:
    wanted, note, body = parts(folder, file)
    table = start() + COUNT * PIXELS

    def said() -> str:
        with pytest.raises(DamagedCacheError) as caught:
            open_file(file, wanted)
        return str(caught.value)

    for longer in (body + b"\0", body[:-1]):
        crafted(file, note, body=longer)
        assert said() == "its length is not that of its images"
    for place in (0, start() - 1):
        crafted(file, note, body=body[:place] + b"?" + body[place + 1 :])
        assert said() == "its header is broken"
    for place in (table, len(body) - 1):
        changed = bytes([body[place] ^ 1])
        crafted(file, note, body=body[:place] + changed + body[place + 1 :])
        assert said() == "its checksums are broken"
    crafted(file, note, body=body, after=b"}")
    assert said() == "its note is broken"
    crafted(file, note, body=body)
    assert open_file(file, wanted) is not None
    whole = file.read_bytes()
    for length, what in ((len(whole) - 1, "its end is missing"), (200, "its end is missing")):
        file.write_bytes(whole[:length])
        assert said() == what
    file.write_bytes(body + (len(body) + 1).to_bytes(8, "little") + b"SelfishC")
    assert said() == "its note is broken"  # which would begin before the file
    file.write_bytes(b"SelfishC")
    with pytest.raises(ValueError, match="is no cache of images, or a broken one"):
        open_file(file, wanted)


def test_a_note_is_read_up_to_its_longest(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, _, body = parts(folder, file)
    length = len(file.read_bytes()) - len(body) - 16
    monkeypatch.setattr(cache_file, "_LONGEST_NOTE", length)
    assert open_file(file, wanted) is not None
    monkeypatch.setattr(cache_file, "_LONGEST_NOTE", length - 1)
    with pytest.raises(DamagedCacheError, match="its note is broken"):
        open_file(file, wanted)


def test_a_cache_of_other_images_is_none_and_is_closed(folder: Path, file: Path) -> None:
    wanted, note, body = parts(folder, file)
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for key in wanted:
        assert open_file(file, {**wanted, key: "another"}) is None
    assert open_file(file, {**wanted, "more": 1}) is None
    assert open_file(file.with_name("nothing.npy"), wanted) is None
    crafted(file, note, body=body + b"\0")
    with pytest.raises(DamagedCacheError):
        open_file(file, wanted)
    assert not handles or len(os.listdir("/proc/self/fd")) == handles
    with pytest.raises(ValueError, match="is no file: give the path of a file"):
        open_file(folder, wanted)


def test_a_former_cache_is_one_of_other_images(folder: Path, file: Path) -> None:
    wanted, note, body = parts(folder, file)
    text = json.dumps({**note, "format": 1, "unreadable": "any"}).encode()
    file.write_bytes(body + text + len(text).to_bytes(8, "little") + b"SelfishC")
    assert open_file(file, wanted) is None  # it had no digest


@pytest.mark.parametrize(
    "entry", [[1, "a"], [1, "a", "b", "c"], ["1", "a", "b"], [True, "a", "b"], "abc", None]
)
def test_unreadable_images_are_a_number_a_name_and_a_reason(
    folder: Path, file: Path, entry: object
) -> None:
    wanted, note, body = parts(folder, file)
    crafted(file, {**note, "unreadable": [[1, "a", "b"]]}, body=body)
    assert open_file(file, wanted) is not None
    crafted(file, {**note, "unreadable": [[1, "a", "b"], entry]}, body=body)
    with pytest.raises(DamagedCacheError, match="its note is broken"):
        open_file(file, wanted)


def test_images_are_read_from_their_place_and_compared(folder: Path, file: Path) -> None:
    found = open_file(file, note_of(folder, file))
    assert found is not None
    images = expected(folder).permute(0, 2, 3, 1).numpy()
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    for index in (0, 3, COUNT - 1):
        assert found.read(image, index)
        assert np.array_equal(image, images[index])
    flip(file, start() + 4 * PIXELS - 1)
    assert not found.read(image, 3)
    assert found.read(image, 4)
    os.truncate(file, start() + 4 * PIXELS + 5)
    assert not found.read(image, 4)


def test_only_the_image_that_was_there_is_written_back(folder: Path, file: Path) -> None:
    found = open_file(file, note_of(folder, file))
    assert found is not None
    whole = file.read_bytes()
    images = expected(folder).permute(0, 2, 3, 1).numpy()
    flip(file, start() + 2 * PIXELS)
    for wrong in (images[1], images[2].astype(np.uint16), images[2].reshape(SIDE, -1, 1)):
        assert not found.mend(2, wrong)
    assert file.read_bytes() != whole
    assert found.mend(2, images[2])
    assert file.read_bytes() == whole
    flip(file, start() + 2 * PIXELS)
    with file.open("ab") as more:
        more.write(b"!")
    assert not found.mend(2, images[2])  # it has another length by now
    file.with_name("other").write_bytes(whole)
    os.replace(file.with_name("other"), file)
    assert not found.mend(2, images[2])  # it is another file


def test_a_cache_says_so_in_its_first_bytes(tmp_path: Path, file: Path) -> None:
    assert cache_file.is_cache(file)
    word = b" # a cache of super-selfish"
    for before, is_one in ((256 - len(word), True), (257 - len(word), False)):
        (tmp_path / "x").write_bytes(bytes(before) + word)
        assert cache_file.is_cache(tmp_path / "x") is is_one


def test_a_file_is_written_as_it_is_described() -> None:
    stream = io.BytesIO()
    note: Note = {"shape": [3, 1, 2, 1], "unreadable": [[1, "a", "b"]]}
    cache_file.write_file(stream, note, [b"\1\2", None, b"\3\4"])
    content = stream.getvalue()
    head = len(header([3, 1, 2, 1]))
    assert content[head : head + 6] == b"\1\2\0\0\3\4"
    sums = np.frombuffer(content[head + 6 : head + 18], "<u4").tolist()
    assert sums == [zlib.crc32(b"\1\2"), 0, zlib.crc32(b"\3\4")]
    length = int.from_bytes(content[-16:-8], "little")
    assert content[-8:] == b"SelfishC"
    assert len(content) == head + 18 + length + 16
    stored = json.loads(content[-16 - length : -16])
    assert stored["sums"] == hashlib.sha256(content[head + 6 : head + 18]).hexdigest()
    digest = stored.pop("digest")
    assert digest == hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()
    assert stored == {**note, "sums": stored["sums"]}
