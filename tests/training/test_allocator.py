from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from super_selfish.training import allocator
from super_selfish.training.allocator import give_back_memory, kept_memory

needs_glibc = pytest.mark.skipif(allocator._glibc() is None, reason="needs glibc's allocator")


class Recorder:
    """A C library that writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def mallopt(self, parameter: int, value: int) -> None:
        self.calls.append((f"mallopt {parameter}", value))

    def malloc_trim(self, pad: int) -> None:
        self.calls.append(("malloc_trim", pad))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    library = Recorder()
    for variable in (*allocator._VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    monkeypatch.setattr(allocator, "_addresses_are_free", lambda: False)
    return library


# In a process of its own: what a heap does depends on all that has lain in it.
BEGIN = """
import resource, torch
from super_selfish.training import allocator
from super_selfish.training.allocator import give_back_memory, kept_memory
from super_selfish.evaluation.comparison.resources import resident_memory
allocator._is_settled = lambda: False
MIB = 2**20
"""

LARGE_TENSORS = """
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(48 * MIB // 4)  # above what glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with kept_memory():
    torch.zeros(48 * MIB // 4)
    assert faults() < 100
with kept_memory(torch.device("meta")):
    assert faults() >= 5 * 48 / 2  # a page of 2 MiB each, at the least
"""

GIVEN_BACK = """
give_back_memory()
before = resident_memory()
with kept_memory():
    torch.ones(400 * MIB // 4)
    assert resident_memory() > before + 300 * MIB
assert resident_memory() < before + 100 * MIB
"""


@needs_glibc
@pytest.mark.skipif(not allocator.Path("/proc/self/statm").is_file(), reason="needs /proc")
@pytest.mark.parametrize("script", [LARGE_TENSORS, GIVEN_BACK])
def test_large_tensors_come_back_without_page_faults_and_go_at_the_end(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_contexts_within_each_other_count_as_one(recorder: Recorder) -> None:
    with kept_memory():
        with kept_memory():
            pass
        assert len(recorder.calls) == 2  # set, and not set back
    assert [value for _, value in recorder.calls[:2]] == [0, -1]
    assert recorder.calls[-1][0] == "malloc_trim"
    assert len(recorder.calls) == 6


def test_an_error_sets_back_too(recorder: Recorder) -> None:
    with pytest.raises(KeyError), kept_memory():
        raise KeyError
    assert recorder.calls[-1][0] == "malloc_trim"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "100000"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=65536"),
    ],
)
def test_what_the_user_has_settled_stays(
    variable: str, value: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with kept_memory():
        pass
    assert recorder.calls == []


def test_other_tunables_settle_nothing(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    with kept_memory():
        pass
    assert recorder.calls


def test_nothing_happens_on_another_device(recorder: Recorder) -> None:
    with kept_memory(torch.device("meta")):
        pass
    assert recorder.calls == []


def test_nothing_happens_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "system", lambda: "Windows")
    with kept_memory():
        give_back_memory()
    assert allocator._depth == 0


class Library:
    """A C library that notes what it is asked for, and has a block at an address."""

    def __init__(self, block: int | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.malloc = Asked(self, "malloc", block)

    def __getattr__(self, name: str) -> Any:
        return Asked(self, name, None)


class Asked:
    def __init__(self, library: Library, name: str, answer: int | None) -> None:
        self.library, self.name, self.answer = library, name, answer
        self.restype: Any = None

    def __call__(self, *values: Any) -> int | None:
        plain = [getattr(value, "value", value) for value in values]
        self.library.asked.append((self.name, *plain))
        return self.answer


def test_the_settings_of_the_library_are_changed_once_and_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocator, "_addresses_are_free", lambda: False)
    library = Library()
    for _ in range(2):
        allocator._enter(library)
    # M_MMAP_MAX and M_TRIM_THRESHOLD of mallopt(3): no block of its own, nothing goes back.
    assert library.asked == [("mallopt", -4, 0), ("mallopt", -1, -1)]
    library.asked.clear()
    allocator._leave(library)
    assert library.asked == []
    allocator._leave(library)
    # What glibc has after large blocks: thresholds of 32 and 64 MiB, and 65536 blocks.
    assert library.asked == [
        *(("mallopt", -4, 65536), ("mallopt", -3, 1 << 25), ("mallopt", -1, 1 << 26)),
        ("malloc_trim", 0),
    ]


def test_large_pages_are_asked_for_within_the_heap() -> None:
    page = 2 << 20
    library = Library(block=5 * page + 16)
    allocator._widen(library, 3 * page)
    # The first whole page begins after the block does, and the last one ends before it ends.
    assert library.asked == [
        ("malloc", 3 * page),
        ("madvise", 6 * page, 2 * page, 14),
        ("free", 5 * page + 16),
    ]
    aligned = Library(block=5 * page)
    allocator._widen(aligned, 3 * page)
    assert aligned.asked[1] == ("madvise", 5 * page, 3 * page, 14)
    none = Library(block=None)
    allocator._widen(none, page)
    assert none.asked == [("malloc", page)]


@pytest.mark.parametrize("is_free", [True, False])
def test_the_heap_is_widened_by_half_of_the_memory_where_addresses_cost_nothing(
    is_free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "_addresses_are_free", lambda: is_free)
    monkeypatch.setattr(allocator.os, "sysconf", {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}.get)
    library = Library()
    allocator._enter(library)
    allocator._leave(library)
    assert (("malloc", 20480) in library.asked) == is_free
