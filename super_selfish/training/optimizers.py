"""LARS: every layer takes steps in proportion to its own weights.

You, Gitman, Ginsburg, 2017, "Large Batch Training of Convolutional Networks", arXiv 1708.03888; in
the form of BYOL (Grill et al., 2020, arXiv 2006.07733, section 3.3).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from super_selfish.training.lamb import lamb
from super_selfish.training.weight_decay import Decay, decaying, parted, require_decaying


class LARS(Optimizer):
    """Gradient descent with momentum whose steps are scaled layer by layer.

    For a weight `w` with gradient `g`:

        d = g + weight_decay * w
        r = trust_coefficient * |w| / |d|,  1 where either norm is 0
        v = momentum * v + r * d
        w = w - lr * v

    Tensors of one dimension (biases, scales and shifts of norms) get neither weight decay nor
    scaling: `d = g`, `r = 1`. Weights are scaled whether they decay or not. Give it to `supervise`
    as `optimizer=LARS`, or with other numbers as `optimizer=partial(LARS, weight_decay=1e-6)`.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1.5e-6,  # BYOL, section 3.3
        trust_coefficient: float = 1e-3,  # BYOL's and Barlow Twins' code
    ) -> None:
        """Builds the optimizer.

        Args:
            params: Parameters or groups of them.
            lr: Learning rate; BYOL: 0.2 times the images in a batch / 256.
            momentum: Weight of the old step, in [0, 1).
            weight_decay: Weight of the weights in their gradient.
            trust_coefficient: Length of a step relative to the weights, at a learning rate of 1.

        Raises:
            ValueError: If a number is out of its range.
        """
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not trust_coefficient > 0.0:
            raise ValueError(f"trust_coefficient must be > 0, got {trust_coefficient}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Does one step.

        Args:
            closure: Computes the loss anew, with gradients.

        Returns:
            What the closure returns, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            weights = [parameter for parameter in trained if parameter.ndim > 1]
            vectors = [parameter for parameter in trained if parameter.ndim <= 1]
            if weights:
                self._move(weights, scaled_gradients(weights, group), group)
            if vectors:
                self._move(vectors, [parameter.grad for parameter in vectors], group)
        return loss

    def _move(self, parameters: list[Tensor], directions: list[Any], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if "velocity" not in self.state[parameter]:
                self.state[parameter]["velocity"] = torch.zeros_like(parameter)
        velocities = [self.state[parameter]["velocity"] for parameter in parameters]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, directions)
        torch._foreach_add_(parameters, velocities, alpha=-group["lr"])


# By name, for `supervise(optimizer=...)`: torch's own settings, but where a paper has others.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,  # weight decay of 0.01
    # MoCo (He et al., 2019, arXiv 1911.05722, section 3.3) and most others of its time.
    "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4),
    "lars": LARS,
    "lamb": lamb,  # weight decay of 0.01
}


def by_name(optimizer: Callable[..., Optimizer] | str) -> Callable[..., Optimizer]:
    """What builds an optimizer, for a name from `OPTIMIZERS` too."""
    return OPTIMIZERS[optimizer.lower()] if isinstance(optimizer, str) else optimizer


def each_of(optimizers: dict[str, Any] | Any) -> list[Any]:
    """The one optimizer that there is, or the several that are kept by name."""
    return list(optimizers.values()) if isinstance(optimizers, dict) else [optimizers]


def build_optimizer(
    optimizer: Callable[..., Optimizer],
    groups: list[dict[str, Any]],
    named: Mapping[str, Tensor],
    lr: float,
    weight_decay: Decay | None = None,
) -> Any:
    """Builds an optimizer.

    Args:
        optimizer: Called with the groups, or where there is one without settings of its own with
            its parameters; with `lr`; and if it has a parameter `named_parameters`, with all that
            trains by name, for those that treat layers by what they are.
        groups: As an algorithm gives them.
        named: What trains, by name.
        lr: Learning rate of what has none of its own.
        weight_decay: Of weights in groups that have none of their own; None leaves it to the
            optimizer.

    Returns:
        The optimizer, or several by name.

    Raises:
        TypeError: If it is none, knows no weight decay that is wanted, or a group is no dict with
            parameters.
        ValueError: If a parameter is in no group, or in several, or nothing can have the decay.
    """
    groups = [_listed(group) for group in groups]
    in_groups = [parameter for group in groups for parameter in group["params"]]
    if len(set(in_groups)) != len(in_groups) or set(in_groups) != set(named.values()):
        raise ValueError(
            f"every parameter that trains belongs to one group, but of {len(named)} the groups "
            f"have {len(set(in_groups) & set(named.values()))}, {len(in_groups)} in all: see "
            "_parameter_groups()"
        )
    if weight_decay is not None:
        groups = decaying(groups, weight_decay)
    is_plain = len(groups) == 1 and list(groups[0]) == ["params"]
    options = {"named_parameters": dict(named)} if wants_names(optimizer) else {}
    built = optimizer(groups[0]["params"] if is_plain else groups, lr=lr, **options)
    require_optimizer(built)
    if weight_decay is not None:
        require_decaying(built, groups)
    return built


