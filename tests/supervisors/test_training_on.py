"""Training on draws on: no run of the same networks sees what an earlier one saw."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from super_selfish.data import Batch, Collator, to_unit_range
from super_selfish.data.collate import Labelled
from super_selfish.models import CombinedNet
from super_selfish.supervisors import LabelSupervisor, MomentumContrastSupervisor, Supervisor
from super_selfish.supervisors.two_views import TwoViews
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from tests.conftest import TinyBackbone

Seen = list[tuple[tuple[int, ...], tuple[float, ...]]]


class Noting(Collator):
    """Draws a number for each image, and notes which images came and what they drew."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Seen = []

    def augment(self, batch: Batch, generator: torch.Generator) -> Labelled:
        drawn = torch.rand(len(batch.index), generator=generator)
        self.seen.append((tuple(batch.index.tolist()), tuple(drawn.tolist())))
        return Labelled(to_unit_range(batch.images), (drawn > 0.5).long())


def noting(images: Tensor, kind: type[Supervisor] = Supervisor) -> tuple[Supervisor, Seen]:
    torch.manual_seed(0)
    collate_fn = Noting()
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    return kind(network, images, nn.CrossEntropyLoss(), collate_fn), collate_fn.seen


def seen_by_one_run(images: Tensor, epochs: int, **settings: Any) -> Seen:
    supervisor, seen = noting(images)
    supervisor.supervise(epochs=epochs, batch_size=8, name=None, **settings)
    return seen


def test_runs_of_an_epoch_each_see_what_one_long_run_sees(images: Tensor) -> None:
    expected = seen_by_one_run(images, 4)
    assert len(set(expected)) == len(expected) == 4 * 3
    supervisor, seen = noting(images)
    for epochs in (1, 1, 2):
        supervisor.supervise(epochs=epochs, batch_size=8, name=None)
    assert seen == expected
    assert supervisor.epochs_seen == 4
    assert [row["epoch"] for row in supervisor.history] == [1, 2]  # rows are those of the last run


def test_another_batch_size_keeps_the_order_of_the_next_epoch(images: Tensor) -> None:
    supervisor, seen = noting(images)
    supervisor.supervise(epochs=1, batch_size=8, name=None)
    supervisor.supervise(epochs=1, batch_size=22, name=None)
    of_second = [index for indices, _ in seen_by_one_run(images, 2)[3:] for index in indices]
    assert seen[-1][0] == tuple(of_second)


@pytest.mark.parametrize("way", ["pretrained", "load", "copy", "save again"])
def test_loaded_and_copied_networks_draw_on(images: Tensor, tmp_path: Path, way: str) -> None:
    expected = seen_by_one_run(images, 3)
    name = tmp_path / "base"
    first, _ = noting(images)
    first.supervise(epochs=2, batch_size=8, name=name)
    second, seen = noting(images)
    if way == "copy":
        second = copy.deepcopy(first)
        assert isinstance(second.collate_fn, Noting)
        seen = second.collate_fn.seen
        seen.clear()
    elif way != "pretrained":
        second.load(name)
    if way == "save again":
        second.save(tmp_path / "again")
        second, seen = noting(images)
        second.load(tmp_path / "again")
    second.supervise(epochs=1, batch_size=8, name=name, pretrained=way == "pretrained")
    assert seen == expected[6:]
    assert second.epochs_seen == 3


def test_checkpoints_from_before_epochs_were_counted_tell_by_their_run(
    images: Tensor, tmp_path: Path
) -> None:
    path = checkpoint_path(tmp_path / "base")
    noting(images)[0].supervise(epochs=2, batch_size=8, name=tmp_path / "base")
    state = read_checkpoint(path)
    del state["epochs_seen"], state["run"]["epochs_before"]
    write_checkpoint(path, state)
    supervisor, seen = noting(images)
    supervisor.load(tmp_path / "base").supervise(epochs=1, batch_size=8, name=None)
    assert seen == seen_by_one_run(images, 3)[6:]
    resumed, seen = noting(images)
    resumed.supervise(epochs=3, batch_size=8, name=tmp_path / "base", resume=True)
    assert seen == seen_by_one_run(images, 3)[6:]


