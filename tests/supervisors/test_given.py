"""What people give `supervise()` and the constructors, and what they are told."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

from super_selfish.evaluation import Monitor
from super_selfish.supervisors import (
    BYOLSupervisor,
    LabelSupervisor,
    MomentumContrastSupervisor,
    RotateNetSupervisor,
    Supervisor,
)
from super_selfish.supervisors.diagnostics import HealthWarning
from super_selfish.training.optimizers import LARS

Backbones = Callable[..., nn.Module]
SGD = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
OPTIMIZER = (
    "optimizer is a class such as torch.optim.AdamW, a function of the parameters and lr, or "
    '"adam", "adamw", "sgd", "lars", "lamb", got '
)
SCHEDULE = 'lr_scheduler is a function of the optimizer, or a name such as "cosine"'
PLATEAU = (
    "ReduceLROnPlateau waits for a measurement after every epoch, and there is none that says when "
    'a pretext task is learnt: use "cosine", or another of torch.optim.lr_scheduler'
)
NAME = 'name must be a path such as "store/base", or None to store nothing'
MONITOR = "give monitor=Monitor(), from super_selfish.evaluation"

REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epochs": 1.5}, ValueError, "epochs must be a whole number, got 1.5"),
    ({"epochs": -1}, ValueError, "epochs must be at least 0, got -1"),
    (
        {"lr": "1e-3"},
        TypeError,
        "lr must be a number, got the text '1e-3': write lr=0.001, without quotes (YAML takes 1e-3 "
        "for a text, and 1.0e-3 for a number)",
    ),
    ({"lr": -0.1}, ValueError, "lr must be at least 0, got -0.1"),
    ({"lr": float("inf")}, ValueError, "lr must be finite, got inf"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    (
        {"batch_size": "8"},
        TypeError,
        "batch_size must be a whole number, or \"auto\", got the text '8'",
    ),
    ({"num_workers": -1}, ValueError, "num_workers must be at least 0, got -1"),
    ({"accumulate": 0}, ValueError, "accumulate must be at least 1, got 0"),
    ({"seed": "a"}, TypeError, "seed must be a whole number, got the text 'a'"),
    ({"shuffle": "False"}, TypeError, "shuffle must be True or False, got the text 'False'"),
    ({"channels_last": "no"}, TypeError, "channels_last must be True or False, got the text 'no'"),
    ({"clip_norm": 0}, ValueError, "clip_norm must be positive, got 0"),
    (
        {"weight_decay": (0.04, -0.4)},
        ValueError,
        "weight_decay must be finite and not negative, got -0.4",
    ),
    (
        {"weight_decay": 0.05, "optimizer": partial(torch.optim.AdamW, weight_decay=0.3)},
        ValueError,
        "weight_decay=0.05 and the 0.3 of optimizer= are two weight decays: give one of them",
    ),
    (
        {"pretrained": "a/b"},
        TypeError,
        "pretrained must be True or False, got the text 'a/b': where from is told by name='a/b'",
    ),
    (
        {"name": "dir/"},
        ValueError,
        "name='dir/' is a folder: name is the path of a file without its ending, such as "
        "'dir/base'",
    ),
    ({"name": ""}, ValueError, f"{NAME}; it is empty"),
    ({"name": 3}, TypeError, f"{NAME}, got 3"),
    (
        {"name": None, "resume": True},
        ValueError,
        "resume=True goes on from the checkpoint at name=, but name=None has none: give the name "
        "of the run",
    ),
    (
        {"name": None, "pretrained": True},
        ValueError,
        "pretrained=True begins with the checkpoint at name=, but name=None has none: give the "
        "name of the run",
    ),
    ({"optimizer": "adamax"}, ValueError, f"{OPTIMIZER}'adamax': did you mean \"adam\"?"),
    (
        {"optimizer": SGD},
        TypeError,
        f"{OPTIMIZER}an SGD that has its parameters already: give SGD, or partial(SGD, ...) with "
        "its settings",
    ),
    ({"lr_scheduler": ReduceLROnPlateau}, TypeError, PLATEAU),
    (
        {"lr_scheduler": StepLR(SGD, 1)},
        TypeError,
        f"{SCHEDULE}, got a StepLR that has its optimizer already: give partial(StepLR, ...)",
    ),
    (
        {"monitor": True},
        TypeError,
        f"monitor must be an object such as Monitor(), got True: {MONITOR}",
    ),
    (
        {"monitor": Monitor},
        TypeError,
        f"monitor must be an object such as Monitor(), got the class Monitor: {MONITOR}",
    ),
    (
        {"precision": "bfloat16"},
        ValueError,
        "precision is one of ['bf16', 'fp16', 'fp32', 'auto'], got 'bfloat16'",
    ),
    (
        {"cache": True},
        TypeError,
        'cache must be the path of a file, such as "store/images", got True',
    ),
    (
        {"checkpoint_every": True},
        TypeError,
        'checkpoint_every must be a number of steps, or a time such as "10min", got True',
    ),
]


@pytest.mark.parametrize(
    ("settings", "kind", "sentence"), REFUSED, ids=[str(list(case[0])) for case in REFUSED]
)
def test_supervise_says_what_it_wants(
    settings: dict[str, Any],
    kind: type[Exception],
    sentence: str,
    images: Tensor,
    tiny_backbone: Backbones,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as caught:
        RotateNetSupervisor(images, tiny_backbone()).supervise(**{"epochs": 1, **settings})
    assert str(caught.value) == sentence
    assert not list(tmp_path.rglob("*.pt"))


def trained(images: Tensor, backbone: nn.Module, **settings: Any) -> Supervisor:
    supervisor = RotateNetSupervisor(images, backbone, device="cpu")
    return supervisor.supervise(**{"epochs": 2, "batch_size": 8, "name": None, **settings})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"batch_size": 8.0}, {}),
        ({"batch_size": np.int64(8), "epochs": np.float64(2), "lr": np.float32(0.5)}, {"lr": 0.5}),
        ({"shuffle": np.bool_(False)}, {"shuffle": False}),
        ({"monitor": False, "lr_scheduler": None}, {}),
        ({"precision": torch.bfloat16}, {"precision": "bf16"}),
        ({"optimizer": "AdamW"}, {"optimizer": torch.optim.AdamW}),
        (
            {"optimizer": "sgd"},
            {"optimizer": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4)},
        ),
        ({"optimizer": "lars"}, {"optimizer": LARS}),
    ],
)
def test_what_is_meant_trains_the_same_weights(
    given: dict[str, Any], meant: dict[str, Any], images: Tensor, tiny_backbone: Backbones
) -> None:
    runs = []
    for settings in (given, meant):
        torch.manual_seed(0)
        runs.append(trained(images, tiny_backbone(), **settings))
    first, second = (run.state_dict() for run in runs)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    batch_size = runs[0].run.batch_size  # type: ignore[union-attr]
    assert type(batch_size) is int


def test_every_argument_is_looked_at_by_its_type() -> None:
    known = {"bool", "int", "float", "float | None", "bool | None"}
    for name, parameter in inspect.signature(Supervisor.supervise).parameters.items():
        if parameter.annotation in known or name == "self":
            continue
        # These have a look of their own, or say themselves what they want.
        assert name in {
            *("optimizer", "name", "lr_scheduler", "precision", "checkpoint_every", "cache"),
            *(
                "monitor",
                "callbacks",
                "time_limit",
                "batch_size",
                "on_nan",
                "keep_last",
                "worker_timeout",
                "devices",
                "averaging",
                "lr_scaling",
                "steps_per_epoch",
                "weight_decay",
            ),
        }, name


@pytest.mark.parametrize(
    ("lr", "warns"), [(1e8, True), (1e-3, False)], ids=["exploding", "ordinary"]
)
def test_a_loss_that_explodes_is_told_at_once(
    lr: float, warns: bool, images: Tensor, tiny_backbone: Backbones
) -> None:
    if not warns:
        trained(images, tiny_backbone(), lr=lr)
        return
    with pytest.warns(HealthWarning) as caught:
        supervisor = trained(images, tiny_backbone(), lr=lr)
    first = supervisor.run.history.first_loss  # type: ignore[union-attr]
    loss = supervisor.history[0]["loss"]
    assert [str(warning.message) for warning in caught] == [
        f"epoch 1: the loss is {loss:.3g}, and began at {first:.3g}: training diverges. Lower lr "
        "(now 1e+08), or give clip_norm=1.0"
    ]
    assert 1.0 < first < 2.0 and loss > 1e6


Maker = Callable[[Tensor, nn.Module], Any]
CONSTRUCTORS: list[tuple[Maker, type[Exception], str]] = [
    (
        lambda images, net: RotateNetSupervisor(images, net, nn.Linear(7, 4)),
        ValueError,
        "predictor= (Linear) could not take what the backbone gives it, features [B, 16]: the "
        "backbone, TinyBackbone, gives 16 numbers an image, but the predictor takes 7: make its "
        "first layer nn.Linear(16, ...)",
    ),
    (
        lambda images, net: BYOLSupervisor(images, net, nn.Linear(7, 4)),
        ValueError,
        "predictor= (Linear) could not take what the backbone gives it, features [B, 16]: the "
        "backbone, TinyBackbone, gives 16 numbers an image, but the predictor takes 7: make its "
        "first layer nn.Linear(16, ...)",
    ),
    (
        lambda images, net: LabelSupervisor(images, net, nn.Linear(7, 4)),
        ValueError,
        "predictor= (Linear) could not take what the backbone gives it, features [B, 16]: the "
        "backbone, TinyBackbone, gives 16 numbers an image, but the predictor takes 7: make its "
        "first layer nn.Linear(16, ...)",
    ),
    (
        lambda images, net: RotateNetSupervisor(images, nn.Conv2d(5, 2, 1)),
        ValueError,
        "the backbone Conv2d could not take images of shape (1, 3, 32, 32): Given groups=1, weight "
        "of size [2, 5, 1, 1], expected input[1, 3, 32, 32] to have 5 channels, but got 3 channels "
        "instead",
    ),
    (
        lambda images, net: RotateNetSupervisor(images, type(net)),  # type: ignore[arg-type]
        TypeError,
        "backbone must be an object, got the class TinyBackbone: give TinyBackbone(...)",
    ),
    (
        lambda images, net: RotateNetSupervisor(images, net, crop="False"),  # type: ignore[arg-type]
        TypeError,
        "crop must be True or False, got the text 'False'",
    ),
    (
        lambda images, net: MomentumContrastSupervisor(images, net, temperature="0.2"),  # type: ignore[arg-type]
        TypeError,
        "temperature must be a number, got the text '0.2': write temperature=0.2, without quotes",
    ),
    (
        lambda images, net: RotateNetSupervisor(images, net, image_size=True),
        TypeError,
        "image_size must be a whole number, got True",
    ),
    (
        lambda images, net: RotateNetSupervisor(images, net, image_size="64"),  # type: ignore[arg-type]
        TypeError,
        "image_size must be one number or (height, width), got '64'",
    ),
    (
        lambda images, net: RotateNetSupervisor("", net),
        ValueError,
        "expected a folder of images, but the path is empty",
    ),
    (
        lambda images, net: RotateNetSupervisor(DataLoader(TensorDataset(images)), net),
        TypeError,
        "expected a data set, got a DataLoader, which makes batches of its own: give "
        "loader.dataset, and batch_size= and num_workers= to supervise()",
    ),
]


@pytest.mark.parametrize(("make", "kind", "sentence"), CONSTRUCTORS)
def test_constructors_say_what_they_want(
    make: Maker, kind: type[Exception], sentence: str, images: Tensor, tiny_backbone: Backbones
) -> None:
    with pytest.raises(kind) as caught:
        make(images, tiny_backbone())
    assert str(caught.value) == sentence


def test_constructors_take_numbers_of_numpy_and_keep_plain_ones(
    images: Tensor, tiny_backbone: Backbones
) -> None:
    supervisor = MomentumContrastSupervisor(
        images,
        tiny_backbone(),
        temperature=np.float64(0.5),
        queue_size=12.0,  # type: ignore[arg-type]
        image_size=np.array([40, 48]),  # type: ignore[arg-type]
        symmetric=np.bool_(True),  # type: ignore[arg-type]
    )
    kept = [supervisor.arguments[n] for n in ("temperature", "queue_size", "symmetric")]
    assert kept == [0.5, 12, True] and [type(k) for k in kept] == [float, int, bool]
    assert supervisor.image_size == (40, 48)
