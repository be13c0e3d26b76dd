from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.training import memory
from super_selfish.training.memory import (
    Peak,
    free_memory,
    give_back,
    in_bytes,
    is_lack_of_memory,
    state_of,
)
from super_selfish.training.optimizers import LARS

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [("MemTotal: 9 kB\nMemAvailable:   5 kB\n", 5120), ("MemTotal: 9 kB\n", None), (None, None)],
)
def test_free_memory_of_the_host_is_known_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str | None, expected: int | None
) -> None:
    if lines is not None:
        (tmp_path / "meminfo").write_text(lines)
    monkeypatch.setattr(memory, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "none")
    assert free_memory(CPU) == expected


def test_an_accelerator_is_asked_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    told = type("Module", (), {"mem_get_info": staticmethod(lambda device: (7, 9))})
    limits: dict[str, Any] = {
        "recommended_max_memory": staticmethod(lambda: 9),
        "driver_allocated_memory": staticmethod(lambda: 4),
    }
    for module, expected in (
        (told, 7),
        (type("Apple", (), limits), 5),
        (type("Mute", (), {}), None),
    ):
        monkeypatch.setattr(torch, "meta", module, raising=False)
        assert free_memory(torch.device("meta")) == expected


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's files on control groups, and a host with 9 MiB to spare."""
    (tmp_path / "meminfo").write_text("MemAvailable: 9216 kB\n")
    monkeypatch.setattr(memory, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUP_FOLDER", tmp_path / "fs")
    return tmp_path


def write_group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_a_container_may_take_less_than_the_host_has(groups: Path) -> None:
    (groups / "cgroup").write_text("0::/job/step\n")
    write_group(groups / "fs/job/step", memory__max="max", memory__current="500000")
    write_group(
        groups / "fs/job",
        memory__max="4000000",
        memory__current="3000000",
        memory__stat="anon 5\ninactive_file 250000",
    )
    assert free_memory(CPU) == 4_000_000 - 3_000_000 + 250_000
    write_group(groups / "fs/job", memory__max="max")
    assert free_memory(CPU) == 9216 * 1024


def test_older_kernels_have_a_folder_for_memory(groups: Path) -> None:
    (groups / "cgroup").write_text("5:cpu:/x\n7:memory,hugetlb:/job\n")
    write_group(
        groups / "fs/memory/job",
        memory__limit_in_bytes="1000000",
        memory__usage_in_bytes="1200000",
    )
    assert free_memory(CPU) == 0
    write_group(groups / "fs/memory/job", memory__usage_in_bytes="400000")
    assert free_memory(CPU) == 600_000  # to the byte, where nothing is kept at hand
    write_group(groups / "fs/memory/job", memory__limit_in_bytes="9223372036854771712")
    assert free_memory(CPU) == 9216 * 1024


def test_what_torch_keeps_for_the_next_tensors_is_free_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = SimpleNamespace(
        mem_get_info=lambda device: (7, 99),
        memory_reserved=lambda device: 30,
        memory_allocated=lambda device: 10,
    )
    monkeypatch.setattr(torch, "meta", told, raising=False)
    assert free_memory(torch.device("meta")) == 27


def test_the_peak_is_what_was_there_at_once() -> None:
    before = torch.ones(100, 100)
    with Peak(CPU) as peak:
        first = before + 1  # 40 kB
        second = first + 1  # 80 kB
        del first
        third = second.view(-1).mul_(2)  # no new memory
        fourth = third + 1  # 80 kB again
        del second, third, fourth
        torch.ones(100, 150)  # 60 kB alone
    assert peak.added == 80_000


def test_the_peak_of_a_pass_back_and_forth_counts_what_it_keeps() -> None:
    network = nn.Sequential(*(nn.Linear(256, 256, bias=False) for _ in range(4)))
    images = torch.ones(1000, 256)
    with Peak(CPU) as peak:
        torch.autograd.grad(network(images).sum(), list(network.parameters()))
    activation, weight = 1000 * 256 * 4, 256 * 256 * 4
    # Four outputs, of which the first three are kept; then gradients, two activations at a time.
    assert 4 * activation <= peak.added <= 6 * activation + 5 * weight


def test_an_accelerator_keeps_its_own_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    told = SimpleNamespace(
        reset_peak_memory_stats=lambda device: asked.append("reset"),
        memory_allocated=lambda device: 100,
        max_memory_allocated=lambda device: 350,
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: told)
    with Peak(torch.device("meta")) as peak:
        pass
    assert peak.added == 250 and asked == ["reset"]


def test_a_lack_of_memory_is_known_by_what_torch_says() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_lack_of_memory(caught.value)
    assert is_lack_of_memory(MemoryError())
    kind = getattr(torch, "OutOfMemoryError", None)
    assert kind is None or is_lack_of_memory(kind("x"))
    assert is_lack_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert not is_lack_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_lack_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        *((29.26e9, "29.3 GB"), (512e6, "512 MB"), (1.5e6, "1.5 MB"), (900, "1 kB")),
        *((1e9, "1.0 GB"), (1e6, "1.0 MB"), (999_400, "999 kB")),  # where a unit begins
        *((99.9e9, "99.9 GB"), (100e9, "100 GB"), (85e6, "85.0 MB")),
    ],
)
def test_bytes_in_words(number: float, words: str) -> None:
    assert in_bytes(number) == words


