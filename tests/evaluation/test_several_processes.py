"""Two processes on one CPU that evaluate and compare together, beside one that does it all.

They are started once; each writes what it found, and the tests compare.
"""

from __future__ import annotations

import json
import os
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.data import ImageSource
from super_selfish.evaluation import PROTOCOLS, Monitor, compare, evaluate, extract_features
from super_selfish.evaluation.comparison import several
from super_selfish.evaluation.comparison.several import failed_before, started_together
from super_selfish.evaluation.comparison.store import RunStore
from super_selfish.evaluation.scoring import Score, Subject
from super_selfish.evaluation.shares import share_of
from super_selfish.supervisors import HealthWarning, RotateNetSupervisor
from super_selfish.training import alone
from super_selfish.training.distributed import rank, world_size
from tests.conftest import TinyBackbone
from tests.processes import free_port, run_together

WORLD = 2
NUMBER = 23  # images: 11 and 12
LABELS = torch.arange(NUMBER) % 2

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


def pictures(number: int = NUMBER) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shades = torch.rand(number, 3, 4, 4, generator=generator)
    shades[:, 0] += LABELS[:number, None, None]  # classes can be told apart
    return (F.interpolate(shades / 2, size=(32, 32)) * 255).to(torch.uint8)


def network(seed: int) -> TinyBackbone:
    """Of its own in each process, weights and statistics."""
    torch.manual_seed(seed)
    backbone = TinyBackbone()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features)
    return backbone


class Gaps:
    """Images of which some cannot be read, in the first process's share all."""

    def __len__(self) -> int:
        return NUMBER

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index < 12 or index == 20:
            raise OSError("gone")
        return pictures()[index], int(LABELS[index])


class Picky(nn.Module):
    """Takes no bright images, which are all in the second process's share."""

    def forward(self, images: Tensor) -> Tensor:
        if bool((images == 1).all(dim=3).any()):
            raise RuntimeError("too bright")
        return images.flatten(1)


def with_gaps() -> tuple[Tensor, Tensor, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = extract_features(network(0), ImageSource(Gaps(), on_error="skip"), batch_size=4)
    assert found.labels is not None
    return found.features, found.labels, [str(each.message) for each in caught]


def refused() -> str:
    images = pictures()
    images[-1] = 255
    try:
        extract_features(Picky(), images, batch_size=4)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def by_itself(subject: Subject) -> Score:
    """A protocol of a user's own, which computes features once more, and asks who it is."""
    found = extract_features(subject.backbone, subject.train)
    return Score(float(found.features.mean().sigmoid()), {"rank": rank(), "world": world_size()})


def broken(subject: Subject) -> Score:
    raise ValueError(f"no score of {len(subject.train_features[0])} features")


def evaluation(seed: int) -> dict[str, Any]:
    data = (pictures(), LABELS)
    backbone = network(seed)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    found = evaluate(backbone, data, data, protocols=["knn", "linear", "by itself"], batch_size=4)
    after = backbone.state_dict()
    return {
        "scores": {n: {p: s.value for p, s in row.items()} for n, row in found.scores.items()},
        "settings": found.scores["pretrained"]["by itself"].settings,
        "table": str(found),
        "is_as_before": all(torch.equal(before[name], after[name]) for name in before),
    }


def failed() -> str:
    data = (pictures(), LABELS)
    try:
        evaluate(network(0), data, data, protocols=["broken"])
    except ValueError as error:
        return str(error)
    return "nothing"


def monitored() -> list[float]:
    """Features that the first process measures, while the other one waits."""
    torch.manual_seed(0)
    supervisor = RotateNetSupervisor(pictures(), TinyBackbone())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HealthWarning)
        supervisor.supervise(
            epochs=1, batch_size=8, name=None, monitor=Monitor(every=1), progress=False
        )
    return [row["rankme"] for row in supervisor.history if "rankme" in row]


def comparison(path: Path, **length: Any) -> dict[str, Any]:
    data = (pictures(), LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HealthWarning)
        found = compare(
            ["rotate", "byol"],
            data,
            data,
            backbone=TinyBackbone,
            seeds=1,
            protocols=["knn"],
            supervise={"batch_size": 8},
            options={"rotate": {}, "byol": {"embedding_size": 8, "hidden_size": 8}},
            path=path,
            **length,
        )
    return {"table": str(found), "errors": [record["error"] for record in found.runs]}


def in_a_process(number: int, port: int, folder: Path) -> None:
    """What each of the processes does; `torchrun` would set the environment."""
    os.environ.update(
        RANK=str(number),
        WORLD_SIZE=str(WORLD),
        LOCAL_RANK=str(number),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    PROTOCOLS.update({"by itself": by_itself, "broken": broken})
    found: dict[str, Any] = {
        "compared": {
            "epochs": comparison(folder / "epochs", epochs=1),
            "budget": comparison(folder / "budget", budget="0.5s"),
        },
        "had_joined": dist.is_initialized(),
    }
    try:
        found |= {
            "features": extract_features(network(number), pictures(), batch_size=4).features,
            "joined": dist.is_initialized(),
            "single": extract_features(network(number), pictures(1)).features,
            "gaps": with_gaps(),
            "refused": refused(),
            "evaluation": evaluation(number),
            "failed": failed(),
            "monitored": monitored(),
            "retried": comparison(folder / "epochs", epochs=1, retry=True),
        }
        if number == 1:
            with alone():
                found["own"] = extract_features(network(number), pictures()).features
        torch.save(found, folder / f"{number}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluating")


@pytest.fixture(scope="module")
def processes(folder: Path) -> list[dict[str, Any]]:
    """What each process found, in the order of their numbers."""
    run_together(in_a_process, WORLD, free_port(), folder)
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(WORLD)]


