"""What others do while a run trains: log, watch, stop it, keep more of it.

| when | method | gets |
|---|---|---|
| before the first step, or the first one after a resumption | `on_start` | the supervisor |
| after a step | `on_step` | the supervisor, a `Step` |
| after an epoch | `on_epoch` | the supervisor, its row of the history |
| after a checkpoint | `on_checkpoint` | the supervisor, the path of the file |
| at the end, however it comes | `on_end` | the supervisor, the error or None |

Any object with one of these methods will do; `Callback` has them all. All are called in every
process; what writes asks `super_selfish.training.distributed.rank()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from super_selfish.training.acceleration import uncompiled
from super_selfish.training.history import Row
from super_selfish.training.monitoring import EpochMonitor
from super_selfish.training.telling import add_note, warn

EVENTS = ("on_start", "on_step", "on_epoch", "on_checkpoint", "on_end")


class Step(NamedTuple):
    """What was measured in a step."""

    number: int  # of all steps of the run, from 1
    epoch: int  # from 1
    values: dict[str, Tensor]  # "loss" and what the algorithm logs: scalars on the device
    lr: float
    images: int


class Callback:
    """Is told how a run goes; every method does nothing.

    Attributes:
        every_steps: `on_step` is called after so many steps.
    """

    every_steps = 1

    def on_start(self, supervisor: Any) -> None:
        """A run begins, or goes on.

        Args:
            supervisor: With its `run`, whose history holds the epochs that are done.
        """

    def on_step(self, supervisor: Any, step: Step) -> None:
        """A step is done.

        Reading a value of it (`float(step.values["loss"])`) makes an accelerator wait: keep the
        tensors, and read them in `on_epoch`.

        Args:
            supervisor: With its networks, in train mode.
            step: What was measured.
        """

    def on_epoch(self, supervisor: Any, row: Row) -> str | None:
        """An epoch is done.

        Args:
            supervisor: With its networks, in train mode, and its `run`; `run.stop("why")` ends it.
            row: The epoch's row of the history; may be given further columns.

        Returns:
            None, or one sentence for the user that says what is wrong.
        """
        return None

    def on_checkpoint(self, supervisor: Any, path: Path) -> None:
        """A checkpoint is written.

        Args:
            supervisor: Whose state it is.
            path: Of the file.
        """

    def on_end(self, supervisor: Any, error: BaseException | None) -> None:
        """The run is over; what it stores is stored.

        Args:
            supervisor: Whose run it was.
            error: What ended it; None where it came to its end, or was stopped.
        """


class _Monitoring(Callback):
    """A monitor, such as `evaluation.Monitor`, as a callback."""

    def __init__(self, monitor: EpochMonitor) -> None:
        self.monitor = monitor

    def on_start(self, supervisor: Any) -> None:
        self.monitor.start(supervisor)

    def on_epoch(self, supervisor: Any, row: Row) -> str | None:
        return self.monitor.after_epoch(supervisor, row)


class Callbacks:
    """Tells each callback what it listens to, and names one that raises.

    Of what follows such a one is told of the end alone.

    Attributes:
        monitors: Those among them that are monitors.
    """

    def __init__(self, given: Iterable[Any] = (), monitor: EpochMonitor | None = None) -> None:
        """Takes them in the order in which they are called.

        Args:
            given: Objects with some of the methods of `Callback`, or monitors.
            monitor: A further one, which comes first: the others see what it has measured.
        """
        given = [*([] if monitor is None else [monitor]), *given]
        self.monitors = [each for each in given if is_monitor(each)]
        adapted = [_Monitoring(each) if is_monitor(each) else each for each in given]
        self._listening = {
            event: [each for each in adapted if listens(each, event)] for event in EVENTS
        }

    def listen_at(self, number: int) -> bool:
        """Whether anyone listens to a step.

        Args:
            number: Of the step, from 1.
        """
        return any(number % _every(each) == 0 for each in self._listening["on_step"])

    @contextmanager
    def running(self, supervisor: Any) -> Iterator[None]:
        """Tells of the start when entered, and of the end when left.

        Args:
            supervisor: With its run.
        """
        error: BaseException | None = None
        try:
            for each in self._listening["on_start"]:
                with _named(each, "on_start", self):
                    each.on_start(supervisor)
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._end(supervisor, error)

    def on_step(self, supervisor: Any, step: Step) -> None:
        """Tells those who listen to it of a step."""
        for each in self._listening["on_step"]:
            if step.number % _every(each) == 0:
                with _named(each, "on_step", self):
                    each.on_step(supervisor, step)
                _train(supervisor)

    def on_epoch(self, supervisor: Any, row: Row) -> list[str]:
        """Tells of an epoch, with networks that run as they were written.

        Returns:
            What they find wrong, a sentence each.
        """
        verdicts = []
        with uncompiled(supervisor.run.compile):
            for each in self._listening["on_epoch"]:
                with _named(each, "on_epoch", self):
                    before = dict(row)
                    try:
                        verdicts.append(each.on_epoch(supervisor, row))
                        _refuse_changes(before, row)
                    finally:  # whatever it has written into the row, it will be stored
                        supervisor.run.history.keep_plain(row)
                _train(supervisor)
        return [verdict for verdict in verdicts if verdict is not None]

    @property
    def listen_to_checkpoints(self) -> bool:
        """Whether somebody wants to be told of them."""
        return bool(self._listening["on_checkpoint"])

    def on_checkpoint(self, supervisor: Any, path: Path) -> None:
        """Tells of a checkpoint."""
        for each in self._listening["on_checkpoint"]:
            with _named(each, "on_checkpoint", self):
                each.on_checkpoint(supervisor, path)
            _train(supervisor)

    def _end(self, supervisor: Any, error: BaseException | None) -> None:
        """Tells all of the end, whichever of them raises, and raises the first error of the run."""
        first = error
        for each in self._listening["on_end"]:
            try:
                with _named(each, "on_end", self):
                    each.on_end(supervisor, error)
            except Exception as own:  # noqa: BLE001, raised below, or told
                if first is None:
                    first = own
                else:
                    warn(f"{_name(each)} raised {type(own).__name__} in on_end: {own}")
        if error is None and first is not None:
            raise first

    def _drop(self, callback: Any) -> None:
        for event in EVENTS[:-1]:
            others = [each for each in self._listening[event] if each is not callback]
            self._listening[event] = others


class _named(AbstractContextManager[None]):
    """While entered, an error gets a note on whose it is, who hears of the end alone."""

    def __init__(self, callback: Any, event: str, owner: Callbacks) -> None:
        self._callback, self._event, self._owner = callback, event, owner

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            self._owner._drop(self._callback)
            add_note(error, f"{_name(self._callback)} raised this in {self._event}")


def is_monitor(given: Any) -> bool:
    """Whether an object is what `monitor=` takes."""
    return callable(getattr(given, "after_epoch", None))


def listens(callback: Any, event: str) -> bool:
    """Whether an object has a method of its own for an event."""
    method = getattr(type(callback), event, None) or getattr(callback, event, None)
    return callable(method) and method is not getattr(Callback, event)


def _train(supervisor: Any) -> None:
    """Goes back to train mode, which a callback that looked at outputs may have forgotten."""
    if not supervisor.training:
        supervisor.train()


def _refuse_changes(before: Row, row: Row) -> None:
    """Puts back what was measured, if a callback has taken it away or written over it."""
    changed = [name for name in before if name not in row or row[name] is not before[name]]
    if changed:
        row.update(before)
        raise ValueError(
            f"{', '.join(changed)} of a row of the history was changed: a row may be given further "
            "columns only"
        )


def _every(callback: Any) -> int:
    return getattr(callback, "every_steps", 1)


def _name(callback: Any) -> str:
    callback = callback.monitor if isinstance(callback, _Monitoring) else callback
    return f"the callback {type(callback).__name__}"
