"""What the clients of three services are told, with the clients themselves, offline."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training import Logger, MLflow, TensorBoard, WeightsAndBiases

Backbones = Callable[..., nn.Module]
SHORT: dict[str, Any] = {"batch_size": 8, "progress": False, "epochs": 2}  # three steps an epoch


def needs(client: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(client) is not None
    return pytest.mark.skipif(not there, reason=f"the client {client} is not installed")


# What the clients do among themselves is no concern of this library's.
others_may_warn = pytest.mark.filterwarnings(
    "default::DeprecationWarning", "default::FutureWarning"
)


def test_a_logger_that_cannot_write_is_refused_as_it_is_made() -> None:
    class Half(Logger):
        def open(self, supervisor: Any) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


class Listed(Logger):
    def __init__(self, every_steps: int = 2) -> None:
        super().__init__(every_steps)
        self.written: list[tuple[int, dict[str, float]]] = []
        self.ends: list[Any] = []

    def open(self, supervisor: Any) -> None:
        self.ends.append("open")

    def write(self, values: dict[str, float], number: int) -> None:
        self.written.append((number, values))

    def close(self, error: BaseException | None) -> None:
        self.ends.append(error)


@pytest.fixture
def supervisor(images: Tensor, tiny_backbone: Backbones) -> RotateNetSupervisor:
    torch.manual_seed(0)
    return RotateNetSupervisor(images, tiny_backbone())


def test_steps_and_epochs_are_written_in_their_order_as_plain_numbers(supervisor: Any) -> None:
    logger = Listed()
    supervisor.supervise(name=None, callbacks=logger, lr=0.01, **SHORT)
    assert [number for number, _ in logger.written] == [2, 3, 4, 6, 6]
    step, epoch = logger.written[0][1], logger.written[1][1]
    assert set(step) == {"loss", "accuracy", "lr"}
    assert step["lr"] == 0.01
    assert epoch["epoch/loss"] == supervisor.history[0]["loss"]
    assert "epoch/epoch" not in epoch
    assert all(type(value) is float for _, values in logger.written for value in values.values())
    assert logger.ends == ["open", None]


def test_what_waits_is_written_where_the_run_breaks_off(supervisor: Any) -> None:
    class Stopping:
        def on_step(self, supervisor: Any, step: Any) -> None:
            if step.number == 2:
                raise KeyError("enough")

    logger = Listed()
    with pytest.raises(KeyError):
        supervisor.supervise(name=None, callbacks=[logger, Stopping()], **SHORT)
    assert [number for number, _ in logger.written] == [2]
    assert isinstance(logger.ends[1], KeyError)


def test_only_the_first_process_writes(supervisor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("super_selfish.training.loggers.rank", lambda: 1)
    logger = Listed()
    supervisor.supervise(name=None, callbacks=logger, **SHORT)
    assert logger.written == logger.ends == []


@pytest.mark.parametrize("kind", [TensorBoard, WeightsAndBiases, MLflow])
def test_a_client_that_is_missing_is_named(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(
        ImportError, match=r"pip install super-selfish\[(tensorboard|wandb|mlflow)\]"
    ):
        kind()
    with pytest.raises(ValueError, match="every_steps"):
        Listed(0)


class Recorder:
    """A client that notes what it is told, whatever it is asked for."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., Recorder]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*values: Any, **named: Any) -> Recorder:
            self.told.append((name, *values, named) if named else (name, *values))
            return self

        return call

    def of(self, *names: str) -> list[tuple[Any, ...]]:
        return [each for each in self.told if each[0] in names]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for module in ("mlflow", "wandb", "tensorboard", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, recorder)
    return recorder


class Failing:
    def on_step(self, supervisor: Any, step: Any) -> None:
        if step.number == 2:
            raise KeyError("enough")


def run_with(supervisor: Any, logger: Logger, fails: bool = False) -> None:
    callbacks = [logger, Failing()] if fails else [logger]
    try:
        supervisor.supervise(name=None, callbacks=callbacks, **SHORT)
    except KeyError:
        assert fails


