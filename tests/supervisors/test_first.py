"""Two processes without a common disk: the first one reads and writes for both."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import SGD

from super_selfish.supervisors import RotateNetSupervisor
from super_selfish.training import waiting
from super_selfish.training.alone import alone
from super_selfish.training.locking import NameLock
from tests.conftest import TinyBackbone
from tests.several import run_several

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)
OPTIONS: dict[str, Any] = {"lr": 0.1, "optimizer": SGD, "batch_size": 4, "progress": False}


def pictures(count: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)


def rotate(seed: int = 0, **more: Any) -> RotateNetSupervisor:
    torch.manual_seed(seed)
    return RotateNetSupervisor(pictures(), backbone=TinyBackbone(), **more)


def disk(folder: Path, rank: int | None = None) -> Path:
    """What one process sees of it."""
    return folder / f"disk{dist.get_rank() if rank is None else rank}"


def weights(supervisor: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in supervisor.state_dict().items()}


def refused(work: Callable[[], Any]) -> tuple[str, str]:
    try:
        work()
    except Exception as error:  # noqa: BLE001, what it is, is what is asked for
        return type(error).__name__, str(error)
    return "", "nothing"


def trained(name: Path, first_seed: int, **more: Any) -> dict[str, Any]:
    supervisor = rotate(first_seed)
    supervisor.supervise(**{**OPTIONS, "epochs": 2, "name": name, **more})
    assert supervisor.run is not None
    return {"weights": weights(supervisor), "rows": len(supervisor.history)}


class Late(logging.Handler):
    """Keeps what is said while one process waits for the other, which comes when it was said."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.said: list[str] = []
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        self.file.touch()


def waited(folder: Path) -> list[str]:
    """What the first process says while the second comes late."""
    heard, patience = Late(folder / "said"), waiting.PATIENCE
    logging.getLogger("super_selfish").addHandler(heard)
    waiting.PATIENCE = 0.1
    if dist.get_rank() == 1:
        while not heard.file.exists():
            time.sleep(0.01)
    rotate().load(disk(folder) / "both")
    waiting.PATIENCE = patience
    logging.getLogger("super_selfish").removeHandler(heard)
    return heard.said


def never_met(name: Path) -> tuple[str, str]:
    """What the first process says where the second never comes."""
    if dist.get_rank() == 1:
        next(waiting._meetings)  # so that the processes count alike
        return "", "nothing"
    former = waiting.PATIENCE, waiting.LONGEST
    waiting.PATIENCE, waiting.LONGEST = 0.1, 0.3
    said = refused(lambda: rotate().load(name))
    waiting.PATIENCE, waiting.LONGEST = former
    return said


def locked(folder: Path) -> tuple[str, str]:
    """A run at a name that another one holds, which the first process alone can know."""

    def train() -> None:
        trained(disk(folder) / "locked", 1)

    if dist.get_rank() == 1:
        return refused(train)
    with NameLock(disk(folder) / "locked"):
        return refused(train)


def in_a_process(folder: Path) -> dict[str, Any]:
    here = disk(folder)
    found: dict[str, Any] = {
        "loaded": weights(rotate(7).load(here / "first alone")),
        "stale": weights(rotate(7).load(here / "both")),
        "missing": refused(lambda: rotate().load(here / "second alone")),
        "damaged": refused(lambda: rotate().load(here / "damaged")),
        "resumed": trained(here / "first alone", 7, resume=True, epochs=3),
        "anew": trained(here / "second alone", 5, resume=True, epochs=1),
        "pretrained": trained(here / "both", 7, pretrained=True, epochs=0),
        "no weights": refused(lambda: trained(here / "nothing", 7, pretrained=True)),
        "locked": locked(folder),
        "automatic": trained(here / "both", 7, resume=True, batch_size="auto", overwrite=True),
        "differing": refused(lambda: trained(here / "both", 0, seed=dist.get_rank(), resume=True)),
        "waited": waited(folder),
        "never met": never_met(here / "both"),
    }
    if dist.get_rank() == 0:
        with alone():
            found["alone"] = weights(rotate(7).load(here / "first alone"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """What one process stored on the disks of the two, before they began."""
    made = {
        name: trained(disk(folder, rank) / name, seed)
        for name, rank, seed in [("first alone", 0, 1), ("second alone", 1, 2), ("damaged", 1, 3)]
    }
    made["both"] = trained(disk(folder, 0) / "both", 4)
    trained(disk(folder, 1) / "both", 5)
    (disk(folder, 0) / "damaged.pt").write_bytes(b"PK" + bytes(100))
    return made


@pytest.fixture(scope="module")
def processes(folder: Path, stored: dict[str, Any]) -> list[dict[str, Any]]:
    return run_several(2, in_a_process, folder)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("found", "name"), [("loaded", "first alone"), ("stale", "both")])
def test_all_processes_load_what_the_first_one_reads(
    processes: list[dict[str, Any]], stored: dict[str, Any], found: str, name: str
) -> None:
    for process in processes:
        assert same(process[found], stored[name]["weights"])


def test_what_the_first_process_cannot_read_is_said_by_all(processes: list[dict[str, Any]]) -> None:
    for case, kind, words in [
        ("missing", "FileNotFoundError", "there is no checkpoint "),
        ("damaged", "UnreadableFileError", "damaged.pt cannot be read: it is cut short"),
        ("no weights", "FileNotFoundError", "there is no checkpoint "),
        ("locked", "NameInUseError", "locked.pt is being written by another run"),
        ("differing", "ValueError", "process 0 has seed=0, process 1 has 1"),
    ]:
        one, other = (process[case] for process in processes)
        assert one == other and one[0] == kind and words in one[1], (case, one, other)


def test_all_processes_go_on_with_the_run_of_the_first_one(
    processes: list[dict[str, Any]], stored: dict[str, Any]
) -> None:
    one, other = (process["resumed"] for process in processes)
    assert one["rows"] == other["rows"] == 3
    for name in ("model.backbone.layers.0.weight", "model.predictor.1.weight"):
        assert torch.equal(one["weights"][name], other["weights"][name])
        assert not torch.equal(one["weights"][name], stored["first alone"]["weights"][name])
    for process in processes:
        assert process["anew"]["rows"] == 1
        assert same(process["pretrained"]["weights"], stored["both"]["weights"])
        assert process["automatic"]["rows"] == 2


def test_who_is_missing_is_said_and_who_is_alone_waits_for_nobody(
    processes: list[dict[str, Any]],
) -> None:
    first, second = processes
    (said,) = first["waited"]
    assert said.startswith("load() is for all 2 processes at once, and has waited for 0 s for proc")
    assert "for process 1. What one of them does by itself stands within" in said
    assert second["waited"] == []
    assert first["never met"][0] == "RuntimeError" and "for process 1." in first["never met"][1]
    assert same(first["alone"], first["resumed"]["weights"])
