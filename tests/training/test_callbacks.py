"""Callbacks are told what happens, when it happens, and one that raises loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.evaluation import Monitor
from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training import Callback, Step
from super_selfish.training.checkpoint import read_run
from super_selfish.training.history import Row

Backbones = Callable[..., nn.Module]
ONCE: dict[str, Any] = {"epochs": 2, "batch_size": 8, "progress": False}  # three steps an epoch


class Recorder(Callback):
    def __init__(self, every_steps: int = 1) -> None:
        self.every_steps = every_steps
        self.told: list[Any] = []
        self.steps: list[Step] = []

    def on_start(self, supervisor: Any) -> None:
        self.told.append(("start", supervisor.run.global_step))

    def on_step(self, supervisor: Any, step: Step) -> None:
        self.told.append(("step", step.number))
        self.steps.append(step)

    def on_epoch(self, supervisor: Any, row: Row) -> None:
        self.told.append(("epoch", row["epoch"]))

    def on_checkpoint(self, supervisor: Any, path: Path) -> None:
        assert path.is_file()
        self.told.append(("checkpoint", path.name))

    def on_end(self, supervisor: Any, error: BaseException | None) -> None:
        self.told.append(("end", type(error).__name__))


@pytest.fixture
def supervisor(images: Tensor, tiny_backbone: Backbones) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, tiny_backbone())


def test_everything_is_told_in_its_order(supervisor: Any, tmp_path: Path) -> None:
    recorder = Recorder()
    supervisor.supervise(name=tmp_path / "run", callbacks=[recorder], **ONCE)
    first = [("start", 0), ("step", 1), ("step", 2), ("step", 3), ("epoch", 1)]
    second = [("step", 4), ("step", 5), ("step", 6), ("epoch", 2)]
    assert recorder.told == [*first, *second, ("checkpoint", "run.pt"), ("end", "NoneType")]


def test_a_step_holds_what_the_history_averages(supervisor: Any) -> None:
    recorder = Recorder()
    supervisor.supervise(name=None, callbacks=[recorder], lr=0.01, **ONCE)
    for row in supervisor.history:
        own = [step for step in recorder.steps if step.epoch == row["epoch"]]
        for name in ("loss", "accuracy"):
            mean = torch.stack([step.values[name] for step in own]).double().mean()
            assert row[name] == pytest.approx(float(mean), rel=1e-6)
        assert [step.images for step in own] == [8, 8, 6]
    assert not any(v.requires_grad for step in recorder.steps for v in step.values.values())
    assert {step.lr for step in recorder.steps} == {0.01}


def test_steps_are_told_as_often_as_is_asked(supervisor: Any) -> None:
    recorder = Recorder(every_steps=4)
    supervisor.supervise(name=None, callbacks=[recorder], **ONCE)
    assert [step.number for step in recorder.steps] == [4]


def test_steps_that_nobody_listens_to_are_not_put_together(
    supervisor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr("super_selfish.supervisors.loop.Step", lambda *each: made.append(each))

    class OfEpochs(Callback):
        def on_epoch(self, supervisor: Any, row: Row) -> None:
            row["twice"] = 2 * row["loss"]

    supervisor.supervise(name=None, callbacks=[OfEpochs()], **ONCE)
    assert made == []
    assert all(row["twice"] == 2 * row["loss"] for row in supervisor.history)


@pytest.mark.parametrize("event", ["on_start", "on_step", "on_epoch", "on_checkpoint", "on_end"])
def test_one_that_raises_is_named_and_the_run_is_stored(
    event: str, images: Tensor, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    def raising(self: Any, *told: Any) -> None:
        raise KeyError("lost")

    Faulty = type("Faulty", (Callback,), {event: raising})
    run: dict[str, Any] = {**ONCE, "name": tmp_path / "run", "checkpoint_every": 2}
    recorder = Recorder()
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    with pytest.raises(KeyError, match="lost") as caught:
        supervisor.supervise(**run, callbacks=[Faulty(), recorder])
    notes = " ".join(getattr(caught.value, "__notes__", []))
    if hasattr(caught.value, "add_note"):
        assert f"the callback Faulty raised this in {event}" in notes
    assert recorder.told[-1] == ("end", "NoneType" if event == "on_end" else "KeyError")
    if event == "on_start":  # nothing was trained
        assert not (tmp_path / "run.pt").exists()
        return
    assert supervisor.run is not None
    done = {"on_step": 1, "on_epoch": 3, "on_checkpoint": 2, "on_end": 6}[event]
    assert supervisor.run.global_step == supervisor.run.stored_step == done
    # And it goes on as if nothing had been.
    torch.manual_seed(0)
    resumed = RotateNetSupervisor(images, tiny_backbone()).supervise(**run, resume=True)
    torch.manual_seed(0)
    whole = RotateNetSupervisor(images, tiny_backbone()).supervise(**{**run, "name": None})
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_what_a_failed_callback_has_put_into_a_row_does_not_keep_the_run_from_being_stored(
    supervisor: Any, tmp_path: Path
) -> None:
    class Half(Callback):
        def on_epoch(self, supervisor: Any, row: Row) -> None:
            row["mine"] = torch.tensor(3.0)  # type: ignore[assignment]
            raise RuntimeError("after that")

    with pytest.raises(RuntimeError, match="after that"):
        supervisor.supervise(name=tmp_path / "run", callbacks=[Half()], **ONCE)
    assert RotateNetSupervisor(backbone=supervisor.get_backbone()).load(tmp_path / "run")


def test_a_second_error_at_the_end_is_told_and_the_first_is_raised(supervisor: Any) -> None:
    class Bad(Callback):
        def on_step(self, supervisor: Any, step: Step) -> None:
            raise KeyError("first")

        def on_end(self, supervisor: Any, error: BaseException | None) -> None:
            raise ValueError("second")

    with (
        pytest.raises(KeyError, match="first"),
        pytest.warns(UserWarning, match="Bad raised ValueError in on_end: second"),
    ):
        supervisor.supervise(name=None, callbacks=[Bad()], **ONCE)


def test_a_sentence_is_a_health_warning(supervisor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("super_selfish.supervisors.diagnostics.STEPS_BEFORE_A_VERDICT", 1)

    class Doctor(Callback):
        def on_epoch(self, supervisor: Any, row: Row) -> str | None:
            return "it coughs" if row["epoch"] == 2 else None

    with pytest.warns(UserWarning, match="epoch 2: it coughs"):
        supervisor.supervise(name=None, callbacks=[Doctor()], **ONCE)


def test_any_object_will_do_and_one_needs_no_list(supervisor: Any) -> None:
    class Counter:
        epochs = 0

        def on_epoch(self, supervisor: Any, row: Row) -> None:
            self.epochs += 1

    counter = Counter()
    supervisor.supervise(name=None, callbacks=counter, **ONCE)
    assert counter.epochs == 2


def test_a_monitor_is_a_callback_too(images: Tensor, tiny_backbone: Backbones) -> None:
    def history(**watched: Any) -> list[Row]:
        torch.manual_seed(0)
        supervisor = RotateNetSupervisor(images, tiny_backbone())
        supervisor.supervise(name=None, **ONCE, **watched)
        return supervisor.history

    ours = history(monitor=Monitor(every=1, num_images=8))
    theirs = history(callbacks=[Monitor(every=1, num_images=8)])
    assert [row["rankme"] for row in ours] == [row["rankme"] for row in theirs]


def test_a_callback_stops_a_run_which_goes_on_later(
    images: Tensor, tiny_backbone: Backbones, tmp_path: Path, capsys: Any
) -> None:
    class Enough(Callback):
        def on_step(self, supervisor: Any, step: Step) -> None:
            if step.number == 3:
                supervisor.run.stop("a callback that has seen enough")

    run: dict[str, Any] = {**ONCE, "name": tmp_path / "run", "accumulate": 2, "progress": True}
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(images, tiny_backbone())
    supervisor.supervise(**{**run, "epochs": 4}, callbacks=[Enough()])
    assert supervisor.run is not None
    assert (supervisor.run.epoch, supervisor.run.step) == (1, 0)
    assert "Stopped by a callback that has seen enough" in capsys.readouterr().err
    torch.manual_seed(0)
    resumed = RotateNetSupervisor(images, tiny_backbone())
    resumed.supervise(**{**run, "epochs": 4}, resume=True)
    assert len(resumed.history) == 4


@pytest.mark.parametrize("wrong", [Recorder, [Recorder], [3], "recorder", [object()]])
def test_what_is_no_callback_is_refused_in_words(wrong: Any, supervisor: Any) -> None:
    with pytest.raises(TypeError, match="callbacks are objects with some of the methods on_start"):
        supervisor.supervise(name=None, callbacks=wrong, **ONCE)


class Doing(Callback):
    """Does something after every epoch."""

    def __init__(self, what: Callable[[Any, Row], object]) -> None:
        self.what = what

    def on_epoch(self, supervisor: Any, row: Row) -> None:
        self.what(supervisor, row)


def test_networks_go_on_in_train_mode_after_a_callback_that_forgot_it(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    class Forgetful(Callback):
        def on_step(self, supervisor: Any, step: Step) -> None:
            supervisor.eval()

        def on_epoch(self, supervisor: Any, row: Row) -> None:
            assert supervisor.training
            supervisor.eval()

    def history(callbacks: list[Any]) -> list[float]:
        torch.manual_seed(0)
        supervisor = RotateNetSupervisor(images, tiny_backbone())
        supervisor.supervise(name=None, callbacks=callbacks, **ONCE)
        return [row["loss"] for row in supervisor.history]

    assert history([Forgetful()]) == history([])


@pytest.mark.parametrize(
    "change", [lambda row: row.pop("epoch"), lambda row: row.update(loss=0.0), Row.clear]
)
def test_what_was_measured_is_not_written_over(change: Any, supervisor: Any) -> None:
    with pytest.raises(ValueError, match="was changed: a row may be given further columns") as told:
        supervisor.supervise(name=None, callbacks=[Doing(lambda _, row: change(row))], **ONCE)
    if hasattr(told.value, "__notes__"):  # since Python 3.11
        assert "the callback Doing raised this in on_epoch" in told.value.__notes__
    assert supervisor.history[0]["epoch"] == 1
    assert supervisor.history[0]["loss"] > 0


def test_a_supervisor_that_trains_is_not_trained_by_its_callback(supervisor: Any) -> None:
    def again(of: Any, row: Row) -> None:
        of.supervise(name=None, **ONCE)

    with pytest.raises(RuntimeError, match="is training, and supervise"):
        supervisor.supervise(name=None, callbacks=[Doing(again)], **ONCE)
    supervisor.supervise(name=None, **ONCE)  # free again


def test_a_run_that_went_back_to_stored_weights_is_stored_as_itself(
    supervisor: Any, tmp_path: Path
) -> None:
    supervisor.supervise(name=tmp_path / "first", **{**ONCE, "epochs": 1})

    def back(of: Any, row: Row) -> None:
        if row["epoch"] == 1:
            of.load(tmp_path / "first")

    supervisor.supervise(name=tmp_path / "second", callbacks=[Doing(back)], **ONCE)
    stored = read_run(tmp_path / "second.pt")["run"]
    assert (stored["epoch"], len(stored["history"]["rows"])) == (2, 2)


@pytest.mark.parametrize("every", [0, -1, 1.5, None, "3"])
def test_no_number_of_steps_is_refused_before_the_run(every: Any, supervisor: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="every_steps of Recorder must be"):
        supervisor.supervise(name=None, callbacks=[Recorder(every)], **ONCE)
    assert supervisor.run is None
