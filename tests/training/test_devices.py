from __future__ import annotations

import os
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from super_selfish.training import devices

SIX = torch.device("meta")  # stands for an accelerator: every machine has it


@pytest.fixture
def six_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: SIX)
    monkeypatch.setattr(devices, "device_count", lambda device: 6 if device == SIX else 1)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "LOCAL_"))]:
        monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("is_there", [True, False])
def test_torch_is_asked_for_its_accelerator(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = SimpleNamespace(is_available=lambda: is_there, current_accelerator=lambda: SIX)
    monkeypatch.setattr(torch, "accelerator", told, raising=False)
    assert devices.accelerator() == (SIX if is_there else None)
    assert devices.default_device() == (SIX if is_there else torch.device("cpu"))


@pytest.mark.parametrize("where", ["torch", "backends", "nowhere"])
def test_an_older_torch_is_asked_kind_by_kind(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "accelerator", raising=False)
    fake: Any = ModuleType("fake")
    fake.device_count = lambda: 1
    if where == "torch":
        fake.is_available = lambda: True
    monkeypatch.setattr(torch, "mtia", fake, raising=False)
    if where == "backends":  # Apple's were asked for there only
        answer = SimpleNamespace(is_available=lambda: True)
        monkeypatch.setattr(torch.backends, "mtia", answer, raising=False)
    for name, module in list(vars(torch).items()):
        if module is not fake and isinstance(module, ModuleType) and name != "cpu":
            if hasattr(module, "device_count") and hasattr(module, "is_available"):
                monkeypatch.setattr(module, "is_available", lambda: False)
    found = devices.accelerator()
    assert found == (None if where == "nowhere" else torch.device("mtia"))


STARTED: dict[str, dict[str, str]] = {
    "torchrun": {"RANK": "10", "WORLD_SIZE": "12", "LOCAL_RANK": "4", "LOCAL_WORLD_SIZE": "6"},
    "srun": {
        "SLURM_PROCID": "10",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "12",
        "SLURM_LOCALID": "4",
        "SLURM_NODEID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "6(x2)",
        "SLURM_STEP_NODELIST": "gpu[1-2]",
    },
}


@pytest.mark.usefixtures("six_accelerators")
@pytest.mark.parametrize("starter", STARTED)
def test_each_process_of_a_machine_has_an_accelerator_of_its_own(
    starter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert devices.default_device() == SIX  # one process
    for name, value in STARTED[starter].items():
        monkeypatch.setenv(name, value)
    assert devices.default_device() == torch.device("meta", 4)
    assert devices.parse_device("meta") == torch.device("meta", 4)
    assert devices.own_device(torch.device("meta", 1)) == torch.device("meta", 1)
    assert devices.own_device(torch.device("cpu")) == torch.device("cpu")
    devices.require_devices(SIX)


@pytest.mark.parametrize(("count", "expected"), [(1, None), (2, 0), (3, 1)])
def test_processes_take_the_accelerators_of_a_machine_in_turns(
    count: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in STARTED["torchrun"].items():  # the fifth of its machine
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(devices, "device_count", lambda device: count)
    meta = torch.device("meta") if expected is None else torch.device("meta", expected)
    assert devices.own_device(torch.device("meta")) == meta


@pytest.mark.parametrize("told", [{}, {"device_count": lambda: 4}])
def test_a_kind_of_which_torch_tells_no_number_is_one(
    told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SimpleNamespace(is_available=lambda: True, **told)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert devices.device_count(torch.device("mps")) == (4 if told else 1)


@pytest.mark.parametrize(
    ("where", "given", "expected"),
    [("cpu", None, 1), ("cpu", 1, 1), ("meta:2", None, 6), ("meta", 6, 6), ("meta", 2, 2)],
)
def test_so_many_devices_train_beginning_with_that_of_the_networks(
    where: str, given: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "device_count", lambda each: 1 if each.type == "cpu" else 6)
    found = devices.devices_from(torch.device(where), given)
    assert len(found) == len(set(found)) == expected
    assert found[0] == torch.device("meta:0" if where == "meta" else where)


@pytest.mark.usefixtures("six_accelerators")
@pytest.mark.parametrize(("starter", "more"), [("torchrun", "7"), ("srun", "5(x1),7")])
def test_more_processes_than_accelerators_of_a_machine_are_refused(
    starter: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in STARTED[starter].items():
        monkeypatch.setenv(name, value)
    number = "LOCAL_WORLD_SIZE" if starter == "torchrun" else "SLURM_STEP_TASKS_PER_NODE"
    monkeypatch.setenv(number, more)
    devices.require_devices(torch.device("cpu"))
    with pytest.raises(ValueError, match=r"^7 processes were started on this machine.* 6 of meta"):
        devices.require_devices(SIX)
    # Those of torchrun see the same one; each task of SLURM may be given one that it sees alone.
    monkeypatch.setattr(devices, "device_count", lambda device: 1)
    if starter == "srun":
        devices.require_devices(SIX)
    else:
        with pytest.raises(ValueError, match="torch finds 1 of meta"):
            devices.require_devices(SIX)


@pytest.mark.usefixtures("six_accelerators")
def test_a_number_counts_accelerators() -> None:
    assert devices.parse_device(0) == torch.device("meta", 0)
    assert devices.parse_device("cpu") == torch.device("cpu")
    assert devices.parse_device(torch.device("meta")) == SIX


WRONG = [
    ("gpu", ValueError, "device='gpu' is none that torch knows: give \"cpu\""),
    ("cpu:3", ValueError, "device='cpu:3': torch finds 1 of this kind here; give \"cpu\""),
    ("xpu", ValueError, "device='xpu': torch finds no such device here; give \"cpu\""),
    (True, TypeError, 'device must be a device such as "cpu", got True'),
    (1.0, TypeError, 'device must be a device such as "cpu", got 1.0'),
]


@pytest.mark.parametrize(("device", "kind", "sentence"), WRONG)
def test_what_is_no_device_here_is_refused(
    device: Any, kind: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: None)
    monkeypatch.setattr(devices, "_says_available", lambda module: False)
    with pytest.raises(kind) as caught:
        devices.parse_device(device)
    assert str(caught.value) == sentence


def test_torch_before_accelerators_is_asked_module_by_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = devices.accelerator()
    monkeypatch.delattr(torch, "accelerator", raising=False)
    assert devices.accelerator() == expected


def test_what_holds_no_numbers_is_refused_unless_it_stands_for_an_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for found, here in ((None, 'give "cpu"'), (torch.device("cuda"), 'give "cuda" or "cpu"')):
        monkeypatch.setattr(devices, "accelerator", lambda found=found: found)
        for fine in (None, torch.device("cpu")):
            devices.refuse_meta(fine)
        with pytest.raises(ValueError, match=f"holds shapes and no numbers.*{here}"):
            devices.refuse_meta(SIX)
    monkeypatch.setattr(devices, "accelerator", lambda: SIX)
    devices.refuse_meta(SIX)
