from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from super_selfish.data import cache as cache_module
from super_selfish.data import cache_parts
from super_selfish.data.cache import CachedImages, open_cache
from super_selfish.data.cache_file import open_file
from super_selfish.data.collate import Batch, LabelCollator
from super_selfish.data.sources import ImageSource, Sample, Unreadable, labels_of
from super_selfish.training.atomic import write_atomically
from super_selfish.training.display import Bar

COUNT = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of two classes, of differing sizes, one of them grey."""
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (50 + number, 70, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.{('jpg', 'png')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        (image.convert("L") if number == 3 else image).save(path)
    return tmp_path / "images"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store" / "cache.npy"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the caches that were built."""
    built: list[Path] = []
    build = cache_parts._build

    def watch(source: ImageSource, part: cache_parts.Part, bar: Bar) -> None:
        built.append(part.path)
        build(source, part, bar)

    monkeypatch.setattr(cache_parts, "_build", watch)
    return built


def stacked(source: ImageSource, indices: list[int]) -> Batch:
    return LabelCollator().stack(source.__getitems__(indices))


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *options: Any, **others: Any) -> Tensor:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr("super_selfish.data.file_reader.read_image", refuse)


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


@pytest.mark.parametrize("channels", [3, 1])
def test_a_cache_gives_the_images_of_its_source_without_decoding(
    folder: Path, file: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ImageSource(folder, 32, channels)
    expected = stacked(plain, list(range(COUNT)))
    cached = ImageSource(folder, 32, channels, cache=file)
    no_decoding(monkeypatch)

    samples = cached.__getitems__(list(range(COUNT)))

    assert isinstance(samples, Batch)
    batch = LabelCollator().stack(samples)
    assert torch.equal(batch.images, expected.images)
    for images in (batch.images, expected.images):
        assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.index, expected.index)
    assert batch.labels is not None and expected.labels is not None
    assert torch.equal(batch.labels, expected.labels)
    single = cached[-2]
    assert isinstance(single, Sample)
    assert single.index == 4 and torch.equal(single.image, expected.images[4])
    assert cached.name(1) == plain.name(1)
    assert torch.equal(labels_of(cached), labels_of(plain))  # type: ignore[arg-type]


def test_a_cache_is_built_once_and_opened_by_later_runs(
    folder: Path, file: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ImageSource(folder, 32, cache=file)
    ImageSource(folder, 32, cache=str(file).removesuffix(".npy"))
    monkeypatch.chdir(folder.parent)
    ImageSource("images", 32, cache=file)
    ImageSource(folder, 32).cached(file)
    assert builds == [file]
    assert os.listdir(file.parent) == ["cache.npy"]


def test_a_cache_is_a_plain_npy_file(folder: Path, file: Path) -> None:
    source = ImageSource(folder, (32, 40), cache=file)
    array = np.load(file)
    assert array.shape == (COUNT, 32, 40, 3)
    images = stacked(source, list(range(COUNT))).images
    assert torch.equal(torch.from_numpy(array).permute(0, 3, 1, 2), images)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a time": lambda folder: touch(folder / "a" / "2.jpg"),
    "a content": lambda folder: Image.new("RGB", (40, 40)).save(folder / "a" / "2.jpg"),
    "a name": lambda folder: (folder / "a" / "2.jpg").rename(folder / "a" / "3.jpg"),
    "a file less": lambda folder: (folder / "a" / "2.jpg").unlink(),
    "a file more": lambda folder: Image.new("RGB", (40, 40)).save(folder / "a" / "7.jpg"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_cache_is_built_anew_where_a_file_has_changed(
    folder: Path, file: Path, builds: list[Path], change: str
) -> None:
    ImageSource(folder, 32, cache=file)
    CHANGES[change](folder)
    cached = ImageSource(folder, 32, cache=file)
    assert builds == [file, file]
    everything = list(range(len(cached)))
    expected = stacked(ImageSource(folder, 32), everything).images
    assert torch.equal(stacked(cached, everything).images, expected)


def test_a_cache_is_built_anew_for_other_images(
    folder: Path, file: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ImageSource(folder, 32, cache=file)
    wanted = [((36, 36), 3), ((32, 36), 3), ((32, 36), 1)]
    for number, (size, channels) in enumerate(wanted, start=2):
        cached = ImageSource(folder, size, channels, cache=file)
        assert len(builds) == number
        sample = cached[0]
        assert isinstance(sample, Sample)
        assert sample.image.shape == (channels, *size)
    monkeypatch.setattr(cache_module, "DECODER_VERSION", -1)
    ImageSource(folder, (32, 36), 1, cache=file)
    assert len(builds) == 5


def inverted(path: str) -> Image.Image:
    return Image.fromarray(255 - np.array(Image.open(path).convert("RGB").resize((40, 40))))


def brightened(by: int) -> Callable[[str], Image.Image]:
    def read(path: str) -> Image.Image:
        return Image.fromarray(np.array(inverted(path)) | by)

    return read


def tinted(path: str, by: int) -> Image.Image:
    return brightened(by)(path)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {"loader": inverted}),
        ({"loader": inverted}, {"loader": brightened(1)}),
        ({"loader": brightened(1)}, {"loader": brightened(2)}),
        ({"loader": partial(tinted, by=1)}, {"loader": partial(tinted, by=2)}),
        ({}, {"pages": 0}),
    ],
)
def test_a_cache_is_built_anew_where_files_are_read_otherwise(
    folder: Path, file: Path, builds: list[Path], first: Any, then: Any
) -> None:
    ImageSource(folder, 32, cache=file, **first)
    cached = ImageSource(folder, 32, cache=file, **then)
    ImageSource(folder, 32, cache=file, **then)
    assert builds == [file, file]
    everything = list(range(COUNT))
    expected = stacked(ImageSource(folder, 32, **then), everything).images
    assert torch.equal(stacked(cached, everything).images, expected)


