"""What a backbone is compared with: the network before training, and what training began from.

Which network that is cannot always be known; what is shown says what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.norm_statistics import ADAPTED, adapted
from super_selfish.evaluation.rated_network import Network
from super_selfish.models.beginnings import first_weights, is_as, network_with
from super_selfish.models.untrained import draw_twin, has_learned
from super_selfish.models.wrappers import unwrapped
from super_selfish.training.telling import warn

TWIN, AUTO = "twin", "auto"
NOT_KNOWN = "whether these were trained is not known, as no norms tell"
Given = nn.Module | Callable[[], nn.Module] | str | None


class Baseline(NamedTuple):
    """A network to compare with, and one line that says which it is; none for a given one.

    `is_known` says whether it is known to have learned nothing, and to begin as its like.
    """

    network: nn.Module
    note: str | None
    is_known: bool = True


def untrained_network(untrained: Given, backbone: nn.Module, seed: int) -> Baseline | None:
    """The network that has learned nothing.

    Args:
        untrained: `"twin"`, a network, a function that makes one, or `None`.
        backbone: The trained one.
        seed: Of what is drawn.

    Returns:
        For `"twin"` the weights that the backbone had before its first training here, if it is a
        module of the user's own that a supervisor was given new; else one drawn anew.

    Raises:
        TypeError: If `untrained` is none of these.
    """
    if untrained is None:
        return None
    if isinstance(untrained, nn.Module):
        return Baseline(untrained, None)
    if callable(untrained):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            made = untrained()
        if not isinstance(made, nn.Module):
            raise TypeError(
                f"untrained= must make a network, an nn.Module, got {type(made).__name__}"
            )
        return Baseline(made, None)
    if untrained != TWIN:
        raise TypeError(
            'untrained must be "twin", an nn.Module, a function that makes one, or None, '
            f"got {untrained!r}"
        )
    first = first_weights(backbone)
    if first is None:
        return twin_of(backbone, seed)
    network = network_with(backbone, first)
    if network is not None:
        note = "the weights of the backbone before training"
        if has_learned(network) is False:
            return Baseline(network, note)
        return Baseline(network, f"{note}; {NOT_KNOWN}: give untrained=", is_known=False)
    twin = twin_of(backbone, seed)
    return twin._replace(note=f"{twin.note} (layers were exchanged or added after training began)")


def twin_of(backbone: nn.Module, seed: int) -> Baseline:
    """A network like the backbone, drawn anew."""
    twin = draw_twin(backbone, seed)
    kind = type(unwrapped(backbone)).__name__
    if twin.is_shuffled:
        note = f"a {kind} with the weights of this one, which has learned nothing, shuffled"
        return Baseline(twin.network, f"{note}, seed {seed}")
    if twin.is_known:
        packages = {type(part).__module__.split(".")[0] for part in backbone.modules()}
        makers = " and ".join(sorted(packages & {"timm", "torchvision"}))
        how = f" as {makers} makes it by default" if makers else ""
        return Baseline(twin.network, f"a new {kind}{how}, seed {seed}")
    return Baseline(
        twin.network,
        f"a {kind} whose layers were drawn by torch's defaults, seed {seed}: how {kind} itself "
        "begins is not known, so it may be a weak baseline; give untrained=, a new network or a "
        "function that makes one",
        is_known=False,
    )


def start_network(start: Any, subject: Any, backbone: nn.Module) -> Baseline | None:
    """The network from whose weights training began.

    Args:
        start: `"auto"`, a network, or `None`.
        subject: What is evaluated: a supervisor knows its start.
        backbone: Its network.

    Returns:
        None if training began with an untrained network, nothing is known, nothing has changed,
        or the backbone has other layers by now, of which a warning tells.

    Raises:
        TypeError: If `start` is none of these.
    """
    if start is None:
        return None
    if isinstance(start, nn.Module):
        return Baseline(start, None)
    if start != AUTO:
        raise TypeError(f'start must be "auto", an nn.Module or None, got {start!r}')
    # A supervisor has it as a tuple; other things may have an attribute of that name.
    known = getattr(subject, "start", None)
    weights = getattr(known, "weights", None)
    if weights is None or is_as(backbone, weights):
        return None
    network = network_with(backbone, weights)
    if network is None:
        warn(
            f"layers of the {type(unwrapped(backbone)).__name__} were exchanged or added after "
            "training began, so it cannot be shown as it was then: give start=, that network, or "
            "start=None"
        )
        return None
    return Baseline(network, str(getattr(known, "origin", "")) or None)


def beside(
    baseline: Baseline, rated: Network, images: ImageSource, num_workers: int = 0, seed: int = 0
) -> Baseline:
    """A baseline as it can stand beside the rated network: see `adapted`.

    Args:
        baseline: Is left as it is.
        rated: The network that it is compared with.
        images: Training images of the evaluation.
        num_workers: Processes that load images.
        seed: Of the choice of images.
    """
    found = adapted(
        baseline.network,
        rated.module,
        images,
        rated.preprocess,
        num_workers=num_workers,
        seed=seed,
    )
    if found is None:
        return baseline
    return baseline._replace(network=found, note=", ".join(filter(None, [baseline.note, ADAPTED])))
