"""One run on several devices of a machine: which ones, what is said of it, and its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from super_selfish.models.dry_run import REFUSALS
from super_selfish.models.holders import splittable_networks
from super_selfish.models.replicas import Replicas
from super_selfish.supervisors import footprint
from super_selfish.supervisors.pace import seconds_a_step
from super_selfish.training import distributed
from super_selfish.training.counting import plural
from super_selfish.training.devices import devices_from
from super_selfish.training.memory import is_lack_of_memory
from super_selfish.training.randomness import seed_device
from super_selfish.training.run import Losses, Run
from super_selfish.training.telling import warn

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

LONG = 200  # steps of a run for which it is worth measuring whether one device is faster


def devices_for(
    supervisor: Supervisor, given: int | Sequence[Any] | None, *, compiles: bool
) -> tuple[list[torch.device], str | None]:
    """Where a run goes.

    Args:
        supervisor: Its networks are where they will train.
        given: `devices` of `supervise()`.
        compiles: Whether the networks shall be compiled.

    Returns:
        The devices, that of the networks first, and why there is but one where there could be
        several, in words.

    Raises:
        ValueError: If several are demanded and cannot be used.
    """
    device = supervisor.device
    if given is None and (supervisor.is_pinned or distributed.is_one_of_several()):
        return [device], None
    devices = devices_from(device, given)
    if len(devices) == 1:
        return [device], None
    obstacle = _obstacle(supervisor, compiles)
    if obstacle is None:
        return devices, None
    if given is not None:
        raise ValueError(f"devices={given!r}: {obstacle}; give devices=1, or start it by torchrun")
    return [device], f"On {device} alone, of {len(devices)}: {obstacle}"


def _obstacle(supervisor: Supervisor, compiles: bool) -> str | None:
    """What keeps the networks from running in parts, in words."""
    if distributed.is_distributed():
        return "each of several processes trains on a device of its own"
    if compiles:
        return "compile=True compiles for one device"
    if not hasattr(torch._C, "_broadcast_coalesced"):
        return "this torch cannot copy networks from one device to others"
    for network in splittable_networks(supervisor):
        for hook in network._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils."):
                return (
                    f"{type(network).__name__} gets its weight from a hook, {type(hook).__name__}, "
                    "that runs before its copies do (torch.nn.utils.parametrizations have none)"
                )
        for name, module in network.named_modules(prefix=type(network).__name__):
            kind = type(module).__name__
            if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
                return f"{name} is a {kind} already"
            if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
                return f"{name} is compiled, for one device"
            if isinstance(module, torch.jit.ScriptModule):
                return f"{name} is a {kind}, which cannot be copied to other devices"
            if module.__dict__.keys() & {"forward", "forward_features"}:
                return f"{name} has a forward of this object alone, which copies have not"
    return None


def keep_number(run: Run, given: int | Sequence[Any] | None, former: int) -> None:
    """Has a run go on on as many devices as before, unless the user says otherwise.

    Args:
        run: That goes on.
        given: `devices` of `supervise()`.
        former: Devices that it had.
    """
    if given is None:
        run.devices = run.devices[:former]
    if len(run.devices) != former:
        warn(
            f"this run had {plural(former, 'device')} and goes on on {len(run.devices)}: batch "
            "norm takes its statistics over another share of a batch from here on"
        )


def tell_devices(supervisor: Supervisor) -> None:
    """Notes in a run of several devices what is to be said before its first step.

    Args:
        supervisor: With its run, optimizer and schedule.
    """
    run: Any = supervisor.run
    number = len(run.devices)
    if number == 1:
        return
    names = (
        f"{run.devices[0]} to {run.devices[-1]}"
        if number > 2
        else " and ".join(map(str, run.devices))
    )
    said = (
        f"On {number} devices, {names}, which share each batch; torchrun --nproc-per-node={number} "
        "is faster"
    )
    times = _seconds_a_step(supervisor) if run.total_updates >= LONG else None
    if times is not None and times[0] < times[1]:
        said += (
            f", and so is one of them here ({1e3 * times[0]:.0f} ms a step instead of "
            f"{1e3 * times[1]:.0f}): devices=1"
        )
    run.remarks.append(said)


def _seconds_a_step(supervisor: Supervisor) -> tuple[float, float] | None:
    """Seconds that networks take for a batch, on one device and on all; None if nobody knows."""
    run: Any = supervisor.run
    with footprint.untouched(supervisor):
        data = footprint.example(supervisor, min(run.batch_size, run.num_images))
        if data is None:
            return None

        def each(forward: Callable[[Any], Losses]) -> float:
            return seconds_a_step(supervisor, forward, data, run.precision, run.devices)

        try:
            return (
                each(supervisor),
                each(Spread(supervisor, run.devices)),
            )
        except REFUSALS as error:  # the first real step will say it
            if is_lack_of_memory(error):
                raise
            return None


class Spread:
    """The loss of a batch whose networks run in parts on several devices."""

    def __init__(self, supervisor: Supervisor, devices: Sequence[torch.device]) -> None:
        """Finds the networks.

        Args:
            supervisor: Its networks are on the first device.
            devices: At least two.
        """
        self.replicas = Replicas(supervisor, devices)
        self._name = type(supervisor).__name__
        self._is_first = True

    def __call__(self, data: Any) -> Losses:
        """The losses of a batch, on the first device."""
        # The first device's stream was set for this step; the others would draw the same as it.
        for number, device in enumerate(self.replicas.devices[1:], 1):
            seed_device(torch.initial_seed() + number, device)
        losses: Losses = self.replicas(data)
        if self._is_first and _images_in(data) >= 4 and (which := self._on_one(losses)):
            warn(
                f"{self._name} calls {which} on {self.replicas.devices[0]} alone: call networks as "
                "modules, or give devices=1"
            )
        self._is_first = False
        return losses

    def _on_one(self, losses: Losses) -> str | None:
        """What ran in this step on the first device alone, in words."""
        if self.replicas.calls == 0:
            return "none of its networks as a whole, so all of it runs"
        weights = _weights_behind(losses)
        names = {
            type(network).__name__
            for network in self.replicas.not_called()
            if not weights.isdisjoint(network.parameters())
        }
        if not names:
            return None
        return f"{', '.join(sorted(names))} in other ways than as a module, which runs"


def _weights_behind(losses: Losses) -> set[Tensor]:
    """The weights that gradients of losses reach."""
    each = losses.values() if isinstance(losses, dict) else [losses]
    nodes: list[Any] = [loss.grad_fn for loss in each]
    seen, weights = set(), set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            weights.add(node.variable)
        nodes.extend(before for before, _ in node.next_functions)
    return weights


def _images_in(data: Any) -> int:
    if isinstance(data, Tensor):
        return len(data) if data.ndim else 0
    return max(map(_images_in, data), default=0) if isinstance(data, tuple | list) else 0
