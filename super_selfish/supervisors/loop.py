"""What happens around the steps of a run: data, display, checkpoints, history, callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from super_selfish.data.feed import Feed
from super_selfish.supervisors.averaging import estimate_statistics, take_those_of_first
from super_selfish.supervisors.composing import logged_in
from super_selfish.supervisors.diagnostics import warn_if_exploded, warn_if_ill
from super_selfish.supervisors.keeping import Keeper
from super_selfish.supervisors.meeting import Meeting
from super_selfish.supervisors.spreading import Spread
from super_selfish.training import distributed
from super_selfish.training.advice import Advice
from super_selfish.training.callbacks import Step
from super_selfish.training.gradients import parallel
from super_selfish.training.precision import autocast
from super_selfish.training.progress import Progress
from super_selfish.training.run import Losses, total

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor


class Loop:
    """While entered, a supervisor trains; its run is stored when that is due, and at the end."""

    def __init__(self, supervisor: Supervisor, loader: DataLoader[Any]) -> None:
        """Takes the parts of a run.

        Args:
            supervisor: With its run.
            loader: Of its images.
        """
        self._supervisor = supervisor
        self._run, self._source = supervisor._running()
        self._feed = self._opened_feed(loader)
        has_cache = not getattr(loader.dataset, "decodes_files", False)
        self._advice = Advice(self._run.batch_size, loader.num_workers, has_cache=has_cache)
        self._keeper = Keeper(supervisor, self._run, self._feed.indices)
        self._meeting = Meeting(self._run, self._feed, self._keeper, supervisor)
        self._within = ExitStack()
        self._measured: dict[str, torch.Tensor] = {}

    def __enter__(self) -> Loop:
        """Opens the display, tries to store, and takes over the signals."""
        run = self._run
        with ExitStack() as within:
            within.push(self._meeting.close)
            self._progress = within.enter_context(self._shown())
            within.push(self._conclude)  # after the last checkpoint
            self._meeting.settle()
            within.enter_context(torch.random.fork_rng(devices=[]))
            self._supervisor.train()
            within.enter_context(self._keeper)
            within.enter_context(run.accumulation)
            self._forward = within.enter_context(self._in_parallel())
            if run.average is not None:
                run.average.begin()  # now that all processes have the same weights
            within.push(self._meeting.part)  # before the run is stored
            self._within = within.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        """Stores what is whole, and closes."""
        return self._within.__exit__(*error)

    def batches(self) -> Iterator[Any]:
        """What `_forward` eats, for the steps that are left of the epoch."""
        run = self._run
        given = self._feed.epoch(run.epochs_before + run.epoch, run.step)
        return self._meeting.batches(given)

    @contextmanager
    def step(self) -> Iterator[None]:
        """While entered, a step is under way, and nothing is stored."""
        self._meeting.is_in_step = True
        with self._keeper.step():
            self._run.accumulation.begin(self._feed.images, self._run.batches_in_update)
            yield
        self._meeting.is_in_step = False

    def loss(self, data: Any) -> Losses:
        """What `_forward` says of a batch, in the precision of the run.

        Raises:
            NonFiniteLossError: If it is not finite.
        """
        with autocast(self._run.precision, self._run.device):
            loss: Losses = self._forward(data)
        self._run.check_finite(loss)
        return loss

    def note(self, loss: Losses) -> None:
        """Writes a step into the history, and goes to the next one."""
        run = self._run
        loss = run.accumulation.shown(loss)
        players = loss if isinstance(loss, dict) else {}
        self._measured = {"loss": total(loss), **players, **logged_in(run)}
        run.end_step(self._measured, self._feed)
        self._supervisor.epochs_seen = run.epochs_before + run.epoch + 1
        self._supervisor.loaded = None  # what a callback has loaded is trained on

    def after_step(self) -> None:
        """Shows a step, tells of it, and stores the run if that is due."""
        run = self._run
        self._progress.show(run, self._feed)
        values = {name: value.detach() for name, value in self._measured.items()}
        values = self._meeting.mean(values)
        if run.callbacks.listen_at(run.global_step):
            epoch, images = run.epoch + 1, distributed.images_of_all(self._feed.images)
            step = Step(run.global_step, epoch, values, run.learning_rate, images)
            run.callbacks.on_step(self._supervisor, step)
        self._keeper.after_step()

    def end_epoch(self) -> None:
        """Closes the epoch's row of the history, and has it judged."""
        run, supervisor = self._run, self._supervisor
        self._meeting.level()
        with self._keeper.step():
            row = run.end_epoch()
        illness = supervisor._health(row)
        run.history.keep_plain(row)
        warn_if_ill(illness, run)
        warn_if_exploded(row, run)
        for verdict in run.callbacks.on_epoch(supervisor, row):
            warn_if_ill(verdict, run)
        self._meeting.settle()
        self._progress.after_epoch()

    def end(self) -> None:
        """Finishes the averaged weights of a run that is over."""
        run, average = self._run, self._run.average
        if average is None:
            return
        is_at_end = run.epoch >= run.epochs or run.stopped_by is not None  # else its time is up
        if average.wants_statistics and is_at_end:
            self._keeper.store()  # it is over, whatever becomes of the pass
            with self._keeper.step():
                batches = self._feed.epoch(run.epochs_before + run.epoch, 0)
                estimate_statistics(self._supervisor, run, batches)
        take_those_of_first(average)

    def _in_parallel(self) -> AbstractContextManager[Callable[[Any], Losses]]:
        """The loss of a batch: of one device, of several, or of this process among others."""
        if len(self._run.devices) > 1:
            return nullcontext(Spread(self._supervisor, self._run.devices))
        return parallel(self._supervisor, lambda: self._run.updates_now)

    def _opened_feed(self, loader: DataLoader[Any]) -> Feed:
        run = self._run
        collate_fn = self._supervisor.collate_fn
        feed = Feed(loader, collate_fn, run.device, run.seed, distributed.rank())
        feed.compiles = run.compile_augmentation
        return feed

    @contextmanager
    def _shown(self) -> Iterator[Progress]:
        source = self._source
        progress = Progress(
            type(self._supervisor).__name__,
            self._run,
            self._advice,
            shown=distributed.rank() == 0,
            skips=source.on_error == "skip",
        )
        with closing(progress):
            progress.note(source.size_remark)
            progress.note(source.remark)
            progress.note(self._supervisor.remark)
            yield progress

    def _conclude(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Says what was done, and where it lies, of a run that came to its end."""
        if error is None:
            self._progress.conclude(len(self._feed.left_out))
