"""From which weights training began, where it did not begin with an untrained network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from super_selfish.models.beginnings import Weights, looks_trained, remember_first, weights_of
from super_selfish.models.fitted_weights import origin_of
from super_selfish.training.counting import plural

if TYPE_CHECKING:
    from super_selfish.supervisors.pretrained import Pretrained


class Start(NamedTuple):
    """The weights with which the backbone went into its last run."""

    weights: Weights
    origin: str  # where they came from, in words

    def state_dict(self) -> dict[str, Any]:
        """As tensors and plain values, for a checkpoint."""
        return self._asdict()


def note_start(supervisor: Pretrained, loaded: str | os.PathLike[str] | None) -> None:
    """Remembers what the backbone is before a run changes it.

    A network that has learned nothing costs no memory if it was built by name, since it can be
    built again; one of the user's own is kept once. Weights that were trained before are kept for
    `supervisor.start`, which checkpoints hold, so that every later evaluation can show them.

    Args:
        supervisor: About to train.
        loaded: The checkpoint that was loaded for this run, or None.
    """
    supervisor.start = None
    backbone = getattr(supervisor.model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        return
    backbone = supervisor._backbone_in_training()
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        return  # it is frozen: it will be what it is
    if loaded is not None:
        supervisor.start = Start(weights_of(backbone), f"the checkpoint {os.fspath(loaded)}")
    elif supervisor.epochs_seen > 0:
        epochs = plural(supervisor.epochs_seen, "epoch")
        supervisor.start = Start(
            weights_of(backbone), f"the network after {epochs} before this run"
        )
    elif origin := origin_of(backbone):
        supervisor.start = Start(weights_of(backbone), origin)
    elif looks_trained(backbone):
        supervisor.start = Start(weights_of(backbone), "the network as it was given")
    elif has_own_backbone(supervisor):
        remember_first(backbone)


def note_given(supervisor: Pretrained) -> None:
    """Remembers a network of the user's own before the weights of a checkpoint replace its own."""
    if has_own_backbone(supervisor):
        remember_first(supervisor._backbone_in_training())


def has_own_backbone(supervisor: Pretrained) -> bool:
    """Whether the backbone is a network that the user gave."""
    given = [supervisor.arguments.get(name) for name in ("backbone", "model")]
    is_given = any(isinstance(network, nn.Module) for network in given)
    return is_given and isinstance(getattr(supervisor.model, "backbone", None), nn.Module)


def restored_start(state: dict[str, Any] | None) -> Start | None:
    """What a checkpoint holds of a start; those of earlier versions hold nothing."""
    return None if state is None else Start(dict(state["weights"]), str(state["origin"]))
