"""What a run asks of whoever watches it; the one that ships is `evaluation.Monitor`."""

from __future__ import annotations

from typing import Any, Protocol

from super_selfish.training.history import Row

# Columns that `evaluation.Monitor` writes, and nobody else.
COLUMNS = (
    *("knn", "linear", "retrieval", "rankme", "uniformity", "alignment"),
    *("directions", "top_variance"),
)


class EpochMonitor(Protocol):
    """Looks at the networks of a run from time to time, and leaves them as they are."""

    def start(self, supervisor: Any) -> None:
        """Is told of a run that is about to begin, or to go on.

        Args:
            supervisor: With its `run`, whose history holds the epochs that are done.

        Raises:
            ValueError: If the monitor's settings do not suit it.
        """

    def after_epoch(self, supervisor: Any, row: Row) -> str | None:
        """Is told of the end of an epoch, in every process.

        Args:
            supervisor: With its networks, in train mode, and its `run`.
            row: The epoch's row of the history; may be given further columns.

        Returns:
            None, or one sentence for the user that says what is wrong.
        """
