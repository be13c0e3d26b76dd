"""What two and four processes on one CPU send one another, counted, beside the formula; and keys
that are shuffled between them.

Each number of processes is started once; each process writes what it found, and the tests compare.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from super_selfish.models.norm_groups import in_groups
from super_selfish.supervisors import footprint
from super_selfish.supervisors.momentum_contrast import groups_of_process
from super_selfish.supervisors.shuffling import order_of_all, shuffled_keys
from super_selfish.supervisors.traffic import Traffic, traffic_of
from super_selfish.training.distributed import join_processes, rank, world_size
from tests.conftest import tiny_teacher
from tests.processes import free_port, run_together
from tests.supervisors.test_accumulating import prepared
from tests.training.test_distributed import pictures

BATCH = 4
WORDS = 128  # bytes: sums of tensors so small are what processes agree on in every step
ALGORITHMS: dict[str, dict[str, Any]] = {
    "rotate": {},
    "byol": {"embedding_size": 8, "hidden_size": 8},
    "simclr": {"embedding_size": 24},
    "barlow_twins": {"embedding_size": 12, "hidden_size": 20},
    "vicreg": {"embedding_size": 12, "hidden_size": 20},
    # With so many clusters that the step which is looked at is before the first grouping.
    "deep_cluster": {"num_clusters": (17, 4), "embedding_size": 12},
    "lejepa": {"embedding_size": 12, "hidden_size": 20, "num_directions": 30},
    "distillation": {"teacher": tiny_teacher(), "pseudo_classes": 8},
    "nnclr": {"embedding_size": 12, "hidden_size": 20, "prediction_size": 9, "queue_size": 8},
    "dino": {"num_classes": 20, "frozen_updates": 0},
    "swav": {"embedding_size": 12, "num_prototypes": 20, "queue_size": 0, "frozen_updates": 0},
    "counting": {"hidden_size": 20},
    "cpc": {"embedding_size": 8},
    "instance": {"embedding_size": 8, "num_negatives": 4},
    "pirl": {"embedding_size": 8, "num_negatives": 4},
    "cmc": {"embedding_size": 8, "num_negatives": 4},
    "moco": {"embedding_size": 8, "queue_size": 8, "norms": True},
    "moco, symmetric": {"embedding_size": 8, "queue_size": 8, "norms": True, "symmetric": True},
    "moco, no norms": {"embedding_size": 8, "queue_size": 8},
}

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


class Collectives:
    """Counts the bytes that go through `torch.distributed`, those of DDP's buckets as well."""

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter()
        for name in ("all_reduce", "all_gather", "broadcast", "all_gather_into_tensor"):
            setattr(dist, name, partial(self._counted, name, getattr(dist, name)))
        torch.nn.parallel.DistributedDataParallel = _Hooked  # type: ignore[misc]

    def _counted(self, name: str, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        sent: Tensor = args[1] if name.startswith("all_gather") else args[0]
        if name != "all_reduce" or sent.nbytes > WORDS:
            self.bytes[name] += sent.nbytes
        return call(*args, **more)


class _Hooked(nn.parallel.DistributedDataParallel):
    """Torch's own, whose buckets go through `dist.all_reduce`, where they can be counted."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.register_comm_hook(None, allreduce_hook)


def counted(collectives: Collectives, algorithm: str, **arguments: Any) -> dict[str, Any]:
    """What the third step of a run sends: in the first two it is found out which weights move."""
    supervisor = prepared(algorithm, pictures(4 * BATCH * world_size()), **arguments)
    marks: list[Counter[str]] = []
    forward = supervisor._forward

    def marked(data: Any) -> Any:
        marks.append(collectives.bytes.copy())
        return forward(data)

    supervisor._forward = marked  # type: ignore[method-assign]
    supervisor.supervise(
        optimizer=torch.optim.SGD, lr=1e-3, epochs=1, batch_size=BATCH, name=None, progress=False
    )
    assert len(marks) == 4
    expected = traffic_of(supervisor, world_size(), BATCH)
    return {"sent": dict(marks[3] - marks[2]), "expected": list(expected)}


class GroupMean(nn.Module):
    """Gives each image with the mean over the batch, by which its group can be told."""

    def forward(self, images: Tensor) -> Tensor:
        own = images.flatten(1)[:, :1]  # (B, 1)
        return torch.cat([own, own.mean().expand_as(own)], dim=1)  # (B, 2)


class Standing:
    """Where a run stands, as far as shuffling asks."""

    seed, epochs_before, epoch, step = 3, 1, 2, 5


def shuffled(batch_size: int) -> dict[str, Tensor]:
    """Queries and keys of images that are their own numbers."""
    groups = groups_of_process(batch_size, 8, world_size())
    numbers = torch.arange(batch_size) + rank() * batch_size
    images = numbers.double()[:, None, None, None]
    encode = partial(in_groups, GroupMean(), groups=groups)
    run: Any = Standing()
    keys, everywhere = shuffled_keys(encode, images, torch.arange(batch_size), run)
    return {"queries": encode(images), "keys": keys, "everywhere": everywhere}


def measured() -> bool:
    """Whether one process may measure a step's memory while the others do not."""
    if rank() != 1:
        return True
    supervisor = prepared("simclr", pictures())
    return footprint.measure(supervisor, "fp32") is not None


def in_a_process(number: int, world: int, port: int, folder: Path) -> None:
    """What each of the processes does; `torchrun` would set the environment."""
    os.environ.update(
        RANK=str(number),
        WORLD_SIZE=str(world),
        LOCAL_RANK=str(number),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of batches so small
    join_processes(torch.device("cpu"))
    try:
        found: dict[Any, Any] = {size: shuffled(size) for size in (4, 32, 64)}
        found["measured"] = measured()
        collectives = Collectives()
        # All of them by two; by four, which take their time, the one of each kind.
        names = list(ALGORITHMS) if world == 2 else ["rotate", "simclr", "moco", "cmc"]
        for name in names:
            algorithm = name.partition(",")[0]
            found[name] = counted(collectives, algorithm, **ALGORITHMS[name])
        torch.save(found, folder / f"{number}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 4])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[Any, Any]]:
    """What each process found, in the order of their numbers."""
    folder, world = tmp_path_factory.mktemp("traffic"), request.param
    run_together(in_a_process, world, world, free_port(), folder)
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(world)]


def test_the_formula_is_what_goes_through_the_collectives(processes: list[dict[Any, Any]]) -> None:
    for name in ALGORITHMS.keys() & processes[0].keys():
        for found in processes:
            expected = Traffic(*found[name]["expected"])
            assert expected.processes == len(processes)
            wanted = {"all_reduce": expected.gradients + expected.returned}
            if expected.gathered:
                wanted["all_gather"] = expected.gathered
            assert found[name]["sent"] == wanted, name  # and no buffer is sent, nor any weight


def test_what_the_formula_says_of_each_algorithm(processes: list[dict[Any, Any]]) -> None:
    world = len(processes)
    gathered = {
        "rotate": 0,
        "simclr": 2 * BATCH * 24 * 8,
        "moco": BATCH * (8 + 3 * 32 * 32) * 8,
        "cmc": BATCH * (8 + 2 * 8 * 8),
    }
    for name, size in gathered.items():
        found = Traffic(*processes[0][name]["expected"])
        assert found.gathered == size, name
        assert found.returned == (world * size if name == "simclr" else 0), name


@pytest.mark.parametrize("batch_size", [4, 32, 64])
def test_keys_are_those_of_a_slow_reference_and_mostly_of_other_groups(
    processes: list[dict[Any, Any]], batch_size: int
) -> None:
    world = len(processes)
    total, groups = world * batch_size, groups_of_process(batch_size, 8, world)
    run: Any = Standing()
    order = order_of_all(run, total)
    assert order.sort().values.tolist() == list(range(total))
    expected = torch.zeros(total, 2, dtype=torch.float64)
    for number in range(world):  # each process encodes a part of the permuted batch, in groups
        for part in order[number * batch_size : (number + 1) * batch_size].tensor_split(groups):
            for image in part.tolist():
                expected[image] = torch.tensor([image, part.double().mean().item()])
    keys, queries = (torch.cat([p[batch_size][k] for p in processes]) for k in ("keys", "queries"))
    torch.testing.assert_close(keys, expected)
    assert queries[:, 0].tolist() == list(range(total))
    for found in processes:
        torch.testing.assert_close(found[batch_size]["everywhere"], expected)
    # Of g groups of as many images, one key in g is encoded where its query is.
    position = order.argsort() * groups * world // total
    is_elsewhere = position != torch.arange(total) * groups * world // total
    share = is_elsewhere.double().mean()
    assert share == pytest.approx(1 - 1 / (groups * world), abs=0.25 if total < 32 else 0.12)
    assert (keys[:, 1] != queries[:, 1])[is_elsewhere].double().mean() > 0.9


def test_one_process_may_measure_alone(processes: list[dict[Any, Any]]) -> None:
    assert all(found["measured"] for found in processes)


@pytest.mark.parametrize(
    ("batch_size", "processes", "groups"),
    [(32, 1, 2), (256, 1, 8), (256, 2, 4), (256, 4, 2), (256, 8, 1), (256, 64, 1), (16, 2, 1)],
)
def test_groups_are_those_of_all_processes_shared_out(
    batch_size: int, processes: int, groups: int
) -> None:
    assert groups_of_process(batch_size, 8, processes) == groups


def test_traffic_of_a_ring_and_of_one_process() -> None:
    supervisor = prepared("simclr", pictures(), embedding_size=24)
    weights = sum(p.nbytes for p in supervisor.parameters() if p.requires_grad)
    views = 2 * 32 * 24 * 8
    found = traffic_of(supervisor, 4, 32, accumulate=2)
    assert found == Traffic(4, weights / 2, views, 4 * views)
    assert found.sent == pytest.approx(1.5 * (weights / 2 + 4 * views) + 3 * views)
    assert traffic_of(supervisor, 1).sent == 0.0
    with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got 0$"):
        traffic_of(supervisor, 2, 0)
