"""Batches that are accumulated make the update of the one batch that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from super_selfish.data.collate import Batch, Collator
from super_selfish.supervisors import SUPERVISORS, LabelSupervisor, MultiTaskSupervisor, Supervisor
from tests.conftest import TinyBackbone, backbone_for

# What one batch of 22 images shares, and does not belong to an image.
SHARED = {"negatives"}
# Compare the images of a batch.
OF_A_BATCH = {"counting", "cpc", "simclr", "barlow_twins", "vicreg", "nnclr", "swav", "lejepa"}
# Several tasks take turns: an update is one of other tasks.
ALIKE = sorted(set(SUPERVISORS) - OF_A_BATCH - {"multi_task"})


class Prepared(Collator):
    """Gives the rows of views that were drawn once, so that they do not depend on batches."""

    def __init__(self, data: Any, number: int) -> None:
        super().__init__()
        self.data = data
        self.number = number

    def augment(self, batch: Batch, generator: torch.Generator) -> Any:
        values = {}
        for name, value in self.data._asdict().items():
            of_image = name not in SHARED and value is not None and len(value) == self.number
            values[name] = value[batch.index] if of_image else value
        if "order" in values:  # of MoCo's keys, in their batch
            values["order"] = torch.arange(len(batch.index))
        return type(self.data)(**values)


def without_norms(network: nn.Module) -> None:
    for name, part in list(network.named_children()):
        if isinstance(part, _BatchNorm):
            setattr(network, name, nn.Identity())
        else:
            without_norms(part)


def doubled(value: Any) -> Any:
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if is_float else value


def prepared(
    algorithm: str, images: Tensor, *, norms: bool = False, **arguments: Any
) -> Supervisor:
    """In float64, with the same views for every image whatever its batch."""
    torch.manual_seed(0)
    kind = LabelSupervisor if algorithm == "label" else SUPERVISORS[algorithm]
    supervisor = kind(images, backbone=backbone_for(algorithm), **arguments)
    if not norms:
        without_norms(supervisor)
    supervisor.double()
    labels = None
    if algorithm == "label":
        labels = LABELS[arguments.get("num_classes", 0)][: len(images)]
    for task in supervisor.tasks if isinstance(supervisor, MultiTaskSupervisor) else [supervisor]:
        draw_views(task, images, labels)
    return supervisor


def draw_views(supervisor: Supervisor, images: Tensor, labels: Tensor | None = None) -> None:
    assert isinstance(supervisor.collate_fn, Collator)
    batch = Batch(images, torch.arange(len(images)), labels)
    data = supervisor.collate_fn.augment(batch, torch.Generator().manual_seed(0))
    data = type(data)(*map(doubled, data))
    supervisor.collate_fn = Prepared(data, len(images))


def trained(
    algorithm: str,
    images: Tensor,
    batch_size: int,
    accumulate: int,
    monkeypatch: pytest.MonkeyPatch,
    epochs: int = 2,
    **arguments: Any,
) -> Supervisor:
    supervisor = prepared(algorithm, images, **arguments)
    supervisor.supervise(
        lr=0.5,
        optimizer=torch.optim.SGD,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        shuffle=False,
        name=None,
        progress=False,
    )
    return supervisor


def weights() -> Tensor:
    return torch.tensor([0.2, 1.0, 5.0], dtype=torch.float64)


def striped_masks() -> Tensor:
    """Of 22 images, `[22, 32, 32]`: the later one is, the more of it does not count."""
    masks = torch.arange(22)[:, None, None] * torch.arange(32)[:, None] * torch.arange(32) % 3
    masks[torch.arange(32)[None, :] < torch.arange(22)[:, None]] = 255
    return masks


class MapHead(nn.Conv2d):
    wants_map = True

    def __init__(self) -> None:
        super().__init__(16, 3, 1)


# By the number of classes that are asked for; with masks, none.
LABELS = {0: striped_masks(), 3: torch.arange(22) ** 2 // 8 % 3, 4: torch.arange(22) % 5 - 1}
LABELS[4][LABELS[4] < 0] = -100
LABELLED: dict[str, Callable[[], dict[str, Any]]] = {
    "masks": lambda: {"predictor": MapHead(), "loss": nn.CrossEntropyLoss(ignore_index=255)},
    "weighed masks": lambda: {
        "predictor": MapHead(),
        "loss": nn.CrossEntropyLoss(weights(), ignore_index=255),
    },
    "weighed classes": lambda: {
        "num_classes": 3,
        "loss": nn.CrossEntropyLoss(weights(), label_smoothing=0.1),
    },
    "images that do not count": lambda: {"num_classes": 4},
}

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "cmc": [{}, {"positives": "batch"}],
    "moco": [{"queue_size": 30}, {"queue_size": 44, "symmetric": True}],
    "instance": [{}, {"num_negatives": 5}],
    "byol": [{"embedding_size": 12, "hidden_size": 20}],
    "deep_cluster": [{"num_clusters": (5, 4), "embedding_size": 12, "hidden_size": 20}],
    "simsiam": [{"embedding_size": 12, "hidden_size": 20}],
}


@pytest.mark.parametrize(
    ("algorithm", "arguments", "batch_size", "accumulate"),
    [
        ("moco", {"queue_size": 30}, 6, 5),  # 6 6 6 4, of five that would fit
        *((name, each, 8, 3) for name in ALIKE for each in VARIANTS.get(name, [{}])),  # 8 8 6
    ],
)
def test_accumulated_batches_move_everything_as_one_batch_does(
    algorithm: str,
    arguments: dict[str, Any],
    batch_size: int,
    accumulate: int,
    images: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = trained(algorithm, images, 22, 1, monkeypatch, **arguments)
    parts = trained(algorithm, images, batch_size, accumulate, monkeypatch, **arguments)
    expected, found = whole.state_dict(), parts.state_dict()
    moved = 0.0
    for name, value in prepared(algorithm, images, **arguments).state_dict().items():
        if name == "queue.keys":  # of both directions, the keys of a batch lie side by side
            expected[name], found[name] = (
                state[name][state[name][:, 0].argsort()] for state in (expected, found)
            )
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-9)
        if value.is_floating_point():
            moved = max(moved, float((expected[name] - value).abs().max()))
    assert moved > 1e-3


@pytest.mark.parametrize(("batch_size", "accumulate"), [(12, 2), (6, 4)])  # 12 10, 6 6 6 4
@pytest.mark.parametrize("of", ["context", *LABELLED])
def test_means_over_what_counts_are_those_of_the_one_batch(
    of: str, batch_size: int, accumulate: int, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings() -> dict[str, Any]:
        torch.manual_seed(0)
        return {"lambda_adv": 0.5} if of == "context" else {"finetune": True, **LABELLED[of]()}

    algorithm = "context" if of == "context" else "label"
    before = prepared(algorithm, images, **settings()).state_dict()
    whole, parts = (
        trained(algorithm, images, *each, monkeypatch, epochs=1, **settings()).state_dict()
        for each in ((22, 1), (batch_size, accumulate))
    )
    assert max(float((whole[name] - value).abs().max()) for name, value in before.items()) > 1e-3
    for name in before:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("algorithm", sorted(OF_A_BATCH))
def test_images_of_a_whole_batch_are_compared_nearly_as_those_of_its_parts(
    algorithm: str, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CPC tells a patch from those of its batch, so with fewer of them the loss is lower.
    # SwAV in batches of fewer images than prototypes would ask a queue.
    is_swav = algorithm == "swav"
    arguments: dict[str, Any] = {"num_prototypes": 5, "queue_size": 0} if is_swav else {}
    before = prepared(algorithm, images, **arguments).state_dict()
    whole = trained(algorithm, images, 22, 1, monkeypatch, epochs=1, **arguments).state_dict()
    parts = trained(algorithm, images, 8, 3, monkeypatch, epochs=1, **arguments).state_dict()
    names = [name for name, value in before.items() if value.is_floating_point()]
    moved, expected = (
        torch.cat([(state[name] - before[name]).flatten() for name in names])
        for state in (parts, whole)
    )
    assert float(torch.cosine_similarity(moved, expected, dim=0)) > 0.9
    assert not torch.allclose(moved, expected, rtol=1e-6, atol=0)


def written(supervisor: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Notes in which order queries are compared and memories are written."""
    noted: list[tuple[str, int]] = []
    memory = getattr(supervisor, "queue", None) or supervisor.bank
    name = "enqueue" if hasattr(memory, "enqueue") else "update"
    for_real, forward = getattr(memory, name), supervisor._forward

    def write(*values: Tensor) -> None:
        noted.append(("write", len(values[0])))
        for_real(*values)

    def noting(data: Any) -> Any:
        noted.append(("batch", len(data[0])))
        return forward(data)

    monkeypatch.setattr(memory, name, write)
    monkeypatch.setattr(supervisor, "_forward", noting)
    return noted


