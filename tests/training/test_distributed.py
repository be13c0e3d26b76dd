"""Two processes on one CPU, which train together, beside one that does the whole work.

The two are started once; each writes what it found, and the tests compare.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.data import Batch, Collator, ImageSource, to_unit_range
from super_selfish.losses import info_nce, nt_xent
from super_selfish.models import CombinedNet
from super_selfish.supervisors import (
    InstanceDiscriminationSupervisor,
    MomentumContrastSupervisor,
    MultiTaskSupervisor,
    Supervisor,
)
from super_selfish.training import Callback, EarlyStopping
from super_selfish.training.distributed import (
    gather,
    is_distributed,
    join_processes,
    rank,
    world_size,
)
from super_selfish.training.gradients import parallel
from tests.conftest import TinyBackbone, tiny_teacher
from tests.processes import free_port, run_together
from tests.supervisors.test_accumulating import prepared

WORLD = 2

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)


class Framed(NamedTuple):
    images: Tensor
    targets: Tensor


class BrightnessCollator(Collator):
    """Is the image bright? Nothing is drawn, so processes see what one would see."""

    def __init__(self, threshold: float = 0.3) -> None:
        super().__init__()
        self.threshold = threshold

    def augment(self, batch: Batch, generator: torch.Generator) -> Framed:
        images = to_unit_range(batch.images)
        return Framed(images, (images.mean(dim=(1, 2, 3)) > self.threshold).long())


class PlainBackbone(nn.Module):
    """Without batch norm, whose statistics are those of a process."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).relu().mean(dim=(2, 3))


class WithUnused(PlainBackbone):
    """Has parameters that no loss reaches, one of them inside a layer that is used."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Conv2d(4, 6, 1)
        self.layer.register_parameter("unused", nn.Parameter(torch.ones(3)))


class Sometimes(PlainBackbone):
    """Uses another parameter from the second step on, or one in the first step only."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.first, self.calls = first, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        features = super().forward(images)
        return features * self.scale if (self.calls == 1) == self.first else features


def pictures(count: int = 22) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shades = torch.rand(count, 3, 4, 4, generator=generator)
    return (F.interpolate(shades, size=(32, 32)) * 255).to(torch.uint8)


def plain_run(
    batch_size: int,
    images: int = 22,
    seed: int = 0,
    name: Path | None = None,
    backbone: Callable[[], nn.Module] = PlainBackbone,
    loss: nn.Module | None = None,
    threshold: float = 0.3,
    **more: Any,
) -> dict[str, Tensor]:
    """Weights after three epochs; 22 images leave a rest of 6 of a global batch of 8."""
    torch.manual_seed(seed)
    network = CombinedNet(backbone(), nn.Linear(4, 2))
    loss = nn.CrossEntropyLoss() if loss is None else loss
    supervisor = Supervisor(network, pictures(images), loss, BrightnessCollator(threshold))
    settings = {"lr": 0.5, "optimizer": torch.optim.SGD, "epochs": 3, "name": name, **more}
    supervisor.supervise(batch_size=batch_size, **settings)
    return supervisor.state_dict()


def tasks_run(batch_size: int, steps: Any) -> dict[str, Tensor]:
    """Weights after two tasks have trained one backbone, each by the momentum of its turns."""
    torch.manual_seed(0)
    backbone, images = PlainBackbone(), pictures(24)
    tasks = [
        Supervisor(CombinedNet(backbone, nn.Linear(4, 2)), images, loss, BrightnessCollator(at))
        for at, loss in ((0.3, nn.CrossEntropyLoss()), (0.5, nn.CrossEntropyLoss()))
    ]
    supervisor = MultiTaskSupervisor(tasks, steps=steps)
    sgd = partial(torch.optim.SGD, momentum=0.9)
    supervisor.supervise(lr=0.1, optimizer=sgd, epochs=2, batch_size=batch_size, name=None)
    return supervisor.state_dict()


def weighed_run(batch_size: int, **more: Any) -> dict[str, Tensor]:
    """Batches whose classes weigh so differently that a mean of means is far from the mean."""
    loss = nn.CrossEntropyLoss(torch.tensor([0.1, 3.0]))
    return plain_run(batch_size, loss=loss, threshold=0.5, **more)