@pytest.mark.parametrize("fails", [False, True])
def test_mlflow_is_told_how_a_run_ended(supervisor: Any, client: Recorder, fails: bool) -> None:
    run_with(supervisor, MLflow(every_steps=2, run_name="a"), fails)
    assert client.told[0] == ("start_run", {"run_name": "a"})
    assert client.told[1][0] == "log_params"
    assert client.told[1][1]["batch_size"] == 8
    assert client.told[-1] == ("end_run", "FAILED" if fails else "FINISHED")
    written = [each[2]["step"] for each in client.of("log_metrics")]
    assert written == ([2] if fails else [2, 3, 4, 6, 6])


def test_mlflow_gives_no_parameters_to_a_run_that_goes_on(
    supervisor: Any, client: Recorder
) -> None:
    run_with(supervisor, MLflow(run_id="b"))
    assert client.told[0] == ("start_run", {"run_id": "b"})
    assert not client.of("log_params")


@pytest.mark.parametrize("fails", [False, True])
def test_weights_and_biases_is_told_how_a_run_ended(
    supervisor: Any, client: Recorder, fails: bool
) -> None:
    run_with(supervisor, WeightsAndBiases(every_steps=2, project="p"), fails)
    (begun,) = client.of("init")
    assert begun[1]["project"] == "p" and begun[1]["config"]["algorithm"] == "RotateNetSupervisor"
    assert client.told[-1] == ("finish", {"exit_code": 1 if fails else 0})
    written = [each[2]["step"] for each in client.of("log")]
    assert written == ([2] if fails else [2, 3, 4, 6, 6])


@pytest.mark.parametrize(
    ("folder", "expected"), [(None, "RotateNetSupervisor-tensorboard"), ("a", "a")]
)
def test_tensorboard_is_told_where_it_goes_on_and_is_closed(
    supervisor: Any, client: Recorder, folder: str | None, expected: str
) -> None:
    run_with(supervisor, TensorBoard(folder, every_steps=2))
    assert client.of("SummaryWriter") == [("SummaryWriter", expected, {"purge_step": 1})]
    assert client.of("add_text")[0][1] == "settings" and client.of("add_text")[0][3] == 0
    assert [each[3] for each in client.of("add_scalar") if each[1] == "loss"] == [2, 4, 6]
    assert client.told[-1] == ("close",)


@needs("tensorboard")
@others_may_warn
def test_tensorboard_reads_what_was_written(supervisor: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    name = tmp_path / "run"
    supervisor.supervise(name=name, callbacks=TensorBoard(every_steps=2), **SHORT)
    events = EventAccumulator(f"{name}-tensorboard")
    events.Reload()
    losses = events.Scalars("epoch/loss")
    assert [event.step for event in losses] == [3, 6]
    assert [event.value for event in losses] == pytest.approx(
        [row["loss"] for row in supervisor.history]
    )
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6]
    settings = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| algorithm | RotateNetSupervisor |" in settings
    assert "| batch_size | 8 |" in settings


@needs("wandb")
@others_may_warn
def test_weights_and_biases_takes_the_run_offline(
    supervisor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    callback = WeightsAndBiases(every_steps=2, project="test", dir=os.fspath(tmp_path))
    supervisor.supervise(name=None, callbacks=callback, **SHORT)
    assert callback._run.config["algorithm"] == "RotateNetSupervisor"
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    written = file.read_bytes()  # records with their values in JSON
    for row in supervisor.history:
        assert b"epoch/loss" in written
        assert str(row["loss"])[:12].encode() in written


@needs("mlflow")
@others_may_warn
def test_mlflow_has_the_metrics_and_the_settings(
    supervisor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need more packages
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    supervisor.supervise(name=None, callbacks=MLflow(every_steps=2, run_name="test"), **SHORT)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.data.params["algorithm"] == "RotateNetSupervisor"
    kept = client.get_metric_history(run.info.run_id, "epoch/loss")
    assert [each.step for each in kept] == [3, 6]
    assert kept[-1].value == pytest.approx(supervisor.history[-1]["loss"])


def test_every_fiftieth_step_is_logged_where_nothing_else_is_said(client: Recorder) -> None:
    class Usual(Listed):
        def __init__(self) -> None:
            Logger.__init__(self)

    assert [each().every_steps for each in (Usual, TensorBoard, WeightsAndBiases, MLflow)] == [
        50
    ] * 4
