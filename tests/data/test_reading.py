from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from super_selfish.data import Batch, Collator, ImageSource, to_unit_range
from super_selfish.data.cache import CachedImages
from super_selfish.data.collate import Labelled
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.reading import Reading, open_loader
from super_selfish.data.stored import HeldImages
from super_selfish.models import CombinedNet
from super_selfish.supervisors import Supervisor
from tests.conftest import TinyBackbone


class Halves(Collator):
    """Was the left half mirrored? Draws, so that two runs agree only if their batches do."""

    def augment(self, batch: Batch, generator: torch.Generator) -> Labelled:
        images = to_unit_range(batch.images)
        targets = torch.randint(2, (len(images),), generator=generator)
        turned = torch.where(targets.view(-1, 1, 1, 1).bool(), images.flip(-1), images)
        return Labelled(turned, targets)


@pytest.fixture
def folder(images: Tensor, tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for index, image in enumerate(images):
        pixels = Image.fromarray(image.permute(1, 2, 0).numpy())
        pixels.resize((44, 40)).save(tmp_path / "images" / f"{index:02}.jpg")
    return tmp_path / "images"


def run(dataset: Any, collate_fn: Any = None, **options: Any) -> Supervisor:
    torch.manual_seed(0)
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    collate_fn = Halves() if collate_fn is None else collate_fn
    supervisor = Supervisor(network, dataset, nn.CrossEntropyLoss(), collate_fn, image_size=32)
    return supervisor.supervise(epochs=2, batch_size=4, name=None, **options)


def losses(supervisor: Supervisor) -> list[float]:
    return [row["loss"] for row in supervisor.history]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "options",
    [{"cache": True}, {"dataset_on_device": True}, {"cache": True, "dataset_on_device": True}],
    ids=str,
)
def test_a_run_is_the_same_however_its_images_are_read(
    folder: Path, tmp_path: Path, options: dict[str, Any], num_workers: int
) -> None:
    plain = run(folder)
    if "cache" in options:
        options = {**options, "cache": tmp_path / "store" / "cache"}
    read = run(folder, num_workers=num_workers, **options)
    assert losses(read) == losses(plain)
    for first, second in zip(read.parameters(), plain.parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_source_of_a_supervisor_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    supervisor = run(folder, cache=tmp_path / "cache", dataset_on_device=True)
    assert supervisor.source is not None
    assert supervisor.source.stored is None
    assert supervisor.dataset == folder


def test_a_source_with_a_cache_is_a_dataset_like_any_other(folder: Path, tmp_path: Path) -> None:
    assert losses(run(ImageSource(folder, 32, cache=tmp_path / "cache"))) == losses(run(folder))


@pytest.mark.parametrize(
    ("option", "value"), [("cache", "never-built"), ("dataset_on_device", True)]
)
def test_a_plain_function_that_collates_gets_neither(
    images: Tensor, option: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"{option} keeps images ready for a Collator"):
        run(images, lambda items: items, **{option: value})


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("is_cached", [False, True])
def test_images_are_read_from_where_they_were_put(
    folder: Path, tmp_path: Path, on_device: bool, is_cached: bool
) -> None:
    source = ImageSource(folder, 32)
    order = EpochBatches(len(source), 4)
    cache = tmp_path / "cache" if is_cached else None
    loader = open_loader(
        source,
        order,
        Halves(),
        torch.device("cpu"),
        num_workers=2,
        reading=Reading(cache=cache, on_device=on_device, timeout=9, progress=False),
    )
    kind = HeldImages if on_device else CachedImages if is_cached else type(None)
    found: Any = loader.dataset
    assert isinstance(found.stored, kind)
    assert loader.num_workers == (0 if on_device else 2)
    assert loader.timeout == (0 if on_device else 9)
    assert loader.batch_sampler is order