def painting_run(batch_size: int, accumulate: int = 1) -> dict[str, Tensor]:
    """ContextNet with the same holes for every image, whichever process has it."""
    supervisor = prepared("context", pictures(), lambda_adv=0.5)
    supervisor.supervise(
        lr=0.5,
        optimizer=torch.optim.SGD,
        epochs=2,
        batch_size=batch_size,
        accumulate=accumulate,
        name=None,
    )
    return supervisor.state_dict()


# What compares the images of a batch, whose processes must see those of all.
OF_A_BATCH: dict[str, dict[str, Any]] = {
    "simclr": {},
    "counting": {"hidden_size": 20},
    "colorization": {"gray_below": 85.0},  # a mean over places of images with strong colours
    "barlow_twins": {"embedding_size": 12, "hidden_size": 20},
    "vicreg": {"embedding_size": 12, "hidden_size": 20},
    "lejepa": {"embedding_size": 12, "hidden_size": 20, "num_directions": 30},
    # A queue that all images fill, so that what is replaced does not depend on the processes.
    # The temperature makes its steps as large as those of others.
    "distillation": {"teacher": tiny_teacher(), "pseudo_classes": 44},  # a queue of all
    "nnclr": {
        "embedding_size": 12,
        "hidden_size": 20,
        "prediction_size": 9,
        "queue_size": 44,
        "temperature": 0.02,
    },
    # Queues that all images fill, so that what is replaced does not depend on the processes.
    "swav": {"embedding_size": 12, "num_prototypes": 10, "queue_size": 22, "queue_after": 0},
    "dino": {"num_classes": 10, "hidden_size": 12, "bottleneck_size": 6},  # a centre of all
}


def comparing_run(algorithm: str, batch_size: int) -> dict[str, Tensor]:
    """With the same views for every image, whichever process has it."""
    supervisor = prepared(algorithm, pictures(), **OF_A_BATCH[algorithm])
    supervisor.supervise(
        lr=0.5, optimizer=torch.optim.SGD, epochs=2, batch_size=batch_size, name=None
    )
    state = supervisor.state_dict()
    for name in [name for name in state if name.endswith(".keys")]:
        state[name] = state[name][state[name][:, 0].argsort()]  # of a batch in any order
    return state


def two_views() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(3)
    return nn.Linear(6, 5), torch.randn(8, 6), torch.randn(8, 6)


def against_all_keys(first: Tensor, second: Tensor) -> Tensor:
    """Each query of this process against the keys of all; its own key is the positive."""
    mine = torch.arange(len(first)) + rank() * len(first)
    keys = gather(second)
    own = mine[:, None] == torch.arange(len(keys))[None, :]
    return info_nce(first, second, keys, 0.3, own)


def of_all_pairs(first: Tensor, second: Tensor) -> Tensor:
    """The same loss in every process, of everything."""
    return nt_xent(gather(first), gather(second), 0.3)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "against all keys": against_all_keys,
    "of all pairs": of_all_pairs,
}


