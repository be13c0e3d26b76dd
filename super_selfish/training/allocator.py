"""Memory that stays with the process while a network trains on a CPU.

The C library of most Linux systems (glibc) hands large blocks back to the system as soon as they
are free. Every step asks for the same ones again and gets them in pages of 4 KiB, each to be filled
with zeros first: about a tenth of a training step, half of a blur (benchmarks/allocator.py).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

# Parameters of mallopt(3), and values.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER_TRIM, _NEVER_MAP = -1, 0
# Where glibc arrives by itself once a large block was freed.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}
# With these a user has settled it.
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
_TUNABLES = ("trim_threshold", "mmap_threshold", "mmap_max")
_HUGE_PAGE = 2 * 2**20  # bytes
_MADV_HUGEPAGE = 14
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")

_lock = threading.Lock()
_depth = 0


@contextmanager
def kept_memory(device: torch.device | None = None) -> Iterator[None]:
    """While entered, freed memory waits for the next tensor, in large pages where there are some.

    Afterwards it goes back to the system. Does nothing without glibc, or where an environment
    variable of glibc's has settled it. The setting is the process's: contexts within each other, or
    in several threads, count as one.

    Args:
        device: Where the tensors are; nothing happens unless that is a CPU. None: a CPU.
    """
    is_on_cpu = device is None or device.type == "cpu"
    library = _glibc() if is_on_cpu and not _is_settled() else None
    if library is None:
        yield
        return
    _enter(library)
    try:
        yield
    finally:
        _leave(library)


def give_back_memory() -> None:
    """Frees what nobody uses any more; with glibc, the system gets it back."""
    gc.collect()
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> Any:
    if platform.system() != "Linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def _is_settled() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return any(name in os.environ for name in _VARIABLES) or any(
        f"glibc.malloc.{name}" in tunables for name in _TUNABLES
    )


def _enter(library: Any) -> None:
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            library.mallopt(_MMAP_MAX, _NEVER_MAP)
            library.mallopt(_TRIM_THRESHOLD, _NEVER_TRIM)
            if _addresses_are_free():
                _widen(library, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


def _leave(library: Any) -> None:
    global _depth
    with _lock:
        _depth -= 1
        if _depth == 0:
            for parameter, value in _USUAL.items():
                library.mallopt(parameter, value)
            library.malloc_trim(0)


def _addresses_are_free() -> bool:
    """Whether memory costs something only where it is written to, which is the usual case."""
    resource: Any = importlib.import_module("resource")  # not on every system
    is_limited = any(
        resource.getrlimit(kind)[0] != resource.RLIM_INFINITY
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    )
    is_strict = _OVERCOMMIT.is_file() and _OVERCOMMIT.read_text().strip() == "2"
    return not is_limited and not is_strict


def _widen(library: Any, size: int) -> None:
    """Makes the heap `size` bytes longer, unwritten, and asks for large pages in there."""
    library.malloc.restype = ctypes.c_void_p
    block = library.malloc(ctypes.c_size_t(size))
    if block is None:
        return
    start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
    length = (block + size - start) // _HUGE_PAGE * _HUGE_PAGE
    library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_HUGEPAGE)
    library.free(ctypes.c_void_p(block))
