"""One batch through one network on several devices of a machine.

What torch's `DataParallel` does to a whole model happens here to each network that takes a batch:
copies of it stand on the devices, each takes its share of the images, and the outputs come together
on the first device in the order of the images. Losses, memories and logs see the whole batch there,
and the networks keep their names. The first device's copy shares its buffers with the network: the
running statistics of batch norm are those of its share.

All networks are copied at once, at the first call in a step, and used until the step ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import comm, gather, parallel_apply, replicate

from super_selfish.models.holders import splittable_networks

FEWEST_IMAGES = 2  # a share: batch norm needs two
_METHODS = ("forward", "forward_features")


class Shares(NamedTuple):
    """Which images of a batch go to which device."""

    order: Tensor  # (B,), the images of the first device first
    sizes: list[int]  # images a device
    back: Tensor  # (B,), where in that order each image stands


def share_out(batch_size: int, devices: int, views: int = 1) -> Shares:
    """Deals a batch out to devices, one by one: `x[i::n]` where each image is there once.

    A device that got the same view of every image, or only real ones of a batch of real and fake,
    would have statistics of its own for them. So where images have several views, the first views
    of all images are dealt out first, then the second ones, and so on. That is right for views of
    an image next to each other, and uneven by a view or two for those that come one after another.

    Args:
        batch_size: Views of all images, at least as many as devices.
        devices: How many, `n`, at least two.
        views: Of an image.

    Returns:
        The shares, whose sizes differ by one at most.
    """
    index = torch.arange(batch_size)
    if batch_size % views == 0:
        index = index % views * (batch_size // views) + index // views
    place = index % devices
    order = place.argsort(stable=True)
    return Shares(order, place.bincount(minlength=devices).tolist(), order.argsort())


class Replicas:
    """Copies of the networks of a module on several devices, for the steps of a run.

    Attributes:
        devices: Where they stand; the first one is where the networks are.
        calls: Calls in parts since the beginning.
        called: The modules that were called, in parts or not, and what they hold.
        moved: Bytes that have gone from one device to another in the forward passes.
    """

    def __init__(self, module: nn.Module, devices: Sequence[torch.device]) -> None:
        """Finds the networks.

        Args:
            module: A supervisor; its networks are on the first device.
            devices: At least two, of one kind.
        """
        self.devices = list(devices)
        self.calls = 0
        self.called: set[nn.Module] = set()
        self.moved = 0
        self._module = module
        self._networks = splittable_networks(module)
        self._as_copied: dict[nn.Module, list[tuple[int, int]]] = {}
        self._shares: dict[tuple[int, int, int], Shares] = {}
        self._images: int  # of the batch under way

    def __call__(self, data: Any) -> Any:
        """What the module makes of a batch, its networks in parts.

        Args:
            data: A tensor, or a tuple (list, dict) of which the first one counts images first.
        """
        self._images = next((len(tensor) for tensor in _tensors(data) if tensor.ndim), 0)
        with self._in_place():
            return self._module(data)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """While entered, who calls a network gets what its copies make of the shares."""
        for network in self._networks:
            for method in _methods(network):
                network.__dict__[method] = _StandIn(self, network, method)
        try:
            yield
        finally:
            for network in self._networks:
                for method in _methods(network):
                    network.__dict__.pop(method, None)
            self.__dict__.pop("_copies", None)
            self._as_copied.clear()

    @cached_property
    def _copies(self) -> list[dict[nn.Module, nn.Module]]:
        """For each device, the copies by the modules that they are copies of."""
        holder = nn.ModuleList(self._networks)
        with torch.no_grad():
            replicated = replicate(holder, self.devices)
            copies = [dict(zip(holder.modules(), c.modules(), strict=True)) for c in replicated]
            for of_device in copies:
                for original, module in of_device.items():
                    _finish(original, module)
        # With a way back to the weights, also where the first call asks for none.
        with torch.enable_grad():
            _link(self._networks, copies)
        tensors = {*holder.parameters(), *holder.buffers()}
        self.moved += (len(copies) - 1) * sum(tensor.nbytes for tensor in tensors)
        self._as_copied = {network: _weights_now(network) for network in self._networks}
        return copies

    def not_called(self) -> list[nn.Module]:
        """The networks of which no part was called, though some of their weights train."""
        return [
            network
            for network in self._networks
            if any(weight.requires_grad for weight in network.parameters())
            and self.called.isdisjoint(network.modules())
        ]

    def number_for(self, batch_size: int) -> int:
        """Devices that take part in a batch: at least two images each."""
        return max(1, min(len(self.devices), batch_size // FEWEST_IMAGES))

    def run(
        self,
        network: nn.Module,
        of_copy: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Runs what is to be done with the copies of a network.

        Args:
            network: The network itself.
            of_copy: Called with a copy, and with its shares of all arguments.
            args: Tensors whose first dimension counts images are shared out, be they in lists,
                tuples and dicts; all else goes to every device.
            kwargs: The same by name.

        Returns:
            The outputs, in the order of the images.

        Raises:
            TypeError: If the outputs cannot be put together.
            ValueError: If an output has not a row for each image.
        """
        if network not in self.called:
            self.called.update(network.modules())
        batch_size = next((len(t) for t in _tensors((args, kwargs)) if t.ndim), 0)
        number = self.number_for(batch_size)
        if number == 1:
            return of_copy(network, *args, **kwargs)
        self.calls += 1
        shares, here = self._shared_out(batch_size, number), self.devices[0]
        per_device = _shared((args, kwargs), shares, self.devices[:number])
        if self._as_copied.get(network) != _weights_now(network):  # a momentum step amid a step
            self.__dict__.pop("_copies", None)
        self.moved += _bytes_of(per_device[1:])
        devices = self.devices[:number]
        calls: list[Any] = [
            _Call(partial(of_copy, self._copy(network, j)), devices[j]) for j in range(number)
        ]
        places, names = zip(*per_device, strict=True)
        outcomes = parallel_apply(calls, places, names, devices)
        for outcome in outcomes:
            if isinstance(outcome, _Failure):
                raise _explained(outcome, network) from outcome.error
        self.moved += _bytes_of(outcomes[1:])
        return _joined(outcomes, shares, here, type(network).__name__)

    def _copy(self, network: nn.Module, number: int) -> nn.Module:
        """The copy on a device, with the weights and in the mode that the network has by now."""
        copies = self._copies[number]
        for module in network.modules():
            copies[module].training = module.training
        return copies[network]

    def _shared_out(self, batch_size: int, number: int) -> Shares:
        is_whole = self._images > 0 and batch_size % self._images == 0
        key = (batch_size, number, batch_size // self._images if is_whole else 1)
        if key not in self._shares:
            order, sizes, back = share_out(*key)
            here = self.devices[0]
            self._shares[key] = Shares(order.to(here), sizes, back.to(here))
        return self._shares[key]


class _StandIn:
    """Stands for a method of a network while its copies do the work."""

    def __init__(self, replicas: Replicas, network: nn.Module, method: str) -> None:
        self.replicas, self.network, self.method = replicas, network, method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.replicas.run(self.network, self._of_copy, args, kwargs)

    def _of_copy(self, copy: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if copy is self.network:  # too few images: the network itself, without this stand-in
            return getattr(type(copy), self.method)(copy, *args, **kwargs)
        # Not `copy(...)`: hooks of the network have run, or will, once on the whole batch.
        return getattr(copy, self.method)(*args, **kwargs)


class InParts:
    """Runs functions of a network and of images on the copies of the network."""

    def __init__(self, replicas: Replicas, network: nn.Module) -> None:
        """Takes both."""
        self._replicas, self._network = replicas, network

    def devices(self, batch_size: int) -> int:
        """How many take part in a batch."""
        return self._replicas.number_for(batch_size)

    def __call__(self, function: Callable[[nn.Module, Tensor], Any], images: Tensor) -> Any:
        """What the function returns for all shares, as one; at least two devices take part."""
        return self._replicas.run(self._network, function, (images,), {})


def in_parts(network: nn.Module) -> InParts | None:
    """How to run a function on the copies of a network; None while it runs on one device."""
    stand_in = network.__dict__.get("forward")
    return InParts(stand_in.replicas, network) if isinstance(stand_in, _StandIn) else None


class _Failure(NamedTuple):
    """What went wrong on a device."""

    error: BaseException
    device: torch.device


class _Call:
    """Runs in a thread of its own, in the precision of the thread that made it.

    `parallel_apply` hands on whether autocast is on, but not to which type.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self._function, self._device = function, device
        kind = device.type
        self._autocast = partial(
            torch.autocast,
            kind,
            dtype=torch.get_autocast_dtype(kind),
            enabled=torch.is_autocast_enabled(kind),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with self._autocast():
                return self._function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits for this one
            return _Failure(error, self._device)


def _explained(failure: _Failure, network: nn.Module) -> BaseException:
    """What to raise for a failure: the error itself, with its device, where that says enough."""
    error, name = failure.error, type(network).__name__
    if isinstance(error, StopIteration):
        return RuntimeError(
            f"{name} asks for its own parameters() in forward, of which its copies on several "
            "devices have none: read a layer's weight instead, or train with devices=1"
        )
    if isinstance(error, RuntimeError) and "on the same device" in str(error):
        return RuntimeError(
            f"{name} on {failure.device} meets a tensor of another device: what is neither a "
            "parameter nor in register_buffer() is not copied, nor what stands in objects other "
            f"than lists, tuples and dicts; or train with devices=1. torch said: {error}"
        )
    error.on_device = failure.device  # type: ignore[attr-defined]
    return error


def _finish(original: nn.Module, copy: nn.Module) -> None:
    """Takes our stand-ins from a copy, and gives it the layout of weights that copying loses."""
    for method in _METHODS:
        if isinstance(copy.__dict__.get(method), _StandIn):
            del copy.__dict__[method]
    for name, weight in original._parameters.items():
        if weight is None or weight.ndim != 4 or weight.is_contiguous():
            continue
        if weight.is_contiguous(memory_format=torch.channels_last):
            laid_out = getattr(copy, name).contiguous(memory_format=torch.channels_last)
            setattr(copy, name, laid_out)


class _Linked(torch.autograd.Function):
    """Weights and copies of them: the gradient of a weight is the sum of those of its copies.

    Torch's own `Broadcast` gives zeros to a weight that no copy has used; momentum and weight decay
    then move it, and the zeros travel. Here it gets no gradient, as on one device.
    """

    @staticmethod
    def forward(ctx: Any, copies: Sequence[Sequence[Tensor]], *weights: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.number, ctx.here = len(weights), weights[0].device
        return tuple(tensor for of_device in (weights, *copies) for tensor in of_device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        sums: list[Tensor | None] = [None] * ctx.number
        alike: dict[tuple[int, ...], list[int]] = {}  # weights, by the devices that used them
        per_device = [gradients[i : i + ctx.number] for i in range(0, len(gradients), ctx.number)]
        for index, of_weight in enumerate(zip(*per_device, strict=True)):
            used_on = tuple(j for j, gradient in enumerate(of_weight) if gradient is not None)
            alike.setdefault(used_on, []).append(index)
        for used_on, indices in alike.items():
            parts: Any = [[per_device[j][index] for index in indices] for j in used_on]
            if used_on:
                added = _added(parts, ctx.here, in_parcels=used_on[0] == 0)
                for index, gradient in zip(indices, added, strict=True):
                    sums[index] = gradient
        return None, *sums


def _added(
    per_device: Sequence[Sequence[Tensor]], here: torch.device, *, in_parcels: bool
) -> Sequence[Tensor]:
    """The sums of gradients over devices.

    Args:
        per_device: As many for each device.
        here: Where the sums shall be.
        in_parcels: Whether that is where the first ones are, so that torch can add up small ones
            together. It has no way back for what it adds so, which a penalty on gradients needs.
    """
    has_complex = any(gradient.is_complex() for gradient in per_device[0])
    if len(per_device) > 1 and in_parcels and not has_complex and not torch.is_grad_enabled():
        added: Sequence[Tensor] = comm.reduce_add_coalesced(per_device, here.index)
        return added
    moved = [[part.to(here) for part in parts] for parts in per_device]
    return [reduce(torch.add, parts) for parts in zip(*moved, strict=True)]


def _link(networks: Sequence[nn.Module], copies: Sequence[Mapping[nn.Module, nn.Module]]) -> None:
    """Gives the weights of all copies a way back to those of the networks.

    Args:
        networks: A holder before what it holds. Each is linked by itself, so that who asks for the
            gradient of one computes none of the others.
        copies: For each device, by the module that was copied.
    """
    linked: dict[Tensor, list[Tensor]] = {}
    for network in reversed(networks):
        weights = [
            (module, name, weight)
            for module in network.modules()
            for name, weight in (*module._parameters.items(), *module._buffers.items())
            if weight is not None and weight.requires_grad
        ]
        new = {
            weight: [getattr(of_device[module], name) for of_device in copies[1:]]
            for module, name, weight in weights
            if weight not in linked
        }
        if new:
            per_device = list(zip(*new.values(), strict=True))
            tensors = _Linked.apply(per_device, *new)
            for index, weight in enumerate(new):
                linked[weight] = list(tensors[index :: len(new)])
        for module, name, weight in weights:
            for of_device, copy in zip(copies, linked[weight], strict=True):
                setattr(of_device[module], name, copy)


def _weights_now(network: nn.Module) -> list[tuple[int, int]]:
    """What changes where the weights of a network do, be it in place or by others."""
    return [(weight.data_ptr(), weight._version) for weight in network.parameters()]


def _methods(network: nn.Module) -> list[str]:
    return [method for method in _METHODS if callable(getattr(type(network), method, None))]


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _bytes_of(value: Any) -> int:
    return sum(tensor.nbytes for tensor in _tensors(value))


def _shared(value: Any, shares: Shares, devices: Sequence[torch.device]) -> list[Any]:
    """For each device its share of a value; containers keep their type."""
    if isinstance(value, Tensor):
        return _shared_tensor(value, shares, devices)
    if isinstance(value, Mapping | list | tuple):
        items = list(value.values()) if isinstance(value, Mapping) else list(value)
        parts = [_shared(item, shares, devices) for item in items]
        return [_like(value, [part[j] for part in parts]) for j in range(len(devices))]
    return [value] * len(devices)


def _shared_tensor(tensor: Tensor, shares: Shares, devices: Sequence[torch.device]) -> list[Tensor]:
    parts: Sequence[Tensor] = [tensor] * len(devices)
    if tensor.ndim and len(tensor) == len(shares.order):
        parts = tensor.index_select(0, shares.order.to(tensor.device)).split(shares.sizes)
    if tensor.device != devices[0]:  # what is elsewhere is meant to be there
        return list(parts)
    return [part.to(device, non_blocking=True) for part, device in zip(parts, devices, strict=True)]


def _joined(outputs: Sequence[Any], shares: Shares, here: torch.device, name: str) -> Any:
    """The outputs of all devices as one, on the first device, in the order of the images."""
    first = outputs[0]
    if isinstance(first, Tensor):
        sizes = [len(output) if output.ndim else None for output in outputs]
        if sizes != shares.sizes:
            raise ValueError(
                f"{name} returned {list(first.shape)} for {shares.sizes[0]} images, so it cannot "
                "take a batch in parts: set wants_whole_batch = True on it, which then runs on the "
                "first device alone, or train with devices=1"
            )
        return gather(outputs, here).index_select(0, shares.back)
    if isinstance(first, Mapping | list | tuple):
        keys = list(first) if isinstance(first, Mapping) else range(len(first))
        parts = [[output[key] for output in outputs] for key in keys]
        return _like(first, [_joined(part, shares, here, name) for part in parts])
    if all(output is first or _are_equal(output, first) for output in outputs):
        return first
    raise TypeError(
        f"{name} returned a {type(first).__name__}, of which each device has another and which "
        "cannot be put together: return tensors, in tuples, lists or dicts, or set "
        "wants_whole_batch = True on it, or train with devices=1"
    )


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (RuntimeError, ValueError):  # of objects that hold tensors or arrays
        return False


def _like(value: Any, items: list[Any]) -> Any:
    """A container of another one's type."""
    if isinstance(value, Mapping):
        return type(value)(zip(value, items, strict=True))  # type: ignore[call-arg]
    if hasattr(value, "_fields"):
        return type(value)(*items)
    return type(value)(items)
