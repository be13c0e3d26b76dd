"""Streams of other libraries, from shards that are written here."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from super_selfish.data import StreamSource
from super_selfish.data.samples import DatasetError
from tests.data.streamed import epoch_of, flat, numbered, opened, resumed

# webdataset leaves the files of its shards to be closed by the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TOTAL = 36
SHARDS = (6, 10, 10, 10)


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(numbered(number).permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def library(name: str) -> Any:
    pytest.importorskip(name, reason=f"needs {name}, whose streams are tested")
    return importlib.import_module(name)


@pytest.fixture
def tars(tmp_path: Path) -> list[str]:
    """Four shards of one tar each."""
    writer = library("webdataset").TarWriter
    paths, number = [], 0
    for shard, length in enumerate(SHARDS):
        paths.append(str(tmp_path / f"{shard}.tar"))
        with writer(paths[-1]) as tar:
            for _ in range(length):
                tar.write({"__key__": f"{number:03}", "png": png(number), "cls": number % 3})
                number += 1
    return paths


@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("is_decoded", [False, True])
def test_tar_shards_show_every_image_once(tars: list[str], workers: int, is_decoded: bool) -> None:
    dataset = library("webdataset").WebDataset(tars, shardshuffle=False)
    if is_decoded:
        dataset = dataset.decode("pil").to_tuple("png", "cls")
    source = StreamSource(dataset, TOTAL)
    loader = opened(source, workers=workers)
    assert sorted(flat(epoch_of(loader))) == list(range(TOTAL))
    assert [sample.label for sample in source.first(4)] == [0, 1, 2, 0]  # type: ignore[attr-defined]


def test_tar_shards_are_skipped_to_their_place(tars: list[str]) -> None:
    def loader() -> Any:
        dataset = library("webdataset").WebDataset(tars, shardshuffle=False)
        source = StreamSource(dataset, TOTAL, deterministic=True, shuffle_buffer=10)
        return opened(source, shuffle=True, workers=2)

    first = loader()
    whole = epoch_of(first)
    assert epoch_of(resumed(loader(), first, 0, 7), 0, 7) == whole[7:]


def test_a_sample_of_a_tar_is_told_by_its_name(tars: list[str]) -> None:
    library("webdataset")
    source = StreamSource(broken_at(tars, 20, {"png": b"no image"}), TOTAL, on_error="skip")
    loader = opened(source)
    loader.order.start_at(0)
    told = [name for batch in loader for name in batch.unreadable]
    assert len(told) == 1
    assert told[0].startswith(f"{tars[2]}: 020: ValueError: 8 bytes that are no image")
    without = StreamSource(broken_at(tars, 34, {"png": None}, drop="png"), TOTAL)
    with pytest.raises((DatasetError, TypeError), match=r"034 has no image among \['cls'\]"):
        epoch_of(opened(without))


def broken_at(tars: list[str], number: int, changes: dict[str, Any], drop: str = "") -> Any:
    def change(sample: Any) -> Any:
        if int(sample["__key__"]) == number:
            sample = {key: value for key, value in {**sample, **changes}.items() if key != drop}
        return sample

    return library("webdataset").WebDataset(tars, shardshuffle=False).map(change)


def hugging_face() -> Any:
    datasets = library("datasets")

    def items(shards: list[int]) -> Iterator[dict[str, Any]]:
        for shard in shards:
            for place in range(9):
                number = 9 * shard + place
                yield {"image": {"bytes": png(number), "path": None}, "label": number % 3}

    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    return datasets.IterableDataset.from_generator(
        items, gen_kwargs={"shards": [0, 1, 2, 3]}, features=datasets.Features(features)
    )


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_hugging_faces_streams_go_on_exactly(workers: int) -> None:
    def loader() -> Any:
        source = StreamSource(hugging_face(), TOTAL, shuffle_buffer=10)
        return opened(source, shuffle=True, workers=workers)

    first = loader()
    whole = [epoch_of(first, epoch) for epoch in range(2)]
    assert all(sorted(flat(epoch)) == list(range(TOTAL)) for epoch in whole)
    stopped = loader()
    begun = iter(stopped)
    for _ in range(6):
        next(begun)
    again = resumed(loader(), stopped, 0, 6)
    assert [epoch_of(again, 0, 6), epoch_of(again, 1)] == [whole[0][6:], whole[1]]


@pytest.mark.parametrize("world_size", [2, 3])
def test_hugging_faces_streams_are_split_over_processes(world_size: int) -> None:
    source = StreamSource(hugging_face(), TOTAL)
    ranks = [opened(source, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(flat([flat(epoch_of(rank)) for rank in ranks])) == list(range(TOTAL))
    assert len({len(rank) for rank in ranks}) == 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_mosaics_streams_go_on_exactly(num_workers: int, tmp_path: Path) -> None:
    streaming = library("streaming")
    folder = str(tmp_path / "shards")
    with streaming.MDSWriter(out=folder, columns={"image": "png", "label": "int"}) as writer:
        for number in range(TOTAL):
            image = Image.fromarray(numbered(number).permute(1, 2, 0).numpy())
            writer.write({"image": image, "label": number % 3})

    def loader() -> Any:
        dataset = streaming.StreamingDataset(local=folder, batch_size=4, shuffle=True)
        source = StreamSource(dataset, shuffle_buffer=0)
        assert len(source) == TOTAL
        return opened(source, shuffle=True, num_workers=num_workers)

    first = loader()
    whole = [epoch_of(first, epoch) for epoch in range(2)]
    assert all(sorted(flat(epoch)) == list(range(TOTAL)) for epoch in whole)
    again = resumed(loader(), first, 1, 4)
    assert epoch_of(again, 1, 4) == whole[1][4:]
    with pytest.raises(ValueError, match="give it epoch_size=, and leave steps_per_epoch out"):
        opened(StreamSource(first.pieces.source.dataset), steps=3)
