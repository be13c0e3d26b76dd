"""Several processes of one run, which do the same between two steps, and end at the same one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from super_selfish.training import distributed
from super_selfish.training.agreement import (
    Agreed,
    LostProcessError,
    OtherProcessError,
    Told,
    agree,
    reason_of,
)
from super_selfish.training.control import of_all
from super_selfish.training.display import INTERVAL
from super_selfish.training.finite import NonFiniteLossError
from super_selfish.training.pooling import mean_of_all
from super_selfish.training.statistics_of_first import send_statistics

if TYPE_CHECKING:
    from super_selfish.data.feed import Feed
    from super_selfish.supervisors.keeping import Keeper
    from super_selfish.training.run import Run

_NONE: Any = object()


class Meeting:
    """Where the processes of a run meet: before every step, after every epoch, and at the end.

    With one process it hands the batches on, and does nothing else.

    Attributes:
        is_in_step: Whether this process is within a step, where the others cannot be told of an
            error: they wait for its tensors.
    """

    def __init__(self, run: Run, feed: Feed, keeper: Keeper, networks: nn.Module) -> None:
        """Takes the parts of a run."""
        self._networks = networks
        self._run = run
        self._feed = feed
        self._keeper = keeper
        self._exists = distributed.is_distributed()
        self._is_torn = False  # some processes do not meet any more
        self._has_parted = not self._exists
        self._knows_failure = False
        self._is_listened_to = False  # the step under way
        self._next_look = 0.0
        self.is_in_step = False

    def batches(self, given: Iterator[Any]) -> Iterator[Any]:
        """Hands batches on, each once all processes have theirs, until they agree to end.

        Args:
            given: The batches of this process, for the steps that are left of an epoch.

        Raises:
            OtherProcessError: If another process has failed; what this one raises goes through.
            KeyboardInterrupt: If any process was asked to leave by Ctrl-C.
            SystemExit: If any was by another signal.
        """
        if not self._exists:
            yield from given
            return
        run = self._run
        while True:
            data, error = self._taken(given)
            if data is _NONE and error is None and run.step >= run.steps_per_epoch:
                return
            self.settle(error, has_batch=data is not _NONE)
            if run.is_over() or data is _NONE:
                return
            yield data

    def settle(self, error: Exception | None = None, *, has_batch: bool = False) -> None:
        """Has all processes do what any of them wants.

        Args:
            error: What has befallen this one.
            has_batch: Whether it has a batch for the next step.

        Raises:
            OtherProcessError: And others, as `batches` says.
        """
        if not self._exists:
            return
        run, feed, keeper = self._run, self._feed, self._keeper
        told = Told(
            stops=run.stopped_by is not None,
            is_late=run.is_late,
            fails=error is not None,
            stores=keeper.wants_to_store,
            shows=distributed.rank() == 0 and run.progress and time.monotonic() >= self._next_look,
            listens=run.callbacks.listen_at(run.global_step + 1),
            unreadable=len(feed.unreadable) if has_batch else 0,
        )
        agreed = self._agree(told, feed.images if has_batch else 0)
        if agreed.fails:
            self._end(error)
            if error is not None:
                raise error
        if agreed.told.unreadable:
            feed.left_out.meet(chain.from_iterable(of_all(feed.unreadable)))
        if agreed.told.shows or agreed.told.stores:
            run.history.join()
            self._next_look = time.monotonic() + INTERVAL
        if agreed.told.stops:
            run.stop("a callback in another process")
        run.all_stop = run.all_stop or bool(agreed.told.stops or agreed.told.is_late)
        self._is_listened_to = agreed.told.listens > 0
        if has_batch:
            distributed.share(agreed.images)
        keeper.obey(agreed.signal, stores=agreed.told.stores > 0)

    def level(self) -> None:
        """Has all processes know the history of all, and the first one's batch norm."""
        self._run.history.join()
        send_statistics(self._networks)

    def mean(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """What was measured in a step, of the whole batch, where any process has it listened to.

        Args:
            values: Of this process, scalars by name.
        """
        return mean_of_all(values) if self._is_listened_to else values

    def part(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Meets for the last time before the run is stored, unless that has happened.

        Raises:
            OtherProcessError: If another process has failed, and this one has not.
        """
        if self._has_parted or self._is_torn:
            return
        if isinstance(error, LostProcessError) or (
            # A loss that is not finite is one everywhere, in the same step.
            error is not None and self.is_in_step and not isinstance(error, NonFiniteLossError)
        ):
            self._is_torn = True
            return
        agreed = self._agree(Told(fails=error is not None, leaves=error is None), 0)
        if agreed.fails:
            self._end(error)
        else:
            self._has_parted = True
            self.level()
            self._feed.left_out.know(chain.from_iterable(of_all(self._feed.left_out.told)))

    def close(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Waits until all have ended, and the first process has stored.

        Raises:
            OtherProcessError: If another process has failed at the end, and this one has not.
        """
        distributed.share(None)
        if not self._exists:
            return
        self.part(kind, error, trace)
        if self._is_torn:
            return
        is_news = error is not None and not self._knows_failure
        if self._agree(Told(fails=is_news), 0).told.fails:
            self._end(error)

    def _taken(self, given: Iterator[Any]) -> tuple[Any, Exception | None]:
        """The next batch of this process, or the error that there was instead."""
        run = self._run
        try:
            data = next(given, _NONE)
        except Exception as error:  # noqa: BLE001, raised once the others know
            # Whoever ends a group of processes ends those that read images for them.
            return _NONE, None if self._keeper.requested and run.is_whole else error
        if data is not _NONE or run.step >= run.steps_per_epoch:
            return data, None
        short = f"the loader ended after {run.step} of {run.steps_per_epoch} steps of the epoch"
        return _NONE, RuntimeError(f"{short}: every process must have as many batches")

    def _agree(self, told: Told, images: int) -> Agreed:
        own = self._keeper.requested
        return agree(Told(*map(int, told)), own, images)

    def _end(self, error: BaseException | None) -> None:
        """Notes that the run ends in all processes since one of them fails.

        Raises:
            OtherProcessError: If this one does not.
        """
        self._has_parted = self._knows_failure = True
        reasons = of_all(None if error is None else reason_of(error))
        self._run.history.join()
        if error is None:
            failed = [number for number, reason in enumerate(reasons) if reason is not None]
            which = failed[0] if failed else "another"
            why = reasons[failed[0]] if failed else "it has ended before the others"
            raise OtherProcessError(f"process {which} failed, and all have ended: {why}")