def loss_and_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """For the rows of this process."""
    layer, first, second = two_views()
    rows = slice(rank() * 8 // world_size(), (rank() + 1) * 8 // world_size())
    value = loss(*(F.normalize(layer(view[rows]), dim=1) for view in (first, second)))
    value.backward()
    assert layer.weight.grad is not None
    return value.detach(), layer.weight.grad


def remembering_run(kind: Callable[..., Supervisor], **more: Any) -> dict[str, Tensor]:
    torch.manual_seed(rank())  # initial weights differ until the first process sends its own
    supervisor = kind(pictures(), TinyBackbone(), nn.Linear(16, 8), embedding_size=8, **more)
    supervisor.register_buffer("constant", torch.full((2,), float(rank())))  # buffers as well
    supervisor.supervise(optimizer=torch.optim.SGD, epochs=2, batch_size=4, name=None)
    return supervisor.state_dict()


class Flaky:
    """Of 22 images, 15 cannot be read: processes would be left with batches of several sizes."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> Tensor:
        if index % 3:
            raise OSError("gone")
        return pictures()[index]


def flaky_run(name: Path, epochs: int) -> dict[str, Any]:
    """Goes on where it stopped, if it has begun."""
    torch.manual_seed(0)
    source = ImageSource(Flaky(), on_error="skip")
    supervisor = InstanceDiscriminationSupervisor(
        source, TinyBackbone(), nn.Linear(16, 8), embedding_size=8, num_negatives=4
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="left out: ")
        supervisor.supervise(epochs=epochs, batch_size=4, name=name, resume=epochs > 1)
    assert supervisor.run is not None
    return {"steps": supervisor.run.global_step, "rows": supervisor.state_dict()["bank.rows"]}


def averaged_run(batch_size: int, averaging: str, seed: int = 0) -> dict[str, Any]:
    """Averaged weights of a network with batch norm; every process begins with other ones."""
    torch.manual_seed(seed)
    network = CombinedNet(TinyBackbone(), nn.Linear(16, 2))
    supervisor = Supervisor(network, pictures(), nn.CrossEntropyLoss(), BrightnessCollator(0.3))
    noted = Noted()
    supervisor.supervise(
        lr=0.1, epochs=3, batch_size=batch_size, name=None, averaging=averaging, callbacks=noted
    )
    assert supervisor.averaged is not None
    found = supervisor.averaged.state_dict()
    return {"weights": found["weights"], "updates": found["updates"], "last": noted.last}


def scaled_remarks() -> list[str]:
    """What a run says before its first step whose rate follows from its images."""
    network = CombinedNet(PlainBackbone(), nn.Linear(4, 2))
    supervisor = Supervisor(network, pictures(), nn.CrossEntropyLoss(), BrightnessCollator(0.3))
    supervisor.supervise(lr=1.6, lr_scaling="linear", epochs=1, batch_size=4, name=None)
    assert supervisor.run is not None
    return supervisor.run.remarks


class Noted(Callback):
    """The weights after the last three updates, of the backbone's first layer."""

    def __init__(self) -> None:
        self.last: list[Tensor] = []

    def on_step(self, supervisor: Any, step: Any) -> None:
        self.last.append(supervisor.get_backbone().layers[0].weight.detach().clone())
        del self.last[:-3]


class Differing(Callback):
    """Writes a column that rises in the first process, and falls in the others."""

    def on_epoch(self, supervisor: Any, row: Any) -> None:
        row["score"] = row["epoch"] if dist.get_rank() == 0 else -row["epoch"]


def stopped_epochs() -> int:
    """Epochs of a run that not all processes want to end."""
    torch.manual_seed(0)
    network = CombinedNet(PlainBackbone(), nn.Linear(4, 2))
    supervisor = Supervisor(network, pictures(), nn.CrossEntropyLoss(), BrightnessCollator(0.3))
    callbacks = [Differing(), EarlyStopping("score", patience=2)]
    supervisor.supervise(epochs=6, batch_size=4, name=None, callbacks=callbacks)
    return len(supervisor.history)


def refused(first: bool) -> str:
    """What a run says whose steps do not all use the same parameters."""
    try:
        plain_run(4, backbone=partial(Sometimes, first))
    except RuntimeError as error:
        return str(error)
    return "nothing"


DECAYING: dict[str, Any] = {"optimizer": partial(torch.optim.AdamW, weight_decay=0.5), "lr": 0.01}


def in_a_process(number: int, port: int, folder: Path) -> None:
    """What each of the processes does; `torchrun` would set the environment."""
    os.environ.update(
        RANK=str(number), WORLD_SIZE=str(WORLD), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    join_processes(torch.device("cpu"))
    try:
        part = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) + 10 * number
        part.requires_grad_()
        gathered = gather(part)
        ((number + 1) * torch.arange(8.0).view(4, 2) * gathered).sum().backward()
        found = {
            "is_distributed": is_distributed(),
            "gathered": gathered.detach(),
            "gradient": part.grad,
            "indices": gather(torch.tensor([number, 7])),
            "losses": {name: loss_and_gradient(loss) for name, loss in LOSSES.items()},
            "plain": plain_run(4, seed=number, name=folder / f"run{number}"),
            "accumulated": plain_run(2, accumulate=2),
            "tasks": {steps: tasks_run(4, steps) for steps in ("alternating", "summed")},
            "weighed": [weighed_run(4), weighed_run(2, accumulate=2)],
            "painting": [painting_run(4), painting_run(2, accumulate=2)],
            "comparing": {name: comparing_run(name, 4) for name in OF_A_BATCH},
            "unused": plain_run(4, seed=number, backbone=WithUnused, **DECAYING),
            "refused": [refused(first) for first in (True, False)],
            "stopped": stopped_epochs(),
            "averaged": {kind: averaged_run(4, kind, number) for kind in ("ema", "polyak")},
            "remarks": scaled_remarks(),
            "flaky": [flaky_run(folder / "flaky", epochs) for epochs in (1, 2)],
            "bank": remembering_run(InstanceDiscriminationSupervisor, form="nce"),
            "queue": remembering_run(MomentumContrastSupervisor, queue_size=10),
        }
        torch.save(found, folder / f"{number}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def processes(folder: Path) -> list[dict[str, Any]]:
    """What each process found, in the order of their numbers."""
    run_together(in_a_process, WORLD, free_port(), folder)
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(WORLD)]


def test_parts_are_joined_in_the_order_of_the_processes(processes: list[dict[str, Any]]) -> None:
    for found in processes:
        assert found["is_distributed"]
        expected = [[1.0, 2.0], [3.0, 4.0], [11.0, 12.0], [13.0, 14.0]]
        assert found["gathered"].tolist() == expected
        assert found["indices"].tolist() == [0, 7, 1, 7]


def test_backward_sums_over_processes(processes: list[dict[str, Any]]) -> None:
    # Process r weighs element e of the whole by (r + 1) e: the sum is 3 e.
    whole = 3 * torch.arange(8.0).view(4, 2)
    assert torch.equal(processes[0]["gradient"], whole[:2])
    assert torch.equal(processes[1]["gradient"], whole[2:])


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_processes_is_loss_and_gradient_of_one(
    processes: list[dict[str, Any]], name: str
) -> None:
    loss, gradient = loss_and_gradient(LOSSES[name])
    losses, gradients = zip(*(found["losses"][name] for found in processes), strict=True)
    torch.testing.assert_close(torch.stack(losses).mean(), loss, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.stack(gradients).mean(dim=0), gradient, rtol=0, atol=1e-5)
    assert not torch.allclose(gradients[0], gradients[1])


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=tolerance)


