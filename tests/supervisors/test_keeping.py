"""How a run ends, and what of it is stored."""

from __future__ import annotations

import enum
import errno
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from super_selfish.data import Batch, Collator, to_unit_range
from super_selfish.models import CombinedNet
from super_selfish.supervisors import (
    MomentumContrastSupervisor,
    NonFiniteLossError,
    RotateNetSupervisor,
    Supervisor,
)
from super_selfish.training import Callback
from super_selfish.training import checkpoint as checkpoints
from super_selfish.training.checkpoint import checkpoint_path, read_checkpoint
from tests.conftest import TinyBackbone


class Word(str, enum.Enum):
    EVERY = "10min"


class HalfCollator(Collator):
    """Is the image bright?"""

    def augment(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = to_unit_range(batch.images)
        return images, (images.mean(dim=(1, 2, 3)) > 0.3).long()


class Acting(Supervisor):
    """Does something before or after the forward pass of a step."""

    at = -1
    before: Callable[[Supervisor], Any] | None = None
    after: Callable[[Supervisor], Any] | None = None

    def _forward(self, data: Any) -> Any:
        assert self.run is not None
        is_now = self.run.global_step == self.at
        if is_now and self.before is not None:
            self.before(self)
        loss = super()._forward(data)
        if is_now and self.after is not None:
            changed = self.after(self)
            loss = loss if changed is None else changed
        return loss


def build(images: Tensor, at: int = -1, **hooks: Any) -> Acting:
    torch.manual_seed(0)
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Acting(network, images, nn.CrossEntropyLoss(), HalfCollator())
    supervisor.at = at
    for name, hook in hooks.items():
        setattr(supervisor, name, hook)
    return supervisor


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    given = {"epochs": 2, "batch_size": 4, "lr": 0.01, "name": folder / "base", "progress": False}
    return {**given, **more}


def weights(supervisor: Supervisor) -> Tensor:
    return torch.cat([value.flatten().double() for value in supervisor.state_dict().values()])


def stored(folder: Path, name: str = "base") -> dict[str, Any]:
    return read_checkpoint(checkpoint_path(folder / name))


def position(folder: Path) -> int:
    run = stored(folder)["run"]
    step: int = run["epoch"] * 6 + run["step"]  # 22 images in batches of 4
    return step if run["settings"]["batch_size"] == 4 else -1


def sends(number: int, times: int = 1) -> Callable[[Supervisor], None]:
    def send(supervisor: Supervisor) -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    return send


# E24: what is given in other types is stored in plain ones.


def test_numbers_of_numpy_enums_and_paths_train_store_and_load(
    images: Tensor, tmp_path: Path
) -> None:
    class Odd(StepLR):
        def __init__(self, optimizer: Any) -> None:
            super().__init__(optimizer, 1, np.float64(0.5))
            self.word, self.number, self.path = Word.EVERY, np.float32(2), tmp_path

    class Measures:
        def start(self, supervisor: Any) -> None: ...

        def after_epoch(self, supervisor: Any, row: Any) -> None:
            row["measured"] = np.float64(1.5)
            row["also"] = torch.tensor(2.5)

    given: dict[str, Any] = {
        "lr": np.float64(0.01),
        "epochs": np.int64(2),
        "batch_size": np.int64(4),
        "num_workers": np.int64(0),
        "shuffle": np.bool_(True),
        "seed": np.int64(3),
        "clip_norm": np.float32(1.0),
        "accumulate": np.int64(1),
        "checkpoint_every": Word.EVERY,
        "optimizer": partial(torch.optim.SGD, momentum=np.float64(0.9)),
        "lr_scheduler": Odd,
        "monitor": Measures(),
    }
    supervisor = RotateNetSupervisor(
        images,
        backbone=TinyBackbone(),
        rotations=np.array([0, 180]),  # type: ignore[arg-type]
        normalize=([np.float64(0.5)] * 3, np.full(3, 0.25)),
    )
    supervisor.supervise(**given, name=tmp_path / "base", progress=False)
    assert stored(tmp_path)["run"]["history"]["rows"][1]["measured"] == 1.5
    loaded = RotateNetSupervisor(backbone=TinyBackbone()).load(tmp_path / "base")
    assert torch.equal(weights(loaded), weights(supervisor))
    assert loaded.arguments["rotations"] == (0, 180)
    given["epochs"] = np.int64(3)
    again = RotateNetSupervisor(
        images,
        backbone=TinyBackbone(),
        rotations=(0, 180),
        normalize=((0.5,) * 3, (0.25,) * 3),
    )
    again.supervise(**given, name=tmp_path / "base", resume=True, progress=False)
    assert [row["epoch"] for row in again.history] == [1, 2, 3]


def test_what_cannot_be_stored_is_found_before_the_first_step(
    images: Tensor, tmp_path: Path
) -> None:
    class Odd(StepLR):
        def __init__(self, optimizer: Any) -> None:
            super().__init__(optimizer, 1)
            self.curve = object()

    build(images).supervise(**settings(tmp_path))
    former = (tmp_path / "base.pt").read_bytes()
    supervisor = build(images)
    with pytest.raises(TypeError, match=r"\['lr_scheduler'\]\['curve'\] is a object"):
        supervisor.supervise(**settings(tmp_path, lr_scheduler=Odd))
    assert supervisor.run is not None and supervisor.run.global_step == 0
    assert (tmp_path / "base.pt").read_bytes() == former


def test_a_column_that_cannot_be_stored_costs_the_column_only(
    images: Tensor, tmp_path: Path
) -> None:
    class Odd:
        def start(self, supervisor: Any) -> None: ...

        def after_epoch(self, supervisor: Any, row: Any) -> None:
            row.update(good=1.0, odd=object(), also=np.int64(2))

    with pytest.raises(TypeError, match="column 'odd' is a object"):
        build(images).supervise(**settings(tmp_path, monitor=Odd()))
    row = stored(tmp_path)["run"]["history"]["rows"][0]
    assert (row["good"], row["also"]) == (1.0, 2) and "odd" not in row


# E25: an unusable name is found before training.


def test_unusable_names_are_refused_before_the_first_step(images: Tensor, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "table.csv").mkdir()
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    unusable: dict[str, type[Exception]] = {
        str(tmp_path / "file" / "base"): OSError,
        str(tmp_path / "folder"): OSError,
        str(tmp_path / "table"): OSError,
        str(tmp_path / ("n" * longest)): OSError,
        "/proc/no/such/base": OSError,
        "": ValueError,
        f"{tmp_path}{os.sep}": ValueError,
        str(tmp_path / "nul\0"): ValueError,
    }
    for name, error in unusable.items():
        supervisor = build(images)
        with pytest.raises(error):
            supervisor.supervise(**settings(tmp_path, name=name))
        assert not supervisor.history
    with pytest.raises(OSError, match=r"nothing can be stored at .*folder\.pt: it is a folder"):
        build(images).supervise(**settings(tmp_path, name=tmp_path / "folder"))


def test_a_long_name_that_the_disk_takes_is_taken(images: Tensor, tmp_path: Path) -> None:
    name = "n" * 215
    build(images).supervise(**settings(tmp_path, epochs=1, name=tmp_path / name, keep_last=1))
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{name}.csv", f"{name}.pt"]


def test_no_room_is_found_before_the_first_step(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 20_000})()
    monkeypatch.setattr("super_selfish.training.naming.shutil.disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"a checkpoint takes 0\.0 MB, its disk has 0\.0 MB left"):
        build(images).supervise(**settings(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_relative_name_stays_where_it_was_given(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    supervisor = build(images, at=2, before=lambda _: os.chdir(tmp_path / "there"))
    supervisor.supervise(**settings(tmp_path, name="base", checkpoint_every=3))
    assert (tmp_path / "here" / "base.pt").is_file() and not list((tmp_path / "there").iterdir())


def test_the_users_folder_is_meant_by_its_sign(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    supervisor = build(images).supervise(**settings(tmp_path, name="~/deep/base"))
    assert (tmp_path / "deep" / "base.pt").is_file()
    again = build(images).load("~/deep/base")
    assert torch.equal(weights(again), weights(supervisor))


# E26: nothing that is not finite is stored.


def infinite_gradient(supervisor: Supervisor) -> Tensor:
    """A loss of 0, of which the gradient is not finite: that of a square root at 0."""
    first = next(supervisor.parameters())
    return (first * 0).abs().sum().sqrt()


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_a_gradient_that_is_not_finite_never_reaches_weights_or_file(
    images: Tensor, tmp_path: Path, optimizer: Any
) -> None:
    supervisor = build(images, at=7, after=infinite_gradient)
    with pytest.raises(
        NonFiniteLossError, match=r"gradient of model\.backbone\.layers\.0\.weight .* step 7 \(in"
    ) as caught:
        supervisor.supervise(**settings(tmp_path, optimizer=optimizer, checkpoint_every=3))
    assert torch.isfinite(weights(supervisor)).all()
    assert position(tmp_path) == 6
    assert caught.value.step == 7 and len(caught.value.indices) == 4
    record = torch.load(tmp_path / "base-nan.pt", weights_only=True)
    assert record["indices"] == caught.value.indices
    assert (record["epoch"], record["step"], record["settings"]["seed"]) == (1, 1, 0)
    assert str(caught.value.indices[0]) in str(caught.value)


def test_the_indices_are_those_of_the_batch(images: Tensor, tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Noting(HalfCollator):
        def augment(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            seen.append(batch.index.tolist())
            return super().augment(batch, generator)

    supervisor = build(images, at=6, after=infinite_gradient)
    supervisor.collate_fn = Noting()
    supervisor.supervise(**settings(tmp_path, epochs=1))
    supervisor.at = 3  # of the second run, which sees other orders
    seen.clear()
    with pytest.raises(NonFiniteLossError) as caught:
        supervisor.supervise(**settings(tmp_path, accumulate=2))
    assert caught.value.indices == seen[2] + seen[3]


@pytest.mark.parametrize("what", ["weight", "buffer", "average"])
def test_whatever_is_not_finite_is_not_stored(images: Tensor, tmp_path: Path, what: str) -> None:
    def spoil(supervisor: Supervisor) -> None:
        assert supervisor.run is not None
        if what == "average":
            state = supervisor.run.optimizer.state
            next(iter(state.values()))["exp_avg"].data[0] = float("inf")
        tensor = next(supervisor.parameters() if what == "weight" else supervisor.buffers())
        if what != "average":
            tensor.data.view(-1)[0] = float("inf")

    class Spoilt(Acting):
        def _update(self, loss: Any, optimizer: Any, lr_scheduler: Any) -> bool:
            moved = super()._update(loss, optimizer, lr_scheduler)
            assert self.run is not None
            if self.run.global_step == 7:
                spoil(self)
            return moved

    torch.manual_seed(0)
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Spoilt(network, images, nn.CrossEntropyLoss(), HalfCollator())
    with pytest.raises(NonFiniteLossError):
        supervisor.supervise(**settings(tmp_path, checkpoint_every=2))
    assert position(tmp_path) == 6
    former = (tmp_path / "base.pt").read_bytes()
    with pytest.raises(NonFiniteLossError):
        supervisor.save(tmp_path / "base")
    assert (tmp_path / "base.pt").read_bytes() == former


def test_a_mask_of_infinities_is_no_fault(images: Tensor, tmp_path: Path) -> None:
    supervisor = build(images)
    supervisor.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))
    supervisor.supervise(**settings(tmp_path))
    assert stored(tmp_path)["model"]["mask"][0, 1] == float("-inf")


def test_weights_that_are_not_finite_are_found_before_the_first_step(
    images: Tensor, tmp_path: Path
) -> None:
    supervisor = build(images)
    next(supervisor.parameters()).data[0] = float("nan")
    with pytest.raises(
        NonFiniteLossError, match=r"layers\.0\.weight before the first step"
    ) as caught:
        supervisor.supervise(**settings(tmp_path))
    assert "on_nan" not in str(caught.value)  # there is no update yet
    assert not (tmp_path / "base.pt").exists()


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_skipping_leaves_the_update_out_and_counts_it(
    images: Tensor, tmp_path: Path, where: str
) -> None:
    states: dict[int, Tensor] = {}

    class Noting(Acting):
        def _update(self, loss: Any, optimizer: Any, lr_scheduler: Any) -> bool:
            moved = super()._update(loss, optimizer, lr_scheduler)
            assert self.run is not None
            states[self.run.global_step] = weights(self)
            return moved

    torch.manual_seed(0)
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Noting(network, images, nn.CrossEntropyLoss(), HalfCollator())
    supervisor.at = 3
    factor = 1.0 if where == "gradient" else torch.nan
    supervisor.after = lambda supervisor: infinite_gradient(supervisor) * factor
    supervisor.supervise(**settings(tmp_path, on_nan="skip"))
    assert torch.equal(states[3], states[2])  # batch norm's statistics too
    assert not torch.equal(states[4], states[3])
    assert [row["skipped_updates"] for row in supervisor.history] == [1, 0]
    assert all(np.isfinite(row["loss"]) for row in supervisor.history)
    assert torch.isfinite(weights(supervisor)).all()


def test_a_run_that_skips_is_the_same_run_where_nothing_is_skipped(
    images: Tensor, tmp_path: Path
) -> None:
    plain = build(images).supervise(**settings(tmp_path))
    skipping = build(images).supervise(**settings(tmp_path, on_nan="skip"))
    assert torch.equal(weights(plain), weights(skipping))


def test_an_epoch_of_skipped_updates_ends_the_run(images: Tensor, tmp_path: Path) -> None:
    class Hopeless(Supervisor):
        def _forward(self, data: Any) -> Any:
            return infinite_gradient(self)

    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Hopeless(network, images, nn.CrossEntropyLoss(), HalfCollator())
    with pytest.raises(NonFiniteLossError) as caught:
        supervisor.supervise(**settings(tmp_path, on_nan="skip"))
    said = str(caught.value)
    assert said.startswith("in epoch 1 no update had a finite loss and gradient, and all were left")
    assert "its images are" in said
    assert said.endswith(". Lower lr, or use clip_norm=")  # and not what was given already


def test_in_half_precision_a_gradient_that_never_is_finite_ends_the_run(images: Tensor) -> None:
    class Hopeless(Supervisor):
        def _forward(self, data: Any) -> Any:
            return infinite_gradient(self)

    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Hopeless(network, images, nn.CrossEntropyLoss(), HalfCollator())
    with pytest.raises(NonFiniteLossError, match="however little it is scaled") as caught:
        supervisor.supervise(epochs=9, batch_size=2, name=None, precision="fp16", progress=False)
    assert str(caught.value).endswith('. Lower lr, or use clip_norm=, or precision="bf16"')
    assert torch.isfinite(weights(supervisor)).all()


# E27: only whole steps.


class StopError(Exception):
    pass


@pytest.mark.parametrize("how", ["error", "two interrupts"])
def test_a_step_that_breaks_off_is_not_stored_and_the_run_goes_on_exactly(
    images: Tensor, tmp_path: Path, how: str
) -> None:
    def build_moco(at: int) -> MomentumContrastSupervisor:
        class Breaking(MomentumContrastSupervisor):
            def _forward(self, data: Any) -> Any:
                loss = super()._forward(data)  # batch norm and queue have moved
                assert self.run is not None
                if self.run.global_step == at and how == "error":
                    raise StopError
                if self.run.global_step == at:
                    sends(signal.SIGINT, 2)(self)
                return loss

        Breaking.__name__ = "Breaking"
        torch.manual_seed(0)
        return Breaking(images, TinyBackbone(), nn.Linear(16, 8), embedding_size=8, queue_size=6)

    given = settings(tmp_path, checkpoint_every=2)
    whole = build_moco(-1).supervise(**{**given, "name": None})
    with pytest.raises(StopError if how == "error" else KeyboardInterrupt) as caught:
        build_moco(7).supervise(**given)
    assert position(tmp_path) == 6
    if how == "error" and hasattr(caught.value, "__notes__"):
        assert "nothing is stored" in caught.value.__notes__[0]
    resumed = build_moco(-1).supervise(**given, resume=True)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]
    assert torch.equal(weights(resumed), weights(whole))


def test_an_error_while_batches_are_gathered_for_an_update_stores_none_of_them(
    images: Tensor, tmp_path: Path
) -> None:
    class Breaking(HalfCollator):
        def augment(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            self.count = getattr(self, "count", 0) + 1
            if self.count == 4:  # between the two batches of the second update
                raise StopError
            return super().augment(batch, generator)

    supervisor = build(images)
    supervisor.collate_fn = Breaking()
    with pytest.raises(StopError):
        supervisor.supervise(**settings(tmp_path, accumulate=2, checkpoint_every=2))
    assert position(tmp_path) == 2


def test_a_saved_run_that_broke_off_cannot_be_taken_for_a_whole_one(
    images: Tensor, tmp_path: Path
) -> None:
    def stop(_: Supervisor) -> None:
        raise StopError

    supervisor = build(images, at=3, after=stop)
    with pytest.raises(StopError):
        supervisor.supervise(**settings(tmp_path))
    supervisor.save(tmp_path / "other")
    assert stored(tmp_path, "other")["run"] is None


# E28: signals.


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_stores_first_and_gives_the_status_of_shells(
    images: Tensor, tmp_path: Path, name: str
) -> None:
    number = getattr(signal, name)
    former = signal.signal(number, signal.SIG_DFL)  # nohup, which may run this, ignores one
    try:
        with pytest.raises(SystemExit) as caught:
            build(images, at=3, after=sends(number)).supervise(**settings(tmp_path))
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, former)
    assert caught.value.code == 128 + number
    assert position(tmp_path) == 4


def test_a_signal_that_stores_goes_on_and_the_former_handlers_hear_of_it(
    images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []
    number = signal.SIGUSR1
    former = signal.signal(number, lambda number, frame: heard.append(position(tmp_path)))
    try:
        supervisor = build(images, at=3, after=sends(number))
        supervisor.supervise(**settings(tmp_path, progress=True))
    finally:
        signal.signal(number, former)
    place = tmp_path / "base.pt"
    assert f"stored at {place}, as SIGUSR1 asked; the run goes on" in caplog.messages
    assert heard == [4] and len(supervisor.history) == 2


def test_a_handler_of_the_users_own_hears_of_the_end(images: Tensor, tmp_path: Path) -> None:
    heard: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(position(tmp_path)))
    try:
        with pytest.raises(SystemExit):
            build(images, at=3, after=sends(signal.SIGTERM)).supervise(**settings(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, former)
    assert heard == [4]


def test_a_signal_that_is_ignored_stays_ignored(images: Tensor, tmp_path: Path) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        supervisor = build(images, at=3, after=sends(signal.SIGHUP))
        supervisor.supervise(**settings(tmp_path))
    finally:
        signal.signal(signal.SIGHUP, former)
    assert len(supervisor.history) == 2


def test_ctrl_c_while_waiting_for_a_batch_waits_for_none(images: Tensor, tmp_path: Path) -> None:
    class Slow(HalfCollator):
        seen = 0

        def augment(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            self.seen += 1
            if self.seen == 4:
                os.kill(os.getpid(), signal.SIGINT)
                raise AssertionError("the batch was waited for")
            return super().augment(batch, generator)

    supervisor = build(images)
    supervisor.collate_fn = Slow()
    with pytest.raises(KeyboardInterrupt):
        supervisor.supervise(**settings(tmp_path))
    assert position(tmp_path) == 3


# E29: a disk that is full, or gone.


class Disk:
    """Takes nothing while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        write = checkpoints.write_archive

        def write_unless_full(file: Any, value: Any) -> None:
            if self.is_full:
                file.write(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(file, value)

        monkeypatch.setattr(checkpoints, "write_archive", write_unless_full)


@pytest.mark.parametrize(("full", "times"), [({3, 4, 5, 6, 7}, 1), ({3, 4, 7, 8}, 2)])
def test_a_full_disk_does_not_end_a_run_and_is_said_once(
    full: set[int], times: int, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("super_selfish.training.run.RETRY_AFTER", 0.0)
    disk = Disk(monkeypatch)

    class Filling(HalfCollator):
        seen = 0

        def augment(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            self.seen += 1
            disk.is_full = self.seen in full
            return super().augment(batch, generator)

    supervisor = build(images)
    supervisor.collate_fn = Filling()
    with pytest.warns(UserWarning, match=r"No space left on device\. It goes on, and") as caught:
        supervisor.supervise(**settings(tmp_path, checkpoint_every=1))
    assert len(caught) == times
    assert position(tmp_path) == 12
    whole = build(images).supervise(**settings(tmp_path, name=None))
    assert torch.equal(weights(whole), weights(supervisor))


def test_a_run_that_cannot_be_stored_at_its_end_says_so_and_keeps_the_last_file(
    images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    supervisor = build(images, at=8, before=lambda _: setattr(disk, "is_full", True))
    said = r"the run is over, but .*base\.pt cannot be written: No spa"
    with pytest.raises(OSError, match=said) as caught:
        supervisor.supervise(**settings(tmp_path, checkpoint_every=7))
    assert caught.value.errno == errno.ENOSPC
    assert position(tmp_path) == 7
    disk.is_full = False
    supervisor.save(tmp_path / "base")
    assert position(tmp_path) == 12


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_callback_that_fails_at_a_checkpoint_does_not_hide_what_ended_the_run(
    is_ended: bool, images: Tensor, tmp_path: Path
) -> None:
    class Refusing(Callback):
        def on_checkpoint(self, supervisor: Any, path: Path) -> None:
            raise RuntimeError("of the checkpoint")

    given = settings(tmp_path, checkpoint_every=None, callbacks=Refusing())
    if is_ended:
        supervisor = build(images, at=1, after=sends(signal.SIGINT))
        with (
            pytest.warns(UserWarning, match="amid another error: of the checkpoint"),
            pytest.raises(KeyboardInterrupt),
        ):
            supervisor.supervise(**given)
        assert position(tmp_path) == 2
    else:
        with pytest.raises(RuntimeError, match="of the checkpoint"):
            build(images).supervise(**given)


# E30: the former file.


def test_the_former_file_is_kept_and_taken_where_the_newest_is_damaged(
    images: Tensor, tmp_path: Path
) -> None:
    given = settings(tmp_path, checkpoint_every=4)
    whole = build(images).supervise(**given)
    path = tmp_path / "base.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"damaged.*former checkpoint .*base-previous\.pt was tak"):
        resumed = build(images).supervise(**given, resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    assert read_checkpoint(tmp_path / "base-previous.pt")["run"] is not None


@pytest.mark.parametrize("keep_last", [1, 2, 3])
def test_so_many_files_are_kept(images: Tensor, tmp_path: Path, keep_last: int) -> None:
    build(images).supervise(**settings(tmp_path, checkpoint_every=2, keep_last=keep_last))
    found = sorted(path.name for path in tmp_path.glob("*.pt"))
    assert found == sorted(["base.pt", "base-previous.pt", "base-previous-2.pt"][:keep_last])
    with pytest.raises(ValueError, match="keep_last must be at least 1 file, got 0"):
        build(images).supervise(**settings(tmp_path, keep_last=0))
