"""How much memory a piece of work needs, and on what machine it ran."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from super_selfish.training.allocator import give_back_memory

_STATM = Path("/proc/self/statm")
INTERVAL = 0.02  # seconds between two looks; what is held for less may be missed


class PeakMemory:
    """While entered, follows the memory in use; afterwards `added` is the most that came on top.

    On an accelerator that keeps its own peak, that is asked for: it is exact. Elsewhere a thread
    looks every 20 ms at what the device has allocated, or on a CPU at the resident memory of this
    process, which the operating system's own peak (`ru_maxrss`) could not tell, since it never
    falls. Memory that earlier work left behind for reuse is given back first, where the C library
    can do so (glibc), so that equal work shows equal numbers.

    Attributes:
        added: Bytes above what was in use on entry; `None` where nothing can be measured.
    """

    def __init__(self, device: torch.device) -> None:
        """Takes the device whose memory counts; of a CPU it is that of this process."""
        self._device = device
        self._module: Any = None if device.type == "cpu" else torch.get_device_module(device)
        self._keeps_peak = hasattr(self._module, "max_memory_allocated")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.added: int | None = None

    def __enter__(self) -> PeakMemory:
        """Starts."""
        give_back_memory()
        if self._keeps_peak:
            self._module.reset_peak_memory_stats(self._device)
            self._start = self._module.memory_allocated(self._device)
            return self
        look = self._look()
        if look is not None:
            self._start = self._peak = look()
            self._thread = threading.Thread(target=self._follow, args=(look,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops, and sets `added`."""
        if self._keeps_peak:
            self.added = self._module.max_memory_allocated(self._device) - self._start
        elif self._thread is not None:
            self._stop.set()
            self._thread.join()
            self.added = self._peak - self._start

    def _look(self) -> Callable[[], int] | None:
        """What tells the bytes in use, if anything does."""
        if self._module is not None:
            return getattr(self._module, "current_allocated_memory", None)
        return resident_memory if _STATM.is_file() else None

    def _follow(self, look: Callable[[], int]) -> None:
        while not self._stop.wait(INTERVAL):
            self._peak = max(self._peak, look())
        self._peak = max(self._peak, look())


def resident_memory() -> int:
    """Bytes of this process that lie in memory, as Linux tells them."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def machine(device: torch.device) -> dict[str, Any]:
    """What a measured time depends on: device, processor, threads, versions.

    Args:
        device: Where the work ran.

    Returns:
        Plain values by name.
    """
    name = processor_name()
    if device.type != "cpu":
        tell = getattr(torch.get_device_module(device), "get_device_name", None)
        name = tell(device) if tell is not None else device.type
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor_name() -> str:
    """The processor's name, as far as it is told."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
