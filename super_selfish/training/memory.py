"""Memory: what is free on a device, what a piece of work takes, and what is said where it lacks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MEMORY_INFO = Path("/proc/meminfo")  # of Linux
GROUPS = Path("/proc/self/cgroup")
GROUP_FOLDER = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # bytes; older kernels say a number near 2^63 for none

# What torch says where memory lacks, on whatever device.
_LACKING = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; `None` where it does not tell.

    Of a host that is the least of what the system has and what the container, or the job of a
    cluster, may still take.
    """
    if device.type == "cpu":
        told = [_free_of_host(), _free_of_groups()]
        return min((free for free in told if free is not None), default=None)
    module: Any = getattr(torch, device.type, None)
    if hasattr(module, "mem_get_info"):
        free = int(module.mem_get_info(device)[0])
        if hasattr(module, "memory_reserved"):  # kept by torch for the next tensors
            free += int(module.memory_reserved(device) - module.memory_allocated(device))
        return free
    if hasattr(module, "recommended_max_memory"):  # Apple's
        return int(module.recommended_max_memory() - module.driver_allocated_memory())
    return None


def _free_of_host() -> int | None:
    """Reads the line `MemAvailable: 123 kB` of Linux."""
    if not MEMORY_INFO.exists():
        return None
    for line in MEMORY_INFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _free_of_groups() -> int | None:
    """What the control group of this process, or one above it, may still take."""
    if not GROUPS.exists():
        return None
    free = []
    for line in GROUPS.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # the second version
            root, limit, usage = GROUP_FOLDER, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root = GROUP_FOLDER / "memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = root / path.lstrip("/")
        for each in (folder, *folder.parents):
            free.append(_left(each, limit, usage))
            if each == root:
                break
    return min((each for each in free if each is not None), default=None)


def _left(folder: Path, limit: str, usage: str) -> int | None:
    if not (folder / limit).is_file() or not (folder / usage).is_file():
        return None
    text = (folder / limit).read_text().strip()
    if text == "max" or int(text) >= _UNLIMITED:
        return None
    statistics = folder / "memory.stat"
    lines = statistics.read_text().splitlines() if statistics.is_file() else []
    # Files that the system keeps at hand count as used, and go as soon as somebody wants more.
    kept = {line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2}
    idle = kept.get("total_inactive_file", kept.get("inactive_file", 0))
    return max(0, int(text) - int((folder / usage).read_text()) + idle)


class Peak(TorchDispatchMode):
    """While entered, follows the tensors that come to be; `added` is the most there were at once.

    On an accelerator that keeps its own peak, that is asked for. Elsewhere every operation is
    looked at: what it returns counts until nobody has it any more. What was there before does not
    count, nor what an operation needs for itself.

    Attributes:
        added: Bytes.
    """

    def __init__(self, device: torch.device) -> None:
        """Takes the device whose tensors count."""
        super().__init__()
        self._device = device
        module: Any = None if device.type == "cpu" else torch.get_device_module(device)
        self._module = module if hasattr(module, "max_memory_allocated") else None
        self._start = 0
        self._present = 0
        self._seen: dict[int, weakref.finalize[Any, Any]] = {}
        self.added = 0

    def __enter__(self) -> Peak:
        """Starts."""
        if self._module is not None:
            self._module.reset_peak_memory_stats(self._device)
            self._start = self._module.memory_allocated(self._device)
            return self
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops, and sets `added`."""
        if self._module is not None:
            self.added = self._module.max_memory_allocated(self._device) - self._start
            return
        super().__exit__(kind, error, trace)
        for forget in self._seen.values():
            forget.detach()
        self._seen.clear()

    @property
    def present(self) -> int:
        """Bytes that are there now."""
        if self._module is not None:
            return int(self._module.memory_allocated(self._device)) - self._start
        return self._present

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Does an operation, and counts what it returns."""
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if _is_real(t)}
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if _is_real(tensor) and tensor.device.type == self._device.type:
                storage = tensor.untyped_storage()
                if id(storage) not in given and id(storage) not in self._seen:
                    self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        number, size = id(storage), storage.nbytes()
        self._seen[number] = weakref.finalize(storage, self._forget, number, size)
        self._present += size
        self.added = max(self.added, self._present)

    def _forget(self, number: int, size: int) -> None:
        self._seen.pop(number, None)
        self._present -= size


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on whatever device."""
    if isinstance(error, MemoryError):
        return True
    kind = getattr(torch, "OutOfMemoryError", None)  # from torch 2.5 on
    if kind is not None and isinstance(error, kind):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _LACKING)


def in_bytes(number: float) -> str:
    """A number of bytes in words."""
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.{1 if number < 100 * size else 0}f} {unit}"
    return f"{number / 1e3:.0f} kB"


def state_of(optimizer: Any) -> int:
    """Bytes that an optimizer will keep for its parameters once it has stepped, and has not yet.

    Args:
        optimizer: Of torch's kind; one, or several by name.
    """
    if isinstance(optimizer, Mapping):
        return sum(state_of(each) for each in optimizer.values())
    total = 0
    for group in optimizer.param_groups:
        fresh = [p for p in group["params"] if p.requires_grad and not optimizer.state.get(p)]
        total += _moments(group) * sum(p.nbytes for p in fresh)
    return total


def _moments(group: Mapping[str, Any]) -> int:
    """How many tensors of a parameter's size an optimizer keeps for it."""
    if "betas" in group:
        return 3 if group.get("amsgrad") else 2
    if "momentum" in group:
        return 1 if group["momentum"] else 0
    return 2  # not known


def give_back(device: torch.device) -> None:
    """Hands back what torch keeps of an accelerator for later tensors."""
    if device.type != "cpu":
        module: Any = torch.get_device_module(device)
        if hasattr(module, "empty_cache"):
            module.empty_cache()
