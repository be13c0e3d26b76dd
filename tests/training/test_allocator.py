from __future__ import annotations

import subprocess
import sys

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
