"""What the clients of three services are told, with the clients themselves, offline."""

from __future__ import annotations

import importlib.util
import os
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
