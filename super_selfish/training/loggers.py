"""Runs on other people's dashboards: TensorBoard, Weights & Biases, MLflow.

Each hands numbers to the client of its service, which is not ours and has to be installed. Columns
of the history go there as `epoch/...` after every epoch, and the loss and what the algorithm logs
every few steps. Of steps the tensors are kept, and read when an epoch or a checkpoint makes the
device wait anyway.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from super_selfish.training.callbacks import Callback, Step
from super_selfish.training.distributed import rank
from super_selfish.training.history import Row
from super_selfish.training.plain import is_plain
from super_selfish.training.typed import as_count


class Logger(Callback, ABC):
    """Gathers the numbers of a run, and writes them; only in the first process.

    A subclass writes `open`, `write` and `close`.
    """

    def __init__(self, every_steps: int = 50) -> None:
        """Notes how often.

        Args:
            every_steps: Steps between two that are logged.

        Raises:
            ValueError: If it is below 1.
        """
        self.every_steps = as_count("every_steps", every_steps)
        self._waiting: list[Step] = []
        self._is_open = False

    @abstractmethod
    def open(self, supervisor: Any) -> None:
        """Begins, or goes on, with what the service calls a run."""

    @abstractmethod
    def write(self, values: dict[str, float], number: int) -> None:
        """Writes numbers at a step, counted from 1."""

    @abstractmethod
    def close(self, error: BaseException | None) -> None:
        """Ends what `open` has begun."""

    def on_start(self, supervisor: Any) -> None:
        """Opens."""
        if rank() == 0:
            self._waiting.clear()
            self.open(supervisor)
            self._is_open = True

    def on_step(self, supervisor: Any, step: Step) -> None:
        """Keeps the tensors of a step."""
        if self._is_open:
            self._waiting.append(step)

    def on_epoch(self, supervisor: Any, row: Row) -> None:
        """Writes the steps that wait, and the epoch."""
        if self._is_open:
            self._flush()
            numbers = {k: float(v) for k, v in row.items() if isinstance(v, int | float)}
            values = {f"epoch/{name}": value for name, value in numbers.items() if name != "epoch"}
            self.write(values, supervisor.run.global_step)

    def on_checkpoint(self, supervisor: Any, path: Path) -> None:
        """Writes the steps that wait."""
        if self._is_open:
            self._flush()

    def on_end(self, supervisor: Any, error: BaseException | None) -> None:
        """Writes what waits, and closes."""
        if self._is_open:
            self._is_open = False
            self._flush()
            self.close(error)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for step in waiting:
            values = {name: float(value) for name, value in step.values.items()}
            self.write({**values, "lr": step.lr}, step.number)


class TensorBoard(Logger):
    """Writes event files for TensorBoard, by torch's `SummaryWriter`."""

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, *, every_steps: int = 50
    ) -> None:
        """Notes where to.

        Args:
            folder: Of the event files. Default: the name of the run, or of the
                class where `name=None`, with `-tensorboard` behind it.
            every_steps: Steps between two that are logged.

        Raises:
            ImportError: If `tensorboard` is not installed.
        """
        super().__init__(every_steps)
        _client("tensorboard", "tensorboard")
        self.folder = folder

    def open(self, supervisor: Any) -> None:
        """Opens a file in the folder, which a resumed run goes on with."""
        run = supervisor.run
        folder = self.folder or f"{run.name or type(supervisor).__name__}-tensorboard"
        writers: Any = _client("torch.utils.tensorboard", "tensorboard")
        self._writer = writers.SummaryWriter(os.fspath(folder), purge_step=run.global_step + 1)
        settings = [f"| {name} | {value} |" for name, value in settings_of(supervisor).items()]
        text = "\n".join(["| setting | value |", "|---|---|", *settings])
        self._writer.add_text("settings", text, run.global_step)

    def write(self, values: dict[str, float], number: int) -> None:
        """A scalar each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)

    def close(self, error: BaseException | None) -> None:
        """Closes the file."""
        self._writer.close()


class WeightsAndBiases(Logger):
    """Logs to Weights & Biases, by its client `wandb`."""

    def __init__(self, *, every_steps: int = 50, **settings: Any) -> None:
        """Notes for what.

        Args:
            every_steps: Steps between two that are logged.
            **settings: Of `wandb.init`, such as `project=`; `id=` and `resume="allow"` go on.

        Raises:
            ImportError: If `wandb` is not installed.
        """
        super().__init__(every_steps)
        self._client: Any = _client("wandb", "wandb")
        self.settings = settings

    def open(self, supervisor: Any) -> None:
        """Begins a run with the settings of this one."""
        self._run = self._client.init(**{"config": settings_of(supervisor), **self.settings})

    def write(self, values: dict[str, float], number: int) -> None:
        """One call a step."""
        self._run.log(values, step=number)

    def close(self, error: BaseException | None) -> None:
        """Ends it, as failed where it was."""
        self._run.finish(exit_code=0 if error is None else 1)


class MLflow(Logger):
    """Logs to MLflow, by its own client."""

    def __init__(self, *, every_steps: int = 50, **settings: Any) -> None:
        """Notes for what; `mlflow.set_tracking_uri` and `set_experiment` say where to.

        Args:
            every_steps: Steps between two that are logged.
            **settings: Of `mlflow.start_run`, such as `run_name=`; `run_id=` goes on.

        Raises:
            ImportError: If `mlflow` is not installed.
        """
        super().__init__(every_steps)
        self._client: Any = _client("mlflow", "mlflow")
        self.settings = settings

    def open(self, supervisor: Any) -> None:
        """Begins a run with the settings of this one."""
        self._client.start_run(**self.settings)
        if "run_id" not in self.settings:  # parameters of a run cannot be given twice
            self._client.log_params(settings_of(supervisor))

    def write(self, values: dict[str, float], number: int) -> None:
        """One call a step."""
        self._client.log_metrics(values, step=number)

    def close(self, error: BaseException | None) -> None:
        """Ends it, as failed where it was."""
        self._client.end_run("FINISHED" if error is None else "FAILED")


def settings_of(supervisor: Any) -> dict[str, Any]:
    """Algorithm, arguments and settings of a run, as far as they are plain values."""
    run = supervisor.run
    every = {"algorithm": type(supervisor).__name__, **supervisor.arguments}
    every |= run.schedule | run.settings
    left_out = {"dataset", "trained", "order"}  # the last two name every parameter
    return {k: v for k, v in every.items() if is_plain(v) and k not in left_out}


def _client(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{extra} is not installed: pip install super-selfish[{extra}]"
        ) from error