def test_who_reads_a_cache_goes_on_when_it_is_built_anew(folder: Path, file: Path) -> None:
    cached = ImageSource(folder, 32, cache=file)
    before = stacked(cached, [0, 1]).images
    ImageSource(folder, 48, cache=file)
    assert torch.equal(stacked(cached, [0, 1]).images, before)


def broken(folder: Path) -> Path:
    path = folder / "a" / "2.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    return path


def test_unreadable_images_are_skipped_as_without_a_cache_and_noted(
    folder: Path, file: Path
) -> None:
    path = broken(folder)
    plain = ImageSource(folder, 32, on_error="skip")
    cached = ImageSource(folder, 32, on_error="skip", cache=file)
    for index in range(COUNT):
        assert isinstance(cached[index], Unreadable) == isinstance(plain[index], Unreadable)
    assert cached[1] == plain[1]
    batch, expected = stacked(cached, [0, 1, 2]), stacked(plain, [0, 1, 2])
    assert batch.unreadable == expected.unreadable
    assert batch.index.tolist() == [0, 2]
    assert torch.equal(batch.images, expected.images)
    found = open_file(file, {"shape": [COUNT, 32, 32, 3]})
    assert found is not None
    [(index, name, reason)] = found.note["unreadable"]
    assert (index, name) == (1, str(path)) and "truncated" in reason


def test_an_unreadable_image_is_fatal_while_building_and_leaves_nothing(
    folder: Path, file: Path
) -> None:
    broken(folder)
    with pytest.raises(OSError, match=r"cannot read image .*2\.jpg: OSError: .*truncated"):
        ImageSource(folder, 32, cache=file)
    assert os.listdir(file.parent) == []