@pytest.mark.parametrize("number", [1, 5, 7])
def test_shares_are_all_images_in_their_order(number: int) -> None:
    shares = [share_of(number, rank, 3) for rank in range(3)]
    assert [image for share in shares for image in share] == list(range(number))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_all_get_the_features_of_one_process_with_the_first_ones_network(
    processes: list[dict[str, Any]],
) -> None:
    whole = extract_features(network(0), pictures()).features
    for found in processes:
        assert not found["had_joined"]  # a comparison needs nobody
        assert found["joined"]
        torch.testing.assert_close(found["features"], whole, rtol=0, atol=1e-6)
        torch.testing.assert_close(found["single"], whole[:1], rtol=0, atol=1e-6)
    assert torch.equal(processes[0]["features"], processes[1]["features"])
    own = extract_features(network(1), pictures()).features
    torch.testing.assert_close(processes[1]["own"], own, rtol=0, atol=1e-6)
    assert not torch.allclose(own, whole)


def test_images_that_cannot_be_read_are_told_of_once(processes: list[dict[str, Any]]) -> None:
    features, labels, (said,) = with_gaps()
    assert said.startswith("13 images left out: ")
    for number, found in enumerate(processes):
        others, classes, told = found["gaps"]
        torch.testing.assert_close(others, features, rtol=0, atol=1e-6)
        assert torch.equal(classes, labels)
        assert told == ([said] if number == 0 else [])


def test_what_one_process_meets_all_raise(processes: list[dict[str, Any]]) -> None:
    expected = refused()
    assert "too bright" in expected
    assert [found["refused"] for found in processes] == [expected, expected]
    assert [found["failed"] for found in processes] == ["no score of 23 features"] * 2


def test_scores_are_those_of_one_process_and_the_same_everywhere(
    processes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROTOCOLS, "by itself", by_itself)
    whole = evaluation(0)
    for found in (each["evaluation"] for each in processes):
        assert found["is_as_before"]
        assert found["settings"] == {"rank": 0, "world": 1}  # the first process, by itself
        assert found["scores"].keys() == whole["scores"].keys() == {"pretrained", "untrained"}
        for name, row in whole["scores"].items():
            assert found["scores"][name] == pytest.approx(row, rel=1e-5)
    assert processes[0]["evaluation"] == processes[1]["evaluation"]


def test_a_monitor_measures_in_the_first_process(processes: list[dict[str, Any]]) -> None:
    assert [len(found["monitored"]) for found in processes] == [1, 0]


@pytest.mark.parametrize("length", ["epochs", "budget"])
def test_runs_of_a_comparison_are_shared_out(
    processes: list[dict[str, Any]], folder: Path, length: str
) -> None:
    first, second = (found["compared"][length] for found in processes)
    assert first == second
    assert set(first["errors"]) == {None}
    lines = (folder / f"{length}.jsonl").read_text().splitlines()
    algorithms = [json.loads(line)["algorithm"] for line in lines]
    assert sorted(algorithms) == ["byol", "rotate", "untrained"]  # each once


def test_runs_that_failed_before_are_agreed_on(processes: list[dict[str, Any]]) -> None:
    done = processes[0]["compared"]["epochs"]["table"]
    assert [found["retried"]["table"] for found in processes] == [done, done]


def test_what_had_failed_is_as_the_first_process_read_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = RunStore(tmp_path / "runs")
    heard = SimpleNamespace(from_first=lambda failed: {"told": failed})
    monkeypatch.setattr(several, "exchange", lambda: nullcontext(heard))
    cases: list[tuple[bool, dict[str, object]]] = [(False, {}), (True, {"told": {}})]
    for others, expected in cases:
        monkeypatch.setattr(several, "has_others", lambda device, others=others: others)
        assert failed_before(store, torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_PROCID": "3", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "8"}, (3, 8)),  # srun
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"}, (0, 1)),
        ({}, (0, 1)),
    ],
)
def test_tasks_of_srun_are_several_and_those_of_an_array_are_not(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[int, int]
) -> None:
    for name, value in ({"MASTER_ADDR": "127.0.0.1"} | variables).items():
        monkeypatch.setenv(name, value)
    assert started_together("store") == expected


def test_a_comparison_of_several_wants_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(
        ValueError, match=r"^4 processes were started together, which share .*path="
    ):
        compare(["rotate"], pictures(), pictures(), epochs=1, path=None)
