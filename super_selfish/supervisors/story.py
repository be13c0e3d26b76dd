"""What is known of a run, for the page beside weights that are given away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from super_selfish.data.collate import LabelCollator
from super_selfish.export import Story
from super_selfish.supervisors.arguments import NOT_STORED
from super_selfish.supervisors.provenance import provenance_of
from super_selfish.training.plain import is_plain, plain_setting

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained

# Told elsewhere on the page, or by the weights.
_ELSEWHERE = {"backbone", "image_size", "in_channels", "normalize", "stem", "weights"}


class Rating(Protocol):
    """What `evaluate` gives, of which this floor knows nothing else."""

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""


def story_of(supervisor: Pretrained, evaluation: Rating | Mapping[str, Any] | None = None) -> Story:
    """What a page can tell of a supervisor's backbone.

    Args:
        supervisor: Trained, or loaded.
        evaluation: Of its backbone: what `evaluate` gives, or the same as plain values.

    Raises:
        TypeError: If the evaluation is none.
    """
    given: Any = evaluation
    if hasattr(given, "as_dict"):
        given = given.as_dict()
    if given is not None and not (isinstance(given, Mapping) and "pretrained" in given):
        raise TypeError(
            f"evaluation must be what evaluate() gives, or its as_dict(), got a "
            f"{type(evaluation).__name__}"
        )
    known = provenance_of(supervisor)
    if known is None and supervisor.loaded is not None:
        known = supervisor.loaded.provenance
    if known is None and supervisor.epochs_seen == 0:
        return Story(evaluation=given)  # it has learned nothing here
    plain = {name: plain_setting(value) for name, value in supervisor.arguments.items()}
    return Story(
        algorithm=supervisor.title or type(supervisor).__name__.removesuffix("Supervisor"),
        uses_labels=isinstance(getattr(supervisor, "collate_fn", None), LabelCollator),
        options={
            name: value
            for name, value in plain.items()
            if value is not None and is_plain(value) and name not in NOT_STORED | _ELSEWHERE
        },
        provenance=known,
        start=None if supervisor.start is None else supervisor.start.origin,
        value_range=supervisor.value_range,
        evaluation=given,
    )