def test_an_interrupted_build_leaves_nothing_and_gives_ctrl_c_back(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ImageSource(folder, 32)
    handler = signal.getsignal(signal.SIGINT)
    written: list[Sample] = []
    to_bytes = cache_parts._bytes

    def write(sample: Sample, of: ImageSource) -> bytes:
        if not written:
            signal.raise_signal(signal.SIGINT)
        written.append(sample)
        return to_bytes(sample, of)

    monkeypatch.setattr(cache_parts, "_bytes", write)
    with pytest.raises(KeyboardInterrupt):
        source.cached(file)
    assert len(written) == 1  # it waited for the image at hand, and for no other
    assert os.listdir(file.parent) == []
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_a_killed_build_left_behind_is_removed_before_the_disk_is_asked_for_room(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[str] = []
    write_atomically(file, lambda opened: rests.extend(os.listdir(file.parent)))
    file.unlink()
    kept = ["cache.npy.txt", "other.npy.0123.tmp"]
    for name in [*kept, *rests]:
        (file.parent / name).write_bytes(b"half")
    left: list[list[str]] = []

    def look(path: Path) -> object:
        left.append(sorted(os.listdir(path)))
        return type("Usage", (), {"free": 1 << 30})

    monkeypatch.setattr(cache_parts.shutil, "disk_usage", look)
    ImageSource(folder, 32, cache=file)
    assert left == [kept]
    assert sorted(os.listdir(file.parent)) == sorted(["cache.npy", *kept])


def test_an_unreadable_image_is_fatal_though_the_cache_was_built_without_it(
    folder: Path, file: Path
) -> None:
    broken(folder)
    ImageSource(folder, 32, on_error="skip", cache=file)
    strict = ImageSource(folder, 32, cache=file)
    assert isinstance(strict[0], Sample)
    with pytest.raises(OSError, match=r"cannot read image .*2\.jpg"):
        stacked(strict, [0, 1])


def test_images_of_more_than_eight_bits_are_refused_by_name(folder: Path, file: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(folder / "a" / "8.png")
    with pytest.raises(ValueError, match=r"8\.png: a cache keeps images of 8 bits, .* uint16"):
        ImageSource(folder, 32, cache=file)


@pytest.mark.parametrize("content", [b"", b"precious", b"precious " * 20])
def test_a_file_of_another_kind_is_never_overwritten(
    folder: Path, file: Path, content: bytes
) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is no cache of images, or a broken one"):
        ImageSource(folder, 32, cache=file)
    assert file.read_bytes() == content


def test_a_cache_takes_files_only(images: Tensor, file: Path) -> None:
    with pytest.raises(TypeError, match="takes a folder or a list of files, got Tensor"):
        ImageSource(images, cache=file)


def test_a_full_disk_is_told_before_anything_is_decoded(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ImageSource(folder, 32)
    no_decoding(monkeypatch)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(cache_parts.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"needs 0\.0 GB, but its disk has 0\.0 GB left"):
        source.cached(file)


def test_a_part_shares_the_cache_of_the_whole(
    folder: Path, file: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageSource(folder, 32)
    parts = [whole.subset([5, 1, 2]), whole.subset([0])]
    expected = [stacked(part, [0]) for part in parts]
    cached = [part.cached(file) for part in parts]
    no_decoding(monkeypatch)
    for part, batch in zip(cached, expected, strict=True):
        assert torch.equal(stacked(part, [0]).images, batch.images)
    assert builds == [file]


def test_only_what_decodes_files_could_do_with_a_cache(
    folder: Path, file: Path, images: Tensor
) -> None:
    plain = ImageSource(folder, 32)
    cached = plain.cached(file)
    assert plain.decodes_files and plain.subset([1]).decodes_files
    assert not cached.decodes_files and not cached.subset([1]).decodes_files
    assert not ImageSource(images).decodes_files


def test_a_cached_source_is_pickled_without_its_images(folder: Path, file: Path) -> None:
    cached = ImageSource(folder, 96, cache=file)
    text = pickle.dumps(cached)
    assert len(text) < 5000
    assert torch.equal(stacked(pickle.loads(text), [1, 3]).images, stacked(cached, [1, 3]).images)
    ImageSource(folder, 32, cache=file)
    with pytest.raises(OSError, match="removed or built anew for other images meanwhile"):
        pickle.loads(text)


def test_workers_read_a_cache(folder: Path, file: Path) -> None:
    cached = ImageSource(folder, 32, cache=file)
    loader = DataLoader(cached, 4, num_workers=2, collate_fn=LabelCollator().stack)
    batches = list(loader)
    expected = stacked(cached, list(range(COUNT))).images
    assert torch.equal(torch.cat([batch.images for batch in batches]), expected)


@pytest.mark.parametrize("has_locks", [True, False])
def test_two_that_build_at_once_both_end_with_the_whole_cache(
    folder: Path,
    file: Path,
    builds: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    has_locks: bool,
) -> None:
    if not has_locks:

        def nobody(path: Path, *, wait: bool = False) -> Any:
            return nullcontext(True)

        monkeypatch.setattr(cache_parts, "alone_at", nobody)
    start = threading.Barrier(2)
    found: list[CachedImages] = []

    def build() -> None:
        source = ImageSource(folder, 32)
        start.wait()
        found.append(open_cache(source, file))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = torch.arange(COUNT)
    expected = stacked(ImageSource(folder, 32), index.tolist()).images
    assert len(found) == 2
    for cached in found:
        images = cached.images_at(index)
        assert images is not None and torch.equal(images, expected)
    assert 1 <= len(builds) <= (1 if has_locks else 2)
    assert os.listdir(file.parent) == ["cache.npy"]
