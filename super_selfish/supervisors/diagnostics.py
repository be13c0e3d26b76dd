"""How healthy training is: measures that algorithms log, and the word to the user.

Shapes: `B` images, `E` embedding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from super_selfish.training.distributed import rank
from super_selfish.training.history import Row
from super_selfish.training.run import Run
from super_selfish.training.telling import warn

STEPS_BEFORE_A_VERDICT = 100
COLLAPSED = 0.1  # of the spread of independent embeddings; less is a collapse
EXPLODED = 1000.0  # times the loss of the first step; a player that loses may come to 300
SMALLEST_LOSS = 0.01  # of a first step; less is taken for as much


class HealthWarning(UserWarning):
    """Training runs, but in a way in which this algorithm is known to fail."""


def spread(embeddings: Tensor) -> Tensor:
    """Standard deviation of unit vectors, relative to that of independent ones (1 / sqrt(E)).

    Args:
        embeddings: `[B, E]`, of length one.

    Returns:
        A scalar: about 1 if they fill the space, 0 if all are the same.
    """
    deviation = embeddings.float().std(dim=0, correction=0).mean()
    return deviation * embeddings.shape[1] ** 0.5


def collapse(spread: float, advice: str, *, besides: str = "") -> str | None:
    """What is to be said of embeddings that have become alike; `None` where they have not.

    Args:
        spread: As of `spread`.
        advice: What helps against it, in words.
        besides: What else it means, the end of a sentence.
    """
    if not spread < COLLAPSED:
        return None
    return (
        f"the embeddings have collapsed: they spread over {spread:.0%} of what independent ones "
        f"would{besides}; {advice}"
    )


def caution_of_one(run: Run) -> str | None:
    """What to say of a run whose steps see one image, to an algorithm that tells it from others.

    Args:
        run: Before its first step.

    Returns:
        A sentence; None where there are several.
    """
    if min(run.batch_size, run.num_images) * run.processes > 1:
        return None
    return (
        "each step sees one image, and there is no other to tell it from: nothing is learnt; give "
        "batch_size=2 or more"
    )


def warn_if_ill(verdict: str | None, run: Run) -> None:
    """Tells the user what a health check has to say, once there is something to judge.

    What it says again with other numbers is not told again: the history has these.

    Args:
        verdict: One sentence, or None.
        run: State of the run, at the end of an epoch.
    """
    if verdict is None or run.global_step < STEPS_BEFORE_A_VERDICT:
        return
    kind = re.sub(r"[\d.,]+|s\b", "", verdict)  # "1 epoch" is "2 epochs"
    is_new = kind not in run.warned
    run.warned.add(kind)
    if is_new and rank() == 0:
        warn(f"epoch {run.epoch}: {verdict}", HealthWarning)


def warn_if_exploded(row: Row, run: Run) -> None:
    """Tells the user once of a loss that has left all measure, however few steps that took.

    Args:
        row: Of the epoch that has ended.
        run: State of the run.
    """
    first = abs(run.history.first_loss)
    if abs(row["loss"]) <= EXPLODED * max(first, SMALLEST_LOSS) or run.has_exploded:
        return
    run.has_exploded = True
    if rank() == 0:
        warn(
            f"epoch {run.epoch}: the loss is {row['loss']:.3g}, and began at {first:.3g}: training "
            f"diverges. Lower lr (now {run.learning_rate:g}), or give clip_norm=1.0",
            HealthWarning,
        )


@contextmanager
def batches_of_one_explained() -> Iterator[None]:
    """While entered, torch's word for a batch that has no statistics becomes one for users.

    Raises:
        ValueError: If batch norm of pooled features meets a batch of one image.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):
            raise
        raise ValueError(
            "batch norm needs more than one image in a batch: raise batch_size to at least 2, give "
            "more images, or a predictor= without batch norm"
        ) from error
