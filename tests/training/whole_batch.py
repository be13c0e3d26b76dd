"""Every algorithm in a few steps, by one process or by several, for tests that compare the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.models import BottleneckMap
from super_selfish.models.discriminators import PairDiscriminator
from super_selfish.supervisors import SUPERVISORS
from super_selfish.training import Callback
from super_selfish.training.callbacks import Step
from tests.conftest import tiny_teacher
from tests.supervisors.test_accumulating import LABELLED, VARIANTS, prepared

IMAGES = 12  # which two, three, and four processes share evenly
LEARNING_RATE = 0.05

Arguments = Callable[[], dict[str, Any]]


def _always(arguments: dict[str, Any]) -> Arguments:
    return lambda: arguments


def _head() -> nn.Module:
    """Of a thousandth of the weights that the default head of a tiny backbone has."""
    return nn.Sequential(nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 12))


def _small() -> nn.Module:
    """Of images of 32x32, 192 numbers."""
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten())


# What is smaller than by default, or of which there are several kinds.
OTHERS: dict[str, list[dict[str, Any]]] = VARIANTS | {
    "context": [{"lambda_adv": 0.5}],
    "cpc": [{"context": "residual", "context_size": 8, "embedding_size": 8}],
    "counting": [{"hidden_size": 20}],
    "barlow_twins": [{"embedding_size": 12, "hidden_size": 20}],
    "vicreg": [{"embedding_size": 12, "hidden_size": 20}],
    "deep_cluster": [{"num_clusters": (5, 4), "embedding_size": 12, "num_small": 1}],
    "lejepa": [
        {"embedding_size": 12, "hidden_size": 20, "num_directions": 30},
        {"num_large": 2, "num_small": 1, "num_directions": 30},
    ],
    "distillation": [
        {"teacher": tiny_teacher()},
        {"teacher": tiny_teacher(), "pseudo_classes": 24, "teacher_size": 24},
    ],
    "nnclr": [
        {"embedding_size": 12, "hidden_size": 20, "prediction_size": 9, "queue_size": 24},
    ],
    # Queues that all images fill, so that what is replaced does not depend on the processes.
    "swav": [{"embedding_size": 12, "num_prototypes": 10, "queue_size": 12, "queue_after": 0}],
    "dino": [{"num_classes": 10, "hidden_size": 12, "bottleneck_size": 6}],
    "colorization": [{"gray_below": 85.0}],  # a mean over places of images with strong colours
    "moco": [{"queue_size": 24}, {"queue_size": 24, "symmetric": True}],
    "multi_task": [{"tasks": ("rotate", "simclr"), "steps": s} for s in ("alternating", "summed")],
}
CASES: dict[str, tuple[str, Arguments]] = {
    f"{name} {number}": (name, _always(arguments))
    for name in sorted(SUPERVISORS)
    for number, arguments in enumerate(OTHERS.get(name, [{}]))
}
OF_HEADS: dict[str, Arguments] = {
    "bigan": lambda: {
        "latent_channels": 4,
        "latent_grid": 2,
        "generator": nn.Sequential(nn.Upsample(scale_factor=16), nn.Conv2d(4, 3, 3, padding=1)),
        "discriminator": PairDiscriminator(_small(), 192, 16, hidden=(12, 8)),
    },
    "exemplar": lambda: {"predictor": _head()},
    "instance": lambda: {"predictor": _head(), "embedding_size": 12},
    "jigsaw": lambda: {
        "predictor": nn.Sequential(BottleneckMap(16, channels=8, size=4), nn.Linear(128, 24))
    },
    "pirl": lambda: {"predictor": _head(), "puzzle_predictor": _head(), "embedding_size": 12},
}
FURTHER: dict[str, list[dict[str, Any]]] = {
    "instance": [{}, {"num_negatives": 5}, {"form": "nce"}],
    "pirl": [{}, {"form": "nce"}],
}
CASES |= {
    f"{name} {number}": (name, lambda make=make, more=more: make() | more)  # type: ignore[misc]
    for name, make in OF_HEADS.items()
    for number, more in enumerate(FURTHER.get(name, [{}]))
}
CASES |= {
    f"label, {kind}": ("label", lambda kind=kind: {"finetune": True, **LABELLED[kind]()})  # type: ignore[misc]
    for kind in LABELLED
}


class Losses(Callback):
    """Those of each step, as they are shown."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def on_step(self, supervisor: Any, step: Step) -> None:
        self.losses.append(step.values["loss"])


def steps(case: str, images: Tensor, processes: int) -> dict[str, Any]:
    """Two updates in float64, with the same views for every image whichever process has it.

    The first one's gradients are averaged in another way than those of the second.

    Args:
        case: One of `CASES`.
        images: `IMAGES` of them.
        processes: That share each batch.

    Returns:
        Loss of each step over all processes, and what the supervisor holds before and after.
    """
    algorithm, arguments = CASES[case]
    torch.manual_seed(0)
    supervisor = prepared(algorithm, images, **arguments())
    noted = Losses()
    before = {name: value.clone() for name, value in supervisor.state_dict().items()}
    supervisor.supervise(
        lr=LEARNING_RATE,
        optimizer=torch.optim.SGD,
        epochs=2,
        batch_size=IMAGES // processes,
        shuffle=False,
        name=None,
        progress=False,
        callbacks=[noted],
    )
    after = dict(supervisor.state_dict())
    for name in [name for name in after if name.endswith("queue.keys") or ".keys" in name]:
        after[name] = after[name][after[name][:, 0].argsort()]  # of a batch in any order
    return {"losses": torch.stack(noted.losses), "before": before, "after": after}


def assert_as_one(found: dict[str, Any], whole: dict[str, Any]) -> None:
    """Asserts that losses and all tensors are those of one process, to 1e-10.

    Args:
        found: What several processes have come to.
        whole: What one has.
    """
    assert found["losses"].dtype == torch.float64
    torch.testing.assert_close(found["losses"], whole["losses"], rtol=1e-10, atol=1e-10)
    moved = 0.0
    for name, value in whole["after"].items():
        torch.testing.assert_close(found["after"][name], value, rtol=1e-10, atol=1e-10, msg=name)
        if value.is_floating_point():
            moved = max(moved, float((value - whole["before"][name]).abs().max()))
    assert moved > 1e-6