class StopError(Exception):
    pass


class Stopping(Supervisor):
    stop_at: int | None = None

    def _forward(self, data: Any) -> Any:
        assert self.run is not None
        if self.stop_at == self.run.global_step:
            raise StopError
        return super()._forward(data)


def test_a_second_run_is_resumed_to_the_same_numbers(images: Tensor, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 8, "lr": 0.01}
    whole, seen_by_whole = noting(images, Stopping)
    for _ in range(2):
        whole.supervise(**settings, name=None)
    stopped, _ = noting(images, Stopping)
    stopped.supervise(**settings, name=None)
    stopped.stop_at = 4  # type: ignore[assignment]
    with pytest.raises(StopError):
        stopped.supervise(**settings, name=tmp_path / "base", checkpoint_every=1)
    resumed, seen = noting(images, Stopping)
    resumed.supervise(**settings, name=tmp_path / "base", resume=True)
    assert seen == seen_by_whole[6 + 4 :]
    assert resumed.history[-1]["loss"] == whole.history[-1]["loss"]
    assert resumed.epochs_seen == whole.epochs_seen == 4
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_an_epoch_that_was_broken_off_counts_and_one_without_a_step_does_not(
    images: Tensor,
) -> None:
    expected = seen_by_one_run(images, 3)
    supervisor, seen = noting(images, Stopping)
    for stop_at, after in ((0, 0), (1, 1)):  # before any step; after the first one
        supervisor.stop_at = stop_at  # type: ignore[assignment]
        with pytest.raises(StopError):
            supervisor.supervise(epochs=2, batch_size=8, name=None)
        assert supervisor.epochs_seen == after
    supervisor.stop_at = None  # type: ignore[assignment]
    seen.clear()
    supervisor.supervise(epochs=2, batch_size=8, name=None)
    assert seen == expected[3:]


class RandomItems(Dataset[tuple[Tensor, int]]):
    """A dataset with transforms of its own, which draw in the loader's worker."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(3, 32, 32), 0


class Keeping(Collator):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def augment(self, batch: Batch, generator: torch.Generator) -> Labelled:
        images = to_unit_range(batch.images)
        self.kept.append(images.clone())
        return Labelled(images, torch.zeros(len(images), dtype=torch.int64))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_transforms_of_the_dataset_draw_on_too(num_workers: int) -> None:
    collate_fn = Keeping()
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Supervisor(network, RandomItems(), nn.CrossEntropyLoss(), collate_fn)
    for _ in range(2):
        supervisor.supervise(
            epochs=1, batch_size=6, name=None, shuffle=False, num_workers=num_workers
        )
    first, second = collate_fn.kept
    assert not torch.equal(first, second)


def test_views_and_labelled_training_draw_on(images: Tensor) -> None:
    kept: list[Tensor] = []

    class Watched(MomentumContrastSupervisor):
        def _forward(self, data: TwoViews) -> Tensor:  # type: ignore[override]
            kept.append(data.first.clone())
            return super()._forward(data)  # type: ignore[arg-type]

    torch.manual_seed(0)
    supervisor = Watched(images, TinyBackbone())
    for _ in range(2):
        supervisor.supervise(epochs=1, batch_size=22, name=None, shuffle=False)
    assert not torch.equal(kept[0], kept[1])
    labelled = LabelSupervisor(images, supervisor.get_backbone(), num_classes=2)
    labelled.collate_fn = collate_fn = Noting()
    for _ in range(2):
        labelled.supervise(epochs=1, batch_size=8, name=None)
    assert collate_fn.seen == seen_by_one_run(images, 2)  # a first run has the draws of any first
