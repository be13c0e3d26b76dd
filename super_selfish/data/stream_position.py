"""Where a stream stands after a step, as checkpoints keep it, and how a run goes on from there."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from super_selfish.data.stream_order import StreamBatches
from super_selfish.data.stream_source import StreamSource
from super_selfish.training.counting import plural

_KEPT = 4  # steps of which the position is known; the last one may be under way


class Start(NamedTuple):
    """Where an epoch begins to read.

    Attributes:
        number: Of the pass.
        places: Of each worker, where it does not begin at the start of a pass.
        pointer: The worker whose turn it is.
        given: Images of what is left at the end that were given already.
        skipped: Steps that are read again, and left out.
        pieces: How many pieces of each worker that makes.
    """

    number: int
    places: dict[int, Any]
    pointer: int = 0
    given: int = 0
    skipped: int = 0
    pieces: dict[int, int] = {}  # noqa: RUF012  # never written to


class StreamPosition:
    """Knows where the readers of this process stand after each of the last steps."""

    def __init__(self, source: StreamSource, order: StreamBatches, workers: int) -> None:
        """Begins at the beginning.

        Args:
            source: The stream.
            order: Its steps.
            workers: Readers of this process.
        """
        self.source, self.order, self.workers = source, order, workers
        self.remark: str | None = None
        self._places: dict[int, Any] = {}
        self._states: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._stored: dict[str, Any] | None = None
        self._is_resumed = False
        self._first_epoch = order.epoch

    def keep(self, piece: Any) -> None:
        """Notes where the worker of a piece that is given stands."""
        self._places = {**self._places, piece.worker: piece.place}

    def note(self, step: int, piece: Any, pointer: int = 0, given: int = 0, again: int = 0) -> None:
        """Notes where all stand.

        Args:
            step: How many steps of the epoch are done then.
            piece: That was given, where none has been kept for it.
            pointer: The worker whose turn is next.
            given: Images of what is left at the end that were given.
            again: How often the stream was begun again in this epoch.
        """
        if piece is not None:
            self.keep(piece)
        self._states[self.order.epoch * len(self.order) + step] = {
            "places": self._places,
            "pointer": pointer,
            "given": given,
            "again": again,
        }
        while len(self._states) > _KEPT:
            self._states.popitem(last=False)

    def state_dict(self, epoch: int, step: int) -> dict[str, Any]:
        """Where the stream stood after some steps.

        Args:
            epoch: Of all runs, from 0.
            step: Steps of it that are done.
        """
        known = self._states.get(epoch * len(self.order) + step, {})
        return {
            "workers": self.workers,
            "readers": {str(worker): place for worker, place in known.get("places", {}).items()},
            "pointer": known.get("pointer", 0),
            "given": known.get("given", 0),
            "again": known.get("again", 0),
            "first_epoch": self._first_epoch,
            "processes": self.order.world_size,
        }

    def load_state_dict(self, state: dict[str, Any] | None, epoch: int, step: int) -> None:
        """Goes on from a stored position; where it cannot, says why, and begins anew.

        Args:
            state: What `state_dict` returned, or None.
            epoch: Of all runs, from 0.
            step: Steps of it that are done.
        """
        if step == 0 and not self.order.goes_on:
            return  # a pass begins
        if step == 0 and epoch == self._first_epoch:
            return
        self._is_resumed = True
        why = self._why_not(state)
        if why is None:
            self._stored = state
        else:
            left = len(self.order) - step
            self.remark = (
                f"{why}: the next pass over the stream begins for the {plural(left, 'step')} "
                "left of this epoch, so that some images are seen again, and others not"
            )

    def _why_not(self, state: dict[str, Any] | None) -> str | None:
        """Why a run cannot go on exactly, or None."""
        if state is None:
            return "The stored run does not say where its stream stood"
        if self.source.stream.counts_for_all:
            return None
        if state["processes"] != self.order.world_size:
            return (
                "The stored run split its stream among another number of processes "
                f"({state['processes']}, and now {self.order.world_size})"
            )
        if state["workers"] != self.workers:
            return (
                f"The stored run read its stream by {plural(state['workers'], 'worker')} and this "
                f"one does by {self.workers} (num_workers=), among which it is split otherwise"
            )
        if state["again"]:
            return "The stored run had begun its stream again, which has fewer images than was said"
        if self.source.is_repeatable:
            return None
        if self.order.world_size > 1:
            return (
                "The first process has stored where its part of the stream stood, and the others "
                "have not; StreamSource(deterministic=True) says that the stream can be skipped"
            )
        if all(_is_told(place) for place in state["readers"].values()):
            return None
        return (
            "The stream does not say where it stands (by state_dict()), and nobody has said that "
            "it gives the same items again (StreamSource(deterministic=True))"
        )

    def begin(self, order: StreamBatches) -> Start:
        """Where an epoch begins, for the workers and for who puts their pieces together."""
        is_resumed, self._is_resumed = self._is_resumed, False
        state, self._stored = self._stored, None
        self._places = self._places if order.goes_on else {}
        if not is_resumed:
            return Start(order.epoch, {})
        if state is None:
            return Start(order.epoch + 1, {})
        if self.source.stream.counts_for_all:
            return Start(order.epoch, {})
        if order.world_size > 1 or not state["readers"]:
            return self._skipping(order, state["first_epoch"] if order.goes_on else order.epoch)
        self._first_epoch = state["first_epoch"]
        self._places = {int(worker): place for worker, place in state["readers"].items()}
        return Start(order.epoch, dict(self._places), state["pointer"], state["given"])

    def _skipping(self, order: StreamBatches, number: int) -> Start:
        """From the beginning of a pass, or of all, with what was seen left out."""
        first, done = number * len(order), order.epoch * len(order) + order.first_step
        first = first if order.goes_on else done - order.first_step
        base = 0 if order.goes_on else first  # the worker whose turn it is in a pass is the first
        pieces = {
            worker: len(range(first + (worker - first + base) % self.workers, done, self.workers))
            for worker in range(self.workers)
        }
        self._first_epoch = number if order.goes_on else self._first_epoch
        return Start(number, {}, skipped=order.first_step, pieces=pieces)


def _is_told(place: dict[str, Any]) -> bool:
    return place["state"] is not None