def test_two_processes_train_as_one_with_batches_of_twice_the_size(
    processes: list[dict[str, Any]],
) -> None:
    whole = plain_run(8)
    assert_same(processes[0]["plain"], processes[1]["plain"], 0.0)
    assert_same(processes[0]["plain"], whole, 1e-5)
    untrained = plain_run(8, epochs=0)
    name = "model.predictor.weight"
    assert (whole[name] - untrained[name]).abs().max() > 0.01


@pytest.mark.parametrize("steps", ["alternating", "summed"])
def test_tasks_in_turns_move_only_what_they_use_in_all_processes(
    steps: str, processes: list[dict[str, Any]]
) -> None:
    assert_same(processes[0]["tasks"][steps], processes[1]["tasks"][steps], 0.0)
    assert_same(processes[0]["tasks"][steps], tasks_run(8, steps), 1e-5)


def test_accumulated_batches_of_two_processes_train_as_one(
    processes: list[dict[str, Any]],
) -> None:
    assert_same(processes[0]["accumulated"], processes[1]["accumulated"], 0.0)
    assert_same(processes[0]["accumulated"], plain_run(4, accumulate=2), 1e-5)


@pytest.mark.parametrize(
    ("name", "run", "tolerance"), [("weighed", weighed_run, 1e-5), ("painting", painting_run, 1e-6)]
)
def test_means_over_what_counts_are_those_over_all_processes(
    processes: list[dict[str, Any]],
    name: str,
    run: Callable[[int], dict[str, Tensor]],
    tolerance: float,
) -> None:
    whole = run(8)
    for one, other in zip(*(found[name] for found in processes), strict=True):
        assert_same(one, other, 0.0)
        assert_same(one, whole, tolerance)


@pytest.mark.parametrize("algorithm", OF_A_BATCH)
def test_images_are_told_apart_from_those_of_all_processes(
    processes: list[dict[str, Any]], algorithm: str
) -> None:
    one, other = (found["comparing"][algorithm] for found in processes)
    whole = comparing_run(algorithm, 8)
    untrained = prepared(algorithm, pictures(), **OF_A_BATCH[algorithm]).model
    assert_same(one, other, 0.0)
    assert_same(one, whole, 1e-6)
    moved = [(whole[f"model.{k}"] - p).abs().max() for k, p in untrained.named_parameters()]
    assert max(moved) > 1e-3


