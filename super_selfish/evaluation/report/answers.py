"""What the networks are shown and what they say of it; or why there is nothing to see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from super_selfish.data.collate import Collator, LabelCollator
from super_selfish.data.pictures import Picture
from super_selfish.evaluation.plots import plot_views
from super_selfish.evaluation.report.descriptions import sentence
from super_selfish.evaluation.report.html import Plate, plate, thumbnail
from super_selfish.evaluation.report.page_images import NONE_READ, of_channels, shrunk
from super_selfish.evaluation.report.record import Record
from super_selfish.evaluation.showcase import Exhibit, show_algorithm
from super_selfish.supervisors import Supervisor
from super_selfish.supervisors.diagnostics import STEPS_BEFORE_A_VERDICT
from super_selfish.supervisors.exhibits import NothingToShow, seen_views, spread_positions
from super_selfish.training.counting import plural

SHEET = "Sheet of images as the network sees them"  # by which pages with images are known
_VIEWED = 5  # images of which views are shown
_BESIDE = 8  # views side by side; of more, those of one image are shown in a square
_NO_IMAGES = "There are no images: give the supervisor a dataset, or report() images=."
_NO_LABELS = "The network learns from labels, and these images have none."
_NO_COLLATOR = "A function of your own makes the batches: it does not tell which are the views."
_BY_NUMBER = (
    "The algorithm asks which of the images of its training it sees, by their number: give those "
    "as images=."
)
_VIEWS_ALONE = (
    "The algorithm has no exhibit of its own, so these are its views, with the names and the "
    "numbers that its collator gives them."
)


class Answer(NamedTuple):
    """A picture of an exhibit inside of the page."""

    source: str  # an address that holds it
    caption: str
    kind: str  # "right", "wrong", or "plain" where there is neither
    is_small: bool  # so that its pixels are to be seen


class Answers(NamedTuple):
    """An algorithm's question, what is to be said of its answers, and the answers."""

    question: str
    remarks: list[str]
    groups: list[list[Answer]]


def views(supervisor: Supervisor, seed: int) -> Plate | str:
    """A sheet of what the network is shown in training."""
    if reason := _why_no_views(supervisor):
        return reason
    try:
        shown = seen_views(supervisor, _VIEWED, seed)  # (R, V, C, H, W)
    except NothingToShow as error:
        return sentence(str(error))
    count = shown.shape[1]
    if count <= _BESIDE:
        rows: Sequence[Tensor] = list(shown)
        what = "A row for each image" if count == 1 else f"A row for each image, its {count} views"
    else:
        rows = shown[0].split(math.isqrt(count - 1) + 1)
        what = f"The {count} views of one image"
    rows = [shrunk(row, len(rows[0])) for row in rows]
    alt = f"{SHEET}: {what[0].lower()}{what[1:]}"
    caption = f"{what}, as drawn with seed {seed}. Every epoch draws others."
    collator = supervisor.collate_fn
    if isinstance(collator, Collator) and collator.note:
        caption = f"{caption} {collator.note}"
    return plate(plot_views(rows), alt, caption + of_channels(shown.shape[2]))


def exhibit(
    supervisor: Supervisor, record: Record | None, is_lent: bool, seed: int
) -> Answers | str:
    """The algorithm's own question, and its answers about some images.

    Args:
        supervisor: With images.
        record: Of its run.
        is_lent: Whether the images are not the dataset that it was built with.
        seed: Of the augmentation.
    """
    if supervisor.source is None:
        return _NO_IMAGES
    is_own = type(supervisor).exhibit is not Supervisor.exhibit
    reason = _why_no_views(supervisor)
    if reason and not (is_own and reason == _NO_COLLATOR):
        return reason
    trained_on = None if record is None else record.provenance.get("num_images")
    if is_lent and supervisor.asks_by_number and trained_on != len(supervisor.source):
        return _BY_NUMBER
    try:
        shown = show_algorithm(supervisor, seed=seed)
    except NothingToShow as error:
        return sentence(str(error))
    remarks = [] if is_own else [_VIEWS_ALONE]
    remarks += _remarks(shown, None if not is_own or record is None else record.steps)
    if told := of_channels(supervisor.in_channels):
        remarks.append(told.strip())
    groups = [[_answer(picture) for picture in group] for group in shown.groups]
    return Answers(shown.question, remarks, groups)


def _remarks(shown: Exhibit, steps: int | None) -> list[str]:
    """How much the answers are worth, and how many are right."""
    remarks = []
    if steps is not None and steps < STEPS_BEFORE_A_VERDICT:
        remarks.append(
            f"The network has taken {plural(steps, 'step')} only: what it says is hardly more than "
            "an untrained one would say."
        )
    if shown.score is not None:
        right, total = shown.score
        are = "is" if right == 1 else "are"
        remarks.append(f"{right} of the {plural(total, 'answer')} below {are} right.")
    return remarks


def _answer(picture: Picture) -> Answer:
    source, is_small = thumbnail(picture.image)
    kind = {None: "plain", True: "right", False: "wrong"}[picture.is_right]
    return Answer(source, picture.caption, kind, is_small)


def _why_no_views(supervisor: Supervisor) -> str | None:
    """Why there is nothing that the network would see; `None` if there is."""
    if supervisor.source is None:
        return _NO_IMAGES
    if not isinstance(supervisor.collate_fn, Collator):
        return _NO_COLLATOR
    first = spread_positions(supervisor.source, 1)
    if not first:
        return NONE_READ
    if isinstance(supervisor.collate_fn, LabelCollator):
        if supervisor.source.label(first[0]) is None:
            return _NO_LABELS
    return None
