"""What of a run is stored, when, and what is said where it cannot be.

Only whole steps are stored. Within a step batch norm, queues and memories have moved and the
weights have not: a run that went on from there would be another one.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import Signals
from types import TracebackType
from typing import TYPE_CHECKING, Any

from super_selfish.supervisors.persistence import record_of, write_record
from super_selfish.training import distributed
from super_selfish.training.archive import write_archive
from super_selfish.training.atomic import write_atomically
from super_selfish.training.checkpoint import (
    beside,
    checkpoint_path,
    drop_formers,
    former_paths,
    try_checkpoint,
)
from super_selfish.training.counting import plural
from super_selfish.training.finite import NonFiniteLossError
from super_selfish.training.form import require_storable
from super_selfish.training.interrupt import LEAVING, STORING, Interrupt
from super_selfish.training.later import Later, copied, is_worth_a_copy
from super_selfish.training.naming import cannot_store, require_room, require_writable
from super_selfish.training.optimizers import each_of
from super_selfish.training.plain import plain
from super_selfish.training.run import Run
from super_selfish.training.standing import place_of
from super_selfish.training.telling import add_note, warn

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

_logger = logging.getLogger(__name__)
_MOST_INDICES = 16  # in a message; the file has all of them
_AVERAGES = {"betas": 2, "momentum": 1}  # tensors a weight that optimizers with such options keep


class Keeper:
    """Keeps a run: while entered, it is stored when that is due, wanted, or the end.

    Entering tries everything that storing needs, so that what cannot be stored is found before the
    first step.
    """

    def __init__(
        self, supervisor: Pretrained, run: Run, indices: Callable[[int, int], list[int]]
    ) -> None:
        """Notes whom to keep.

        Args:
            supervisor: With its networks.
            run: Its run.
            indices: Gives the images of the batch of (epoch of all runs, step).
        """
        self._supervisor = supervisor
        self._run = run
        self._indices = indices
        self._interrupt = Interrupt(LEAVING, STORING)
        self._has_complained = False
        self._is_failing = False
        self._is_leaving = False
        self._later = Later()  # writes large checkpoints while the run goes on
        self._later_step = 0  # that is in it
        run.attempt, run.settle = self.attempt, self._settle

    def __enter__(self) -> Keeper:
        """Tries to store, and takes over the signals.

        Raises:
            OSError: If the name cannot be written.
            TypeError: If the state holds what cannot be stored.
            NonFiniteLossError: If a weight is not finite.
        """
        if self._writes and self._run.epochs > 0:
            self._try()
        self._interrupt.__enter__()
        self._set_whole(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stores, if the state is whole; else says which file stands.

        Raises:
            OSError: If the run is over, and cannot be stored.
        """
        run = self._run
        self._interrupt.is_whole = False
        self._is_failing = error is not None
        self._is_leaving = True
        try:
            try:
                self._settle()
            finally:  # whatever became of the former file, the newest state is stored
                if run.is_whole and (run.has_advanced or run.epoch >= run.epochs):
                    self.store(is_last=error is None)
            if error is not None:
                self._explain(error)
        finally:
            self._interrupt.__exit__(kind, error, trace)

    @contextmanager
    def step(self) -> Iterator[None]:
        """While entered, the state is not whole; afterwards it is, if no gradients wait.

        Raises:
            NonFiniteLossError: With what is known of the batch.
        """
        run = self._run
        if self._later.is_done:
            self._settle()
        if run.is_between_updates:
            run.guard.begin_update()
        self._set_whole(False)
        try:
            yield
        except NonFiniteLossError as error:
            raise self._with_batch(error) from error.__cause__
        self._set_whole(run.is_between_updates)

    def after_step(self) -> None:
        """Stores and leaves, where that is due or a signal asks for it.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After SIGTERM or SIGHUP.
        """
        if distributed.is_distributed():  # all do it at once, when they meet
            return
        run, interrupt = self._run, self._interrupt
        self.obey(None, stores=run.checkpoint_is_due or (interrupt.wants_store and run.is_whole))

    @property
    def requested(self) -> Signals | None:
        """The signal that asks this process to leave."""
        return self._interrupt.requested

    @property
    def wants_to_store(self) -> bool:
        """Whether this process, of several, wants a checkpoint between two steps."""
        run = self._run
        begun = self._later_step if self._later.is_busy else run.stored_step
        is_new = run.has_advanced and begun != run.global_step
        is_due = self._writes and is_new and run.checkpoint_is_due
        return run.is_whole and (self._interrupt.wants_store or is_due)

    def obey(self, wanted: Signals | None, *, stores: bool) -> None:
        """Stores and leaves, where that is asked for and nothing is under way.

        Args:
            wanted: The signal of which all processes have been told.
            stores: Whether to store.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After SIGTERM or SIGHUP.
        """
        run, interrupt = self._run, self._interrupt
        if stores:
            self.store()
            if interrupt.wants_store:
                if self._writes and run.progress and run.stored_step == run.global_step:
                    _logger.warning("%s, as SIGUSR1 asked; the run goes on", place_of(run))
                interrupt.stored()
        interrupt.requested = interrupt.requested or wanted
        # A signal that came since this process has told the others is told them the next time.
        is_known_to_all = wanted is not None or not distributed.is_distributed()
        if run.is_whole and is_known_to_all:
            interrupt.raise_if_requested()

    def attempt(self, write: Callable[[], object]) -> bool:
        """Writes; where the disk does not take it, says so once and goes on.

        Args:
            write: Writes a file.

        Returns:
            Whether it is written.
        """
        self._settle()  # one file after the other
        try:
            with self._interrupt.shielded():
                write()
        except OSError as error:
            self._complain(error)
            return False
        self._has_complained = False
        return True

    @property
    def _writes(self) -> bool:
        return self._run.name is not None and distributed.rank() == 0

    def _set_whole(self, is_whole: bool) -> None:
        self._run.is_whole = is_whole
        # One of several processes never leaves on the spot: the others would wait for it.
        self._interrupt.is_whole = is_whole and not distributed.is_distributed()

    def _try(self) -> None:
        name = self._run.path
        require_writable(name, self._run.keep_last)
        try:
            record = record_of(self._supervisor)
            length = try_checkpoint(checkpoint_path(name), record, require_storable)
        except OSError as error:
            raise cannot_store(checkpoint_path(name), error) from error
        needed = length + self._growth()
        path = checkpoint_path(name)
        own = [path, *former_paths(path, self._run.keep_last)]
        if not self._supervisor.files.formers_are_own:
            own = []
        there = sum(each.stat().st_size for each in own if each.is_file())
        # All that are kept, and the next one beside them until it is known to be good.
        require_room(name, needed, (self._run.keep_last + 1) * needed - there)

    def _growth(self) -> int:
        """Bytes of averages, of gradients or weights, that are not there before the first step."""
        average = self._run.average
        later = 0 if average is None or average.is_begun else average.nbytes
        return later + sum(
            p.nbytes * max([n for name, n in _AVERAGES.items() if group.get(name)], default=0)
            for each in each_of(self._run.optimizer)
            for group in each.param_groups
            for p in group["params"]
            if p not in each.state
        )

    def store(self, *, is_last: bool = False) -> None:
        """Stores the run as it is now.

        Args:
            is_last: Whether no later try can follow.

        Raises:
            OSError: If it is the last, and the disk does not take it.
            NonFiniteLossError: If what would be stored is not finite.
        """
        if not self._writes:
            return
        run = self._run
        self._settle()
        try:
            run.raise_if_not_finite()
            record = record_of(self._supervisor)
        except NonFiniteLossError as error:
            self._set_whole(False)
            raise self._with_batch(error) from None

        def write() -> None:
            write_record(self._supervisor, run.path, record, run.keep_last)
            run.history.write_csv(run.path)

        if not is_last:
            if self._begins_later(record):
                return
            if self.attempt(write):
                self._wrote()
            else:
                run.failed_to_write()
            return
        try:
            with self._interrupt.shielded():
                self._write_last(write)
        except OSError as error:
            raise OSError(
                error.errno or errno.EIO,
                f"the run is over, but {checkpoint_path(run.path)} cannot be written: "
                f"{error.strerror or error}. {self._standing()}. The networks are as they were "
                "trained: make room, and call save(name)",
            ) from error
        self._wrote()

    def _begins_later(self, record: dict[str, Any]) -> bool:
        """Begins to write a large checkpoint beside the run, unless somebody waits for its file."""
        run, interrupt = self._run, self._interrupt
        is_awaited = self._is_leaving or interrupt.wants_store or interrupt.requested is not None
        if is_awaited or run.callbacks.listen_to_checkpoints:
            return False
        if run.stored_step is None:  # files of another run have yet to make way
            return False
        exact = plain(record, "checkpoint")
        if not is_worth_a_copy(exact):
            return False
        held, write_csv = copied(exact), run.history.csv_writer(run.path)

        def write() -> None:
            write_record(self._supervisor, run.path, held, run.keep_last)
            write_csv()

        self._later_step = run.global_step
        self._later.begin(write)
        run.began_checkpoint()
        return True

    def _settle(self) -> None:
        """Waits until what was begun is written, and says what became of it.

        Raises:
            TypeError: If something in it cannot be stored.
        """
        if not self._later.is_busy:
            return
        with self._interrupt.shielded():
            try:
                self._later.settle()
            except OSError as error:
                self._complain(error)
                self._run.failed_to_write()
            else:
                self._has_complained = False
                self._run.wrote_checkpoint(self._later_step)

    def _wrote(self) -> None:
        run = self._run
        run.wrote_checkpoint()
        try:
            run.callbacks.on_checkpoint(self._supervisor, checkpoint_path(run.path))
        except Exception as error:
            if not self._is_failing:
                raise
            warn(f"amid another error: {error} {' '.join(getattr(error, '__notes__', []))}")

    def _write_last(self, write: Callable[[], object]) -> None:
        """Writes; where the disk is full, the former files go rather than the last state."""
        try:
            write()
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if not is_full or not self._supervisor.files.formers_are_own:
                raise
            dropped = drop_formers(checkpoint_path(self._run.path))
            if not dropped:
                raise
            write()
            warn(
                f"the disk of {checkpoint_path(self._run.path)} is full: to store the last state, "
                f"{', '.join(former.name for former in dropped)} had to be removed"
            )

    def _complain(self, error: OSError) -> None:
        if self._has_complained:
            return
        self._has_complained = True
        warn(
            f"the run cannot be stored at {checkpoint_path(self._run.path)}: "
            f"{error.strerror or error}. It goes on, and tries again. {self._standing()}"
        )

    def _standing(self) -> str:
        """A sentence, without its point, on the file that is there."""
        path = checkpoint_path(self._run.path)
        if self._run.stored_step is not None:
            epoch, step = divmod(self._run.stored_step, self._run.steps_per_epoch)
            done = f"{plural(epoch, 'epoch')} and {plural(step, 'step')}"
            return f"The last good file, {path}, was stored after {done}"
        if path.is_file():
            return f"{path} is as it was before this call"
        return "There is no file yet"

    def _explain(self, error: BaseException) -> None:
        """Adds to an error where the run stands, and how it goes on."""
        run = self._run
        # What leaves a run by a signal is told in one sentence elsewhere.
        is_told = isinstance(error, NonFiniteLossError | KeyboardInterrupt | SystemExit)
        if is_told or not self._writes or not run.has_advanced:
            return
        if run.is_whole and run.stored_step == run.global_step:
            text = f"the run is stored at {checkpoint_path(run.path)}"
        else:
            text = f"a step was under way, of which nothing is stored. {self._standing()}"
        text += "; supervise(..., resume=True) goes on"
        add_note(error, text)

    def _with_batch(self, error: NonFiniteLossError) -> NonFiniteLossError:
        """The error with the images of its update, which are also put into a small file."""
        run = self._run
        epoch, step = divmod(error.step, run.steps_per_epoch)
        first = step - step % run.accumulate
        indices = [
            i
            for each in range(first, step + 1)
            for i in self._indices(run.epochs_before + epoch, each)
        ]
        shown = ", ".join(map(str, indices[:_MOST_INDICES]))
        more = f"; its images are {shown}{', ...' if len(indices) > _MOST_INDICES else ''}"
        if self._writes:
            path = beside(run.path, "-nan.pt")
            self._supervisor.files.make_way_for(path)
            record = {
                "what": str(error),
                "epoch": epoch,
                "step": step,
                "indices": indices,
                "settings": {**run.settings, "num_images": run.num_images},
            }
            if self.attempt(lambda: _write_record(path, record)):
                more += f" (with all that repeats it in {path})"
            more += f". Nothing of it is stored. {self._standing()}"
        return error.told(indices, more)


def _write_record(path: Any, record: dict[str, Any]) -> None:
    exact = plain(record)
    write_atomically(path, lambda file: write_archive(file, exact))