@pytest.mark.parametrize("algorithm", ["instance", "moco", "nnclr", "pirl"])
def test_memories_are_written_when_the_batches_of_an_update_are_through(
    algorithm: str, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = SUPERVISORS[algorithm](images, backbone=TinyBackbone())
    noted = written(supervisor, monkeypatch)
    supervisor.supervise(epochs=1, batch_size=6, accumulate=2, name=None, progress=False)
    of_two = [("batch", 6), ("batch", 6), ("write", 6), ("write", 6)]
    assert noted == [*of_two, ("batch", 6), ("batch", 4), ("write", 6), ("write", 4)]
    noted.clear()
    supervisor.supervise(epochs=1, batch_size=12, name=None, progress=False)
    assert [kind for kind, _ in noted] == ["batch", "write"] * 2


@pytest.mark.parametrize("algorithm", ["cmc", "instance", "pirl"])
def test_that_memories_change_is_seen_amid_an_update(algorithm: str, images: Tensor) -> None:
    changes = []
    for accumulate in (1, 3):
        torch.manual_seed(0)
        supervisor = SUPERVISORS[algorithm](images, backbone=TinyBackbone(), bank_momentum=0.5)
        supervisor.supervise(
            lr=0.0, epochs=1, batch_size=8, accumulate=accumulate, name=None, progress=False
        )
        changes.append(supervisor.history[0]["memory_change"])
    assert changes[0] > 0.1
    assert changes[1] == pytest.approx(changes[0], rel=1e-6)


class StopError(Exception):
    pass


@pytest.mark.parametrize("algorithm", ["byol", "deep_cluster", "instance", "moco"])
def test_a_run_that_breaks_off_amid_an_update_is_resumed_to_the_same_numbers(
    algorithm: str, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 6,
        "accumulate": 2,
        "checkpoint_every": 2,
        "progress": False,
    }

    def built() -> Supervisor:
        torch.manual_seed(0)
        supervisor = SUPERVISORS[algorithm](images, backbone=TinyBackbone())
        without_norms(supervisor)
        return supervisor

    whole, stopped, resumed = built(), built(), built()
    whole.supervise(**settings, name=None)
    forward = stopped._forward

    def stopping(data: Any) -> Any:
        assert stopped.run is not None
        if stopped.run.global_step == 7:  # the second batch of its update
            raise StopError
        return forward(data)

    monkeypatch.setattr(stopped, "_forward", stopping)
    with pytest.raises(StopError):
        stopped.supervise(**settings, name=tmp_path / "base")
    resumed.supervise(**settings, name=tmp_path / "base", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert resumed.history[-1]["loss"] == whole.history[-1]["loss"]


def test_after_a_run_a_supervisor_that_is_called_writes_at_once(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor: Any = SUPERVISORS["moco"](images, backbone=TinyBackbone())
    assert isinstance(supervisor.collate_fn, Collator)
    batch = Batch(images, torch.arange(len(images)))
    data = supervisor.collate_fn.augment(batch, torch.Generator().manual_seed(0))

    def failing(data: Any) -> Any:
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(supervisor, "_forward", failing)
        with pytest.raises(StopError):
            supervisor.supervise(batch_size=4, accumulate=3, name=None, progress=False)
    before = supervisor.queue.keys.clone()
    supervisor.train()(data)
    assert not torch.equal(supervisor.queue.keys, before)