def test_parameters_that_no_loss_reaches_are_left_alone(processes: list[dict[str, Any]]) -> None:
    assert_same(processes[0]["unused"], processes[1]["unused"], 0.0)
    whole = plain_run(8, backbone=WithUnused, **DECAYING)
    untrained = plain_run(8, backbone=WithUnused, epochs=0)
    assert_same(processes[0]["unused"], whole, 1e-5)
    for name in ("spare.weight", "spare.bias", "layer.unused"):  # weight decay does not move them
        name = f"model.backbone.{name}"
        assert torch.equal(processes[0]["unused"][name], untrained[name])
        assert torch.equal(whole[name], untrained[name])
    name = "model.backbone.layer.weight"
    assert not torch.equal(whole[name], untrained[name])


def test_steps_that_use_other_parameters_are_refused_in_words(
    processes: list[dict[str, Any]],
) -> None:
    for found in processes:
        fewer, more = found["refused"]
        assert fewer.startswith("a parameter that the first step trained got no gradient")
        assert more.startswith("a parameter of shape [4] gets a gradient, but got none in the ")


def test_unreadable_images_leave_batches_of_one_size_in_all_processes(
    processes: list[dict[str, Any]],
) -> None:
    first, second = (found["flaky"] for found in processes)
    assert [run["steps"] for run in first] == [run["steps"] for run in second] == [3, 6]
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours["rows"], theirs["rows"])


def test_all_processes_stop_where_one_does(processes: list[dict[str, Any]]) -> None:
    assert [found["stopped"] for found in processes] == [3, 3]


def test_the_first_process_alone_stores(processes: list[dict[str, Any]], folder: Path) -> None:
    assert (folder / "run0.pt").is_file()
    assert not (folder / "run1.pt").exists()


@pytest.mark.parametrize(
    ("run", "memories"),
    [
        ("bank", ["bank.rows", "loss.log_normalizer"]),
        ("queue", ["queue.keys", "queue.pointer", "queue.num_valid"]),
    ],
)
def test_memories_stay_equal_though_they_are_not_sent(
    processes: list[dict[str, Any]], run: str, memories: list[str]
) -> None:
    first, second = (found[run] for found in processes)
    for name in memories:
        assert torch.equal(first[name], second[name])
        assert first[name].isfinite().all()
    assert first["constant"].tolist() == second["constant"].tolist() == [0.0, 0.0]
    for name in ("layers.0.weight", "layers.1.running_mean"):  # statistics are the first one's
        assert torch.equal(first[f"model.backbone.{name}"], second[f"model.backbone.{name}"])


def test_with_one_process_everything_does_nothing() -> None:
    layer, part = nn.Linear(2, 2), torch.ones(3, 2)
    join_processes(torch.device("cpu"))
    assert not is_distributed()
    assert (rank(), world_size()) == (0, 1)
    assert gather(part) is part
    with parallel(layer) as step:
        assert step is layer


@pytest.mark.parametrize("kind", ["ema", "polyak"])
def test_averaged_weights_are_the_same_in_every_process(
    processes: list[dict[str, Any]], kind: str
) -> None:
    first, second = (found["averaged"][kind] for found in processes)
    assert first["updates"] == second["updates"] == {"ema": 9, "polyak": 2}[kind]
    for name, tensor in first["weights"].items():  # statistics of batch norm among them
        assert torch.equal(tensor, second["weights"][name])
    if kind == "polyak":
        expected = torch.stack(first["last"][-2:]).mean(0)
        torch.testing.assert_close(first["weights"]["layers.0.weight"], expected)


def test_a_rate_of_several_processes_is_that_of_all_their_images(
    processes: list[dict[str, Any]],
) -> None:
    said = processes[0]["remarks"]
    assert (
        'lr_scaling="linear": lr=1.6 for 256 images is 0.05 for the 8 of an update '
        "(4 images x 2 processes)" in said
    )
    assert "2 processes, 2 x 4 = 8 images a step" in said  # and not that lr is taken as given
