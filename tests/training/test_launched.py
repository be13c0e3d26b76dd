from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from super_selfish.training import devices, distributed
from super_selfish.training.launched import Launch, first_node, launch

# As srun sets them for task 5 of 7, on the second of three nodes.
TASK = {
    "SLURM_JOB_ID": "104729",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "7",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_NUM_NODES": "3",
    "SLURM_STEP_TASKS_PER_NODE": "4,2,1",
    "SLURM_STEP_NODELIST": "gpu[07-08,11]",
}
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def started_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "MASTER_")) or name in TORCHRUN:
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_what_was_started_alone_is_one_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch() is None
    assert not distributed.is_one_of_several()
    monkeypatch.setenv("WORLD_SIZE", "4")  # by whomever: torchrun sets RANK as well
    assert launch() is None


def test_torchrun_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, **TASK, **TORCHRUN)  # within a step of SLURM
    found = launch()
    assert found == Launch(rank=3, world=8, local_rank=1, local_world=2)
    assert found is not None and found.method == "env://"
    assert distributed.is_one_of_several()


def test_srun_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, **TASK)
    found = launch()
    assert found is not None
    assert found[:4] == (5, 7, 1, 2)
    host, port = str(found.address).split(":")
    assert host == "gpu07"
    assert 10_000 <= int(port) < 30_000
    assert found.method == f"tcp://{found.address}"
    assert distributed.is_one_of_several()


def test_every_step_of_every_job_meets_at_a_port_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, **TASK)
    places = []
    for job, step in [("104729", "0"), ("104729", "1"), ("104730", "0")]:
        set_all(monkeypatch, SLURM_JOB_ID=job, SLURM_STEP_ID=step)
        found = launch()
        assert found is not None
        places.append(found.address)
    assert len(set(places)) == 3
    set_all(monkeypatch, MASTER_ADDR="10.0.0.3", MASTER_PORT="99")
    found = launch()
    assert found is not None and found.address == "10.0.0.3:99"


def test_tasks_of_one_node_meet_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, **TASK | {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "7"})
    monkeypatch.setenv("SLURM_NODEID", "0")
    found = launch()
    assert found is not None and str(found.address).startswith("127.0.0.1:")
    assert found.local_world == 7


# What a script waits for nobody in: its variables, and whether somebody types there.
ALONE: dict[str, tuple[dict[str, Any], bool]] = {
    "one task": ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1"}, False),
    "one task in an allocation of seven": ({"SLURM_STEP_NUM_TASKS": "1"}, False),
    "a batch file, without srun": ({"SLURM_STEP_ID": None, "SLURM_STEP_NUM_TASKS": None}, False),
    "a shell in a step of seven": ({}, True),
}


@pytest.mark.parametrize("case", ALONE)
def test_what_srun_did_not_start_as_one_of_several_waits_for_nobody(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, is_typed = ALONE[case]
    set_all(monkeypatch, **TASK)
    assert launch() is not None
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    if is_typed:
        typed = SimpleNamespace(closed=False, isatty=lambda: True)
        monkeypatch.setattr(sys, "stdin", typed)
    assert launch() is None


@pytest.mark.parametrize("stdin", [None, io.StringIO("")])
def test_a_script_without_a_terminal_is_no_shell(
    stdin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, **TASK)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert launch() is not None
    if stdin is not None:
        stdin.close()
        assert launch() is not None


def test_slurm_that_names_no_nodes_is_asked_for_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, **TASK)
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    with pytest.raises(ValueError, match="set MASTER_ADDR to the host of the first one"):
        launch()
    monkeypatch.setenv("SLURM_JOB_NODELIST", "login1")
    found = launch()
    assert found is not None and str(found.address).startswith("login1:")


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu1", "gpu1"),
        ("gpu1,gpu2", "gpu1"),
        ("gpu[03-05,09],login1", "gpu03"),
        ("gpu[9]", "gpu9"),
        ("rack[2-3]gpu[0,4-7]-ib,other", "rack2gpu0-ib"),
        ("node-a-[001-120]", "node-a-001"),
    ],
)
def test_the_first_node_of_a_list(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


@pytest.mark.parametrize("backend", ["gloo", "nccl"])
def test_processes_join_as_they_were_told_each_with_the_device_of_its_own(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, **TASK)
    joined: list[Any] = []
    current: list[Any] = []
    monkeypatch.setattr(dist, "init_process_group", lambda *a, **k: joined.append((a, k)))
    monkeypatch.setattr(distributed.atexit, "register", lambda function: None)
    monkeypatch.setattr(devices, "device_count", lambda device: 2)
    module = SimpleNamespace(set_device=current.append)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    device = torch.device("cpu") if backend == "gloo" else devices.own_device(torch.device("cuda"))
    distributed.join_processes(device)
    started = launch()
    assert started is not None
    told = {"init_method": started.method, "rank": 5, "world_size": 7}
    assert joined == [((backend,), told)]
    assert current == ([] if backend == "gloo" else [torch.device("cuda", 1)])


def test_processes_that_do_not_meet_say_where_they_wanted_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, **TASK, MASTER_ADDR="somewhere", MASTER_PORT="99")

    def failing(*args: Any, **keywords: Any) -> None:
        raise dist.DistStoreError("timed out")

    monkeypatch.setattr(dist, "init_process_group", failing)
    with pytest.raises(dist.DistStoreError) as caught:
        distributed.join_processes(torch.device("cpu"))
    if sys.version_info >= (3, 11):
        assert "process 5 of 7, which did not all meet at somewhere:99" in caught.value.__notes__[0]


def test_a_torch_without_processes_does_not_let_them_train_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, **TASK)
    monkeypatch.setattr(dist, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="7 processes were started, and this torch was built"):
        distributed.join_processes(torch.device("cpu"))


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        ("NCCL error: Duplicate GPU detected", ValueError, "two processes would train on one"),
        ("NCCL error: the cable is out", RuntimeError, "^NCCL error: the cable is out$"),
    ],
)
def test_processes_that_would_share_an_accelerator_are_refused(
    told: str, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(tensor: torch.Tensor) -> None:
        raise RuntimeError(told)

    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(distributed, "open_control", lambda: None)
    monkeypatch.setattr(dist, "all_reduce", failing)
    with pytest.raises(kind, match=words):
        distributed.join_processes(torch.device("cpu"))