def test_an_optimizer_keeps_tensors_from_its_first_step_on() -> None:
    weight = nn.Parameter(torch.zeros(10))
    frozen = nn.Parameter(torch.zeros(10), requires_grad=False)
    for optimizer, tensors in [
        (torch.optim.Adam([weight, frozen]), 2),
        (torch.optim.AdamW([weight], amsgrad=True), 3),
        (torch.optim.SGD([weight], lr=0.1), 0),
        (torch.optim.SGD([weight], lr=0.1, momentum=0.9), 1),
        (LARS([weight], lr=0.1), 1),
        (torch.optim.Adagrad([weight], lr=0.1), 0),
    ]:
        assert state_of(optimizer) == tensors * 40 or isinstance(optimizer, torch.optim.Adagrad)
    adam = torch.optim.Adam([weight])
    assert state_of({"first": adam, "second": adam}) == 160
    weight.grad = torch.ones(10)
    adam.step()
    assert state_of(adam) == 0


def test_what_is_kept_for_later_is_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    told: Any = SimpleNamespace(empty_cache=lambda: asked.append("emptied"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: told)
    give_back(torch.device("meta"))
    give_back(CPU)
    assert asked == ["emptied"]
    told = SimpleNamespace()  # which keeps nothing
    give_back(torch.device("meta"))


def test_what_is_there_now_is_told_by_an_accelerator_or_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Peak(CPU) as peak:
        first = torch.ones(250)
        second = torch.ones(250)
        assert peak.present == 2000
        del second
        assert peak.present == 1000 == first.nbytes
    assert peak.added == 2000
    allocated = iter([100, 350])
    told = SimpleNamespace(
        reset_peak_memory_stats=lambda device: None,
        memory_allocated=lambda device: next(allocated),
        max_memory_allocated=lambda device: 350,
    )
    monkeypatch.setattr(torch, "get_device_module", lambda device: told)
    with Peak(torch.device("meta")) as peak:
        assert peak.present == 250
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace())
    with Peak(torch.device("meta")) as peak:  # counted here, where it keeps no peak of its own
        kept = torch.ones(10, device="meta")
        torch.ones(20)
        assert peak.present == 40 == kept.nbytes


@pytest.mark.parametrize(
    ("group", "tensors"),
    [
        ({"betas": (0.9, 0.99)}, 2),
        ({"betas": (0.9, 0.99), "amsgrad": False}, 2),
        ({"betas": (0.9, 0.99), "amsgrad": True}, 3),
        ({"momentum": 0.9}, 1),
        ({"momentum": 0.0}, 0),
        ({}, 2),
    ],
)
def test_what_an_optimizer_keeps_is_known_by_its_settings(
    group: dict[str, Any], tensors: int
) -> None:
    weight = nn.Parameter(torch.ones(5))
    still = nn.Parameter(torch.ones(7), requires_grad=False)
    optimizer: Any = SimpleNamespace(param_groups=[{"params": [weight, still], **group}], state={})
    assert state_of(optimizer) == 20 * tensors
    assert state_of({"a": optimizer, "b": optimizer}) == 40 * tensors
    optimizer.state[weight] = {"step": 1}
    assert state_of(optimizer) == 0