def _listed(group: Any) -> dict[str, Any]:
    """A group whose parameters can be gone through more than once, as those of a generator."""
    if not (isinstance(group, Mapping) and "params" in group):
        raise TypeError(
            f'_parameter_groups() gives dicts with "params", got {type(group).__name__}'
        )
    params = group["params"]
    return {**group, "params": [params] if isinstance(params, Tensor) else list(params)}


def wants_names(optimizer: Callable[..., Any]) -> bool:
    """Whether a function that builds an optimizer has a parameter `named_parameters`."""
    try:
        return "named_parameters" in inspect.signature(optimizer).parameters
    except (TypeError, ValueError):  # of code in C nothing is known
        return False


def without_decay(
    named: Mapping[str, nn.Parameter], weight_decay: float | None = None
) -> list[dict[str, Any]]:
    """Groups in which norms and biases, the tensors of one dimension, have no weight decay.

    As SimCLR, BYOL and DINO have it; for `_parameter_groups`.

    Args:
        named: What trains, by name.
        weight_decay: Of the others; None: the optimizer's.

    Returns:
        At most two groups, no empty one.
    """
    decay = {} if weight_decay is None else {"weight_decay": weight_decay}
    return parted({"params": list(named.values())}, decay)


def require_optimizer(built: Any) -> None:
    """Refuses what is no optimizer, after a user's own function has made it.

    Args:
        built: What was made; one, or several by name.

    Raises:
        TypeError: If it is none, or one that asks for what training does not give.
    """
    for each in built.values() if type(built) is not dict and isinstance(built, dict) else [built]:
        if not (callable(getattr(each, "step", None)) and hasattr(each, "param_groups")):
            raise TypeError(
                f"optimizer= must make an optimizer, a torch.optim.Optimizer, got {each!r}"
            )
        if isinstance(each, torch.optim.LBFGS | torch.optim.SparseAdam):
            raise TypeError(
                f"optimizer= makes {type(each).__name__}, which does not train networks of images "
                'here: give "adam", "adamw", "sgd", "lars", "lamb", or another of torch.optim'
            )


def scaled_gradients(weights: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """`r * d` of every weight; stays on the device, without waiting for any number.

    Args:
        weights: Tensors with gradients.
        group: Has `weight_decay` and `trust_coefficient`.

    Returns:
        New tensors of the same shapes.
    """
    gradients: list[Any] = [weight.grad for weight in weights]
    directions = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
    lengths = torch._foreach_norm(weights)
    ratios = [
        torch.where((length > 0) & (step > 0), group["trust_coefficient"] * length / step, 1.0)
        for length, step in zip(lengths, torch._foreach_norm(directions), strict=True)
    ]
    return list(torch._foreach_mul(directions, ratios))


def load_moments(optimizer: Any, state: dict[str, Any]) -> None:
    """Loads what an optimizer has gathered, and leaves its settings as they are.

    Args:
        optimizer: One, or several by name; of the same parameters as the stored one.
        state: What its `state_dict()` returned.
    """
    if isinstance(optimizer, Mapping):
        for name, each in optimizer.items():
            load_moments(each, state[name])
        return
    pairs = zip(optimizer.param_groups, state["param_groups"], strict=True)
    # Some of timm count the updates of a group in the group.
    groups = [
        {**{k: v for k, v in stored.items() if k == "step"}, **present, "params": stored["params"]}
        for present, stored in pairs
    ]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
