from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from super_selfish.evaluation.features import LabelledSource, open_data
from super_selfish.evaluation.finetune import FinetuneResult, finetune
from super_selfish.evaluation.protocols import expand_protocols
from super_selfish.evaluation.scoring import Subject
from super_selfish.models import AlexNet, Normalize
from super_selfish.models.freezing import freeze_until
from super_selfish.supervisors import LabelSupervisor
from tests.conftest import TinyBackbone

Backbone = Callable[..., TinyBackbone]


def striped(count: int, seed: int, names: tuple[int, ...] = (3, 7)) -> tuple[Tensor, Tensor]:
    """Images of horizontal or vertical stripes in noise, and which."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(2, (count,), generator=generator)
    stripes = (torch.arange(32) // 4 % 2).float()
    images = torch.where(kinds[:, None, None] == 0, stripes[None, :, None], stripes[None, None, :])
    noisy = images[:, None] * 0.5 + 0.5 * torch.rand(count, 3, 32, 32, generator=generator)
    return (noisy * 255).to(torch.uint8), torch.tensor(names)[kinds]


TRAIN, TEST = open_data(striped(48, seed=0)), open_data(striped(40, seed=1))
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lrs": [0.01]}


def accuracy(result: FinetuneResult, test: LabelledSource) -> float:
    assert test.labels is not None
    predictions = result.classes[result.logits.argmax(dim=1)]
    return (predictions == test.labels).float().mean().item()


def snapshot(module: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def test_learns_what_can_be_told_apart(tiny_backbone: Backbone) -> None:
    result = finetune(
        tiny_backbone(), TRAIN, TEST, lrs=[0.03], epochs=20, batch_size=16, backbone_lr_factor=0.5
    )
    assert accuracy(result, TEST) > 0.9
    assert result.logits.shape == (40, 2)
    assert result.classes.tolist() == [3, 7]


def test_the_backbone_is_left_as_it_is_to_the_last_bit(tiny_backbone: Backbone) -> None:
    backbone = tiny_backbone()
    backbone.layers[1].eval()
    backbone.layers[0].weight.requires_grad_(False)
    before, modes = snapshot(backbone), [part.training for part in backbone.modules()]
    finetune(backbone, TRAIN, TEST, freeze_until="layers.3", **QUICK)
    assert all(torch.equal(a, b) for a, b in zip(before, snapshot(backbone), strict=True))
    assert modes == [part.training for part in backbone.modules()]
    assert [p.requires_grad for p in backbone.parameters()] == [False] + [True] * 7
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_the_same_seed_gives_the_same_logits_and_leaves_the_global_stream(
    tiny_backbone: Backbone,
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(5)
        runs.append(finetune(tiny_backbone(), TRAIN, TEST, seed=seed, **QUICK).logits)
        assert torch.equal(torch.rand(3), expected)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_choice_and_the_logits_never_see_test_labels(tiny_backbone: Backbone) -> None:
    images, labels = striped(40, seed=1)
    shuffled = open_data((images, labels.flip(0)))
    settings = {"lrs": [1e-4, 0.02], "epochs": 3, "batch_size": 16}
    one = finetune(tiny_backbone(), TRAIN, TEST, **settings)  # type: ignore[arg-type]
    other = finetune(tiny_backbone(), TRAIN, shuffled, **settings)  # type: ignore[arg-type]
    assert one.settings == other.settings
    assert one.validation == other.validation
    assert torch.equal(one.logits, other.logits)


def test_the_test_images_change_no_choice(tiny_backbone: Backbone) -> None:
    settings = {"lrs": [1e-4, 0.02], "epochs": 1, "batch_size": 16}
    one = finetune(tiny_backbone(), TRAIN, TEST, **settings)  # type: ignore[arg-type]
    others = open_data(striped(6, seed=9))
    other = finetune(tiny_backbone(), TRAIN, others, **settings)  # type: ignore[arg-type]
    assert (one.settings, one.validation) == (other.settings, other.validation)


def test_the_best_on_held_out_images_is_chosen(tiny_backbone: Backbone) -> None:
    result = finetune(
        *(tiny_backbone(), TRAIN, TEST),
        lrs=[1e-6, 0.03],
        epochs=[1, 12],
        batch_size=16,
        backbone_lr_factor=1.0,
    )
    assert set(result.validation) == {(1e-6, 1), (1e-6, 12), (0.03, 1), (0.03, 12)}
    chosen = (result.settings["lr"], int(result.settings["epochs"]))
    assert result.validation[chosen] == max(result.validation.values())
    assert chosen[0] == 0.03


def test_one_candidate_needs_no_held_out_images(tiny_backbone: Backbone) -> None:
    images, labels = striped(48, seed=0)
    first = torch.tensor([(labels == label).nonzero()[0] for label in (3, 7)])
    two = open_data((images[first], labels[first]))
    result = finetune(tiny_backbone(), two, TEST, **QUICK)
    assert result.validation == {}
    assert result.settings == {"lr": 0.01, "epochs": 2, "backbone_lr_factor": 0.3}
    with pytest.raises(ValueError, match="no class has two training images"):
        finetune(tiny_backbone(), two, TEST)


def test_a_learning_rate_that_diverges_is_not_chosen(tiny_backbone: Backbone) -> None:
    settings = {"epochs": 3, "batch_size": 16, "weight_decay": 0.5}
    result = finetune(tiny_backbone(), TRAIN, TEST, lrs=[0.01, 1e30], **settings)  # type: ignore[arg-type]
    assert result.settings["lr"] == 0.01
    assert result.validation[1e30, 3] == float("-inf")
    with pytest.raises(ValueError, match="diverged with every learning rate"):
        finetune(tiny_backbone(), TRAIN, TEST, lrs=[1e29, 1e30], **settings)  # type: ignore[arg-type]


def test_a_backbone_of_which_a_part_is_frozen_keeps_it(tiny_backbone: Backbone) -> None:
    backbone = tiny_backbone()
    freeze_until(backbone, "layers.3")
    frozen = finetune(backbone, TRAIN, TEST, **QUICK)
    named = finetune(tiny_backbone(), TRAIN, TEST, freeze_until="layers.3", **QUICK)
    free = finetune(tiny_backbone(), TRAIN, TEST, **QUICK)
    assert torch.equal(frozen.logits, named.logits)
    assert not torch.equal(frozen.logits, free.logits)


def test_images_are_preprocessed_in_training_and_in_the_test(tiny_backbone: Backbone) -> None:
    images, labels = striped(48, seed=0)
    brighter = open_data((images.float() / 255, labels))
    halved = open_data((images.float() / 510, labels))
    double = Normalize([0.0] * 3, [0.5] * 3)
    expected = finetune(tiny_backbone(), brighter, brighter, **QUICK)
    result = finetune(tiny_backbone(), halved, halved, preprocess=double, **QUICK)
    assert torch.allclose(result.logits, expected.logits, atol=1e-5)


def test_labels_may_be_those_of_the_dataset(tiny_backbone: Backbone) -> None:
    images, labels = striped(48, seed=0)
    own = open_data(TensorDataset(images, labels))
    assert own.labels is None
    result = finetune(tiny_backbone(), own, TEST, **QUICK)
    apart = finetune(tiny_backbone(), TRAIN, TEST, **QUICK)
    assert torch.equal(result.logits, apart.logits)
    assert torch.equal(result.classes, apart.classes)


def test_labels_given_apart_outrank_those_of_the_dataset(tiny_backbone: Backbone) -> None:
    images, labels = striped(48, seed=0)
    wrong = TensorDataset(images, torch.zeros(48, dtype=torch.int64))
    result = finetune(tiny_backbone(), open_data((wrong, labels)), TEST, **QUICK)
    assert torch.equal(result.logits, finetune(tiny_backbone(), TRAIN, TEST, **QUICK).logits)


def test_images_without_a_label_teach_nothing(tiny_backbone: Backbone) -> None:
    images, labels = striped(48, seed=0)
    some = labels.clone()
    some[::4] = -1
    result = finetune(tiny_backbone(), open_data((images, some)), TEST, **QUICK)
    left = open_data((images[some != -1], labels[some != -1]))
    assert torch.equal(result.logits, finetune(tiny_backbone(), left, TEST, **QUICK).logits)
    assert result.classes.tolist() == [3, 7]


def test_workers_change_nothing(tiny_backbone: Backbone) -> None:
    alone = finetune(tiny_backbone(), TRAIN, TEST, **QUICK)
    with_workers = finetune(tiny_backbone(), TRAIN, TEST, num_workers=1, **QUICK)
    assert torch.equal(alone.logits, with_workers.logits)


def test_images_may_have_several_classes(tiny_backbone: Backbone) -> None:
    images, labels = striped(48, seed=0)
    several = torch.stack([labels == 3, labels == 7, torch.ones(48).bool()], dim=1).long()
    train = open_data((images, several))
    result = finetune(
        *(tiny_backbone(), train, TEST),
        lrs=[0.003, 0.03],
        epochs=12,
        batch_size=16,
        backbone_lr_factor=0.5,
    )
    assert result.classes.tolist() == [0, 1, 2]
    assert all(score <= 0 for score in result.validation.values())
    assert (result.logits[:, 2] > 0).float().mean() > 0.9
    assert TEST.labels is not None
    assert ((result.logits[:, 1] > result.logits[:, 0]) == (TEST.labels == 7)).float().mean() > 0.8


@pytest.mark.parametrize(("most", "epochs"), [(6, 2), (3, 1), (10_000, 50)])
def test_the_number_of_steps_is_bounded(
    tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch, most: int, epochs: int
) -> None:
    seen: list[dict[str, Any]] = []

    def supervise(self: Any, **settings: Any) -> None:
        seen.append({**settings, "images": len(self.source)})

    monkeypatch.setattr("super_selfish.supervisors.base.Supervisor.supervise", supervise)
    result = finetune(tiny_backbone(), TRAIN, TEST, max_updates=most, batch_size=16)
    assert result.settings["epochs"] == epochs
    assert len(seen) == 4  # three learning rates, and the chosen one again
    assert all(run["epochs"] * -(-run["images"] // 16) <= max(most, 3) for run in seen)


def test_of_many_images_as_many_are_drawn_as_can_be_seen(
    tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        "super_selfish.supervisors.base.Supervisor.supervise",
        lambda self, **settings: sizes.append(len(self.source)),
    )
    result = finetune(tiny_backbone(), TRAIN, TEST, max_updates=2, batch_size=10, lrs=[0.1])
    assert sizes == [20]
    assert result.settings["epochs"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lrs": []}, r"lrs must be numbers > 0, got \[\]"),
        ({"lrs": [0.0]}, r"lrs must be numbers > 0, got \[0.0\]"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"epochs": []}, "epochs must be >= 1"),
        ({"max_updates": 0}, "max_updates and batch_size must be >= 1"),
        ({"freeze_until": "layer.3", "lrs": [0.1]}, r"did you mean layers\.3"),
        ({"backbone_lr_factor": -1.0, "lrs": [0.1]}, "backbone_lr_factor -1.0"),
        ({"layer_decay": 1.5, "lrs": [0.1]}, r"layer_decay must be in \(0, 1\], got 1.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tiny_backbone: Backbone, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        finetune(tiny_backbone(), TRAIN, TEST, **settings)


def test_layers_learn_the_more_slowly_the_earlier_they_are(
    tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []

    def supervise(self: Any, *, lr: float, **settings: Any) -> None:
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        rates.append([group["lr"] for group in self._parameter_groups(named, lr)])

    monkeypatch.setattr("super_selfish.supervisors.base.Supervisor.supervise", supervise)
    settings = {**QUICK, "backbone_lr_factor": np.float32(0.75), "layer_decay": np.float32(0.75)}
    result = finetune(tiny_backbone(), TRAIN, TEST, **settings)
    assert rates == [pytest.approx([0.01 * 0.75**distance for distance in range(3)])]
    assert result.settings["layer_decay"] == 0.75
    assert all(type(value) in (int, float) for value in result.settings.values())


def test_a_training_part_without_labels_is_refused(tiny_backbone: Backbone) -> None:
    images, _ = striped(8, seed=0)
    with pytest.raises(ValueError, match="the train part has no labels"):
        finetune(tiny_backbone(), open_data(images), TEST)


def hashes(module: nn.Module) -> dict[str, str]:
    """Of every parameter and buffer, the statistics of norms among them."""
    return {
        name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()
        for name, tensor in module.state_dict().items()
    }


def test_up_to_the_third_convolution_nothing_moves_and_behind_it_everything_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[tuple[dict[str, str], dict[str, str]]] = []

    class Noting(LabelSupervisor):
        def supervise(self, *args: Any, **settings: Any) -> LabelSupervisor:
            before = hashes(self.get_backbone())
            super().supervise(*args, **settings)
            trained.append((before, hashes(self.get_backbone())))
            return self

    module = importlib.import_module("super_selfish.evaluation.finetune")  # not its function
    monkeypatch.setattr(module, "LabelSupervisor", Noting)
    torch.manual_seed(0)
    network = AlexNet(stem="medium", grid=(2, 2))
    given = hashes(network)
    protocol = expand_protocols(["finetune-from-blocks.3"])["finetune-from-blocks.3"]
    few = TRAIN.images.subset(range(12)), TRAIN.labels[:12]  # type: ignore[index]
    assert isinstance(protocol, partial)
    score = protocol(Subject(network, open_data(few), TEST), lrs=[0.01], max_updates=2)
    assert hashes(network) == given
    ((before, after),) = trained
    assert before == given
    moved = {name.split(".")[1] for name in given if after[name] != given[name]}
    stayed = {name.split(".")[1] for name in given if after[name] == given[name]}
    assert (sorted(moved), sorted(stayed)) == (["3", "4"], ["0", "1", "2"])
    assert score.settings["lr"] == 0.01
