from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.resampling import RandomHorizontalFlip
from super_selfish.models import CombinedNet, ImageDecoder, NarrowResNet, Normalize
from super_selfish.models.freezing import freeze_until
from super_selfish.models.standardize import Standardize
from super_selfish.supervisors import LabelSupervisor
from super_selfish.supervisors.label import _check_known, _count_classes, _fitted, _resized
from super_selfish.training.checkpoint import write_checkpoint
from tests.conftest import TinyBackbone

Backbone = Callable[..., TinyBackbone]


# Not narrower than 8: with 4 channels last and 8 images, torch 2.14's backward pass on a CPU writes
# outside of its memory and the process dies.
WIDTH = 8


def striped(count: int = 24) -> TensorDataset:
    """Images of horizontal or vertical stripes, and which."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    stripes = (torch.arange(32) // 4 % 2).float()
    images = torch.where(labels[:, None, None] == 0, stripes[None, :, None], stripes[None, None, :])
    noisy = images[:, None] * 0.6 + 0.4 * torch.rand(count, 3, 32, 32, generator=generator)
    return TensorDataset((noisy * 255).to(torch.uint8), labels)


def blobs(count: int = 12, size: int = 32) -> tuple[Tensor, Tensor]:
    """Images with a bright square, and masks of it."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(count, size, size, dtype=torch.int64)
    for mask, (top, left) in zip(
        masks, torch.randint(size // 2, (count, 2), generator=generator).tolist(), strict=True
    ):
        mask[top : top + size // 2, left : left + size // 2] = 1
    noise = 80 * torch.rand(count, 3, size, size, generator=generator)
    return (noise + 160 * masks[:, None]).to(torch.uint8), masks


def settings(**more: Any) -> dict[str, Any]:
    return {"epochs": 2, "batch_size": 8, "name": None, "lr": 0.01, "progress": False, **more}


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(module: nn.Module, before: dict[str, Tensor]) -> list[str]:
    return [name for name, value in module.state_dict().items() if torch.equal(value, before[name])]


def test_a_frozen_backbone_stays_as_it_was_and_the_head_learns(tiny_backbone: Backbone) -> None:
    backbone = tiny_backbone()
    before = tensors(backbone)
    supervisor = LabelSupervisor(striped(), backbone)
    supervisor.supervise(**settings(epochs=25, lr=0.05))
    assert same(backbone, before) == list(before)
    assert supervisor.get_backbone() is backbone
    assert supervisor.history[-1]["accuracy"] > 0.8


class Faint(TinyBackbone):
    """Features that vary by some ten-thousandths."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.02 + 0.1 * super().forward(images)


def test_features_that_vary_little_are_learned_at_the_usual_rate() -> None:
    accuracies = {}
    for standardize in (None, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            supervisor = LabelSupervisor(striped(), Faint(), standardize=standardize)
        supervisor.supervise(**settings(epochs=20, lr=1e-2))
        images, labels = striped().tensors
        said = supervisor.predict(images.float() / 255).argmax(dim=1)
        accuracies[standardize] = (said == labels).float().mean()
    assert accuracies[None] > 0.9  # as a probe of these features
    assert accuracies[False] < 0.7


def test_the_head_standardises_where_the_backbone_is_frozen_only(tiny_backbone: Backbone) -> None:
    frozen = LabelSupervisor(striped(), tiny_backbone()).get_predictor()
    assert [type(part) for part in frozen.children()] == [Standardize, nn.Linear]
    tuned = LabelSupervisor(striped(), tiny_backbone(), finetune=True)
    plain = LabelSupervisor(striped(), tiny_backbone(), standardize=False)
    assert isinstance(tuned.get_predictor(), nn.Linear)
    assert isinstance(plain.get_predictor(), nn.Linear)
    own = nn.Linear(16, 2)
    assert LabelSupervisor(striped(), tiny_backbone(), own).get_predictor() is own
    with pytest.raises(ValueError, match="standardize=True belongs to the default head"):
        LabelSupervisor(striped(), tiny_backbone(), own, standardize=True)


def test_a_standardised_head_predicts_the_same_after_load(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    name = str(tmp_path / "labels")
    supervisor = LabelSupervisor(striped(), tiny_backbone())
    supervisor.supervise(**settings(name=name))
    images = striped().tensors[0][:5].float() / 255
    expected = supervisor.predict(images)
    for given in (LabelSupervisor(backbone=TinyBackbone()), LabelSupervisor(None, TinyBackbone())):
        assert torch.equal(given.load(name).predict(images), expected)


def test_batches_of_one_image_train_a_standardised_head(tiny_backbone: Backbone) -> None:
    supervisor = LabelSupervisor(striped(8), tiny_backbone())
    supervisor.supervise(**settings(batch_size=1))
    norm = supervisor.get_predictor()[0]  # type: ignore[index]
    assert int(norm.num_batches_tracked) == 16


def test_a_checkpoint_of_before_the_standardisation_loads(
    tiny_backbone: Backbone, tmp_path: Path
) -> None:
    name = str(tmp_path / "labels")
    old = LabelSupervisor(striped(), tiny_backbone(), standardize=False)
    old.supervise(**settings(name=name))
    state = torch.load(name + ".pt", weights_only=True)
    del state["arguments"]["standardize"]
    path = tmp_path / "old.pt"
    write_checkpoint(path, {key: value for key, value in state.items() if key != "checksums"})
    loaded = LabelSupervisor(backbone=TinyBackbone()).load(tmp_path / "old")
    images = striped().tensors[0][:5].float() / 255
    assert torch.equal(loaded.predict(images), old.predict(images))


@pytest.mark.parametrize("finetune", [False, True])
def test_a_combined_net_is_trained_itself(tiny_backbone: Backbone, finetune: bool) -> None:
    backbone, head = tiny_backbone(), nn.Linear(16, 2)
    normalize = Normalize([0.5] * 3, [0.25] * 3)
    network = CombinedNet(backbone, head, normalize)
    before = tensors(backbone), tensors(head)
    supervisor = LabelSupervisor(striped(), network, finetune=finetune)
    supervisor.supervise(**settings())
    assert supervisor.model is network
    assert supervisor.get_backbone() is backbone
    assert supervisor.preprocess is normalize
    assert same(head, before[1]) == []
    assert same(backbone, before[0]) == ([] if finetune else list(before[0]))


def test_a_combined_net_survives_save_and_load(tiny_backbone: Backbone, tmp_path: Path) -> None:
    images = torch.rand(3, 3, 32, 32)
    supervisor = LabelSupervisor(striped(), CombinedNet(tiny_backbone(), nn.Linear(16, 2)))
    supervisor.supervise(**settings(name=tmp_path / "net"))
    network = CombinedNet(tiny_backbone(), nn.Linear(16, 2))
    loaded = LabelSupervisor(backbone=network)
    loaded.load(tmp_path / "net")
    assert torch.equal(loaded.predict(images), supervisor.predict(images))


def test_a_combined_net_with_a_second_head_is_refused(tiny_backbone: Backbone) -> None:
    network = CombinedNet(tiny_backbone(), nn.Linear(16, 2))
    more: list[dict[str, Any]] = [{"predictor": nn.Linear(2, 2)}, {"normalize": "imagenet"}]
    for keywords in more:
        with pytest.raises(ValueError, match="a CombinedNet has its head and its preprocessing"):
            LabelSupervisor(striped(), network, **keywords)


def test_fine_tuning_moves_all_of_the_backbone(tiny_backbone: Backbone) -> None:
    backbone = tiny_backbone()
    before = tensors(backbone)
    LabelSupervisor(striped(), backbone, finetune=True).supervise(**settings())
    assert same(backbone, before) == []


def test_what_is_before_the_named_layer_stays_as_it_was() -> None:
    backbone = NarrowResNet(width=WIDTH)
    before = tensors(backbone)
    supervisor = LabelSupervisor(striped(), backbone, finetune=True, freeze_until="blocks.2")
    supervisor.supervise(**settings())
    still = [name for name in before if name.startswith(("stem.", "blocks.0.", "blocks.1."))]
    assert same(backbone, before) == still


def test_the_next_supervisor_decides_anew_what_stands_still() -> None:
    backbone = NarrowResNet(width=WIDTH)

    def trained(**options: Any) -> int:
        LabelSupervisor(striped(), backbone, **options)
        return sum(parameter.requires_grad for parameter in backbone.parameters())

    assert trained() == 0
    late = trained(finetune=True, freeze_until="blocks.3")
    early = trained(finetune=True, freeze_until="blocks.1")
    assert 0 < late < early < trained(finetune=True) == len(list(backbone.parameters()))


def test_what_the_user_froze_stays_frozen() -> None:
    backbone = NarrowResNet(width=WIDTH)
    freeze_until(backbone, "blocks.2")
    before = tensors(backbone)
    LabelSupervisor(striped(), backbone, finetune=True).supervise(**settings())
    still = [name for name in before if name.startswith(("stem.", "blocks.0.", "blocks.1."))]
    assert same(backbone, before) == still


def test_a_backbone_that_is_frozen_as_a_whole_is_set_free(tiny_backbone: Backbone) -> None:
    backbone = tiny_backbone().requires_grad_(False)
    LabelSupervisor(striped(), backbone, finetune=True)
    assert all(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("kind", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)])
def test_both_learning_rates_reach_the_optimizer(tiny_backbone: Backbone, kind: Any) -> None:
    backbone = tiny_backbone()
    supervisor = LabelSupervisor(striped(), backbone, finetune=True, backbone_lr_factor=0.25)
    supervisor.supervise(**settings(lr=0.02, optimizer=kind))
    assert supervisor.run is not None
    head, rest = supervisor.run.optimizer.param_groups
    assert (head["lr"], rest["lr"]) == (0.02, 0.005)
    assert {id(p) for p in head["params"]} == {
        id(p) for p in supervisor.get_predictor().parameters()
    }
    assert {id(p) for p in rest["params"]} == {id(p) for p in backbone.parameters()}
    assert supervisor.history[-1]["lr"] == 0.02


def test_a_schedule_scales_both_learning_rates(tiny_backbone: Backbone) -> None:
    supervisor = LabelSupervisor(striped(), tiny_backbone(), finetune=True, backbone_lr_factor=0.5)
    supervisor.supervise(
        **settings(lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.1))
    )
    assert supervisor.run is not None
    head, rest = supervisor.run.optimizer.param_groups
    assert rest["lr"] == pytest.approx(0.5 * head["lr"])
    assert head["lr"] == pytest.approx(0.01 * 0.1**2)


def test_layers_of_the_backbone_learn_the_more_slowly_the_earlier_they_are() -> None:
    supervisor = LabelSupervisor(
        striped(), NarrowResNet(width=WIDTH), finetune=True, backbone_lr_factor=1.0, layer_decay=0.5
    )
    supervisor.supervise(**settings(lr=0.02, epochs=1))
    assert supervisor.run is not None
    rates = [group["lr"] for group in supervisor.run.optimizer.param_groups]
    assert rates == pytest.approx([0.02, 0.02, 0.01, 0.005, 0.0025, 0.00125])


def test_options_survive_save_and_load(tmp_path: Path) -> None:
    images = striped()
    saved = LabelSupervisor(
        images,
        "narrow-resnet",
        finetune=True,
        freeze_until="blocks.3",
        backbone_lr_factor=0.3,
        layer_decay=0.7,
    )
    saved.save(tmp_path / "base")
    loaded = LabelSupervisor().load(tmp_path / "base")
    assert isinstance(loaded, LabelSupervisor)
    assert (loaded.finetune, loaded.freeze_until) == (True, "blocks.3")
    assert (loaded.backbone_lr_factor, loaded.layer_decay) == (0.3, 0.7)
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in saved.parameters()
    ]
    loaded.train()
    assert not loaded.get_backbone().get_submodule("blocks.2").training
    assert loaded.get_backbone().get_submodule("blocks.3").training
    some = images.tensors[0][:4] / 255
    assert torch.equal(loaded.predict(some), saved.predict(some))


def test_a_resumed_run_equals_one_that_never_stopped(tmp_path: Path) -> None:
    def build() -> LabelSupervisor:
        torch.manual_seed(0)
        return LabelSupervisor(
            striped(),
            NarrowResNet(width=WIDTH),
            finetune=True,
            freeze_until="blocks.1",
            augmentation=RandomHorizontalFlip(),
        )

    whole = build().supervise(**settings(epochs=3))
    name = tmp_path / "base"
    build().supervise(**settings(epochs=1, name=name))
    resumed = build().supervise(**settings(epochs=3, name=name, resume=True))
    expected = tensors(whole)
    assert same(resumed, expected) == list(expected)


class Asked(Dataset[tuple[Tensor, int]]):
    """Knows its labels by its items alone."""

    def __init__(self, dataset: TensorDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.dataset[index]
        return image, int(label)


@pytest.mark.parametrize("form", [lambda dataset: dataset, lambda dataset: dataset.tensors, Asked])
def test_a_run_does_not_go_on_with_other_labels(
    tmp_path: Path, tiny_backbone: Backbone, form: Any
) -> None:
    images, labels = striped().tensors
    name = str(tmp_path / "labels")
    LabelSupervisor(form(striped()), tiny_backbone()).supervise(**settings(name=name, epochs=1))
    again = LabelSupervisor(form(TensorDataset(images, labels)), tiny_backbone())
    assert again.supervise(**settings(name=name, resume=True)).history[-1]["epoch"] == 2
    others = LabelSupervisor(form(TensorDataset(images, 1 - labels)), tiny_backbone())
    with pytest.raises(ValueError, match=r"cannot resume .*labels \(digest\)"):
        others.supervise(**settings(name=name, resume=True, epochs=3))


def test_multi_hot_labels_are_learned_by_binary_cross_entropy(tiny_backbone: Backbone) -> None:
    images, classes = striped().tensors
    labels = torch.stack([classes, 1 - classes, torch.ones_like(classes)], dim=1)
    supervisor = LabelSupervisor(TensorDataset(images, labels), tiny_backbone(), finetune=True)
    assert supervisor.predict(images[:2] / 255).shape == (2, 3)
    supervisor.supervise(**settings(epochs=1, batch_size=24, shuffle=False, lr=0.0))
    logits = supervisor.model(images / 255)  # in training mode, as the step was
    expected = nn.BCEWithLogitsLoss()(logits, labels.float())
    assert supervisor.history[0]["loss"] == pytest.approx(expected.item(), abs=1e-5)
    hits = (logits > 0) == labels.bool()
    assert supervisor.history[0]["accuracy"] == pytest.approx(hits.float().mean().item())


def test_a_loss_of_ones_own_gets_logits_and_labels(tiny_backbone: Backbone) -> None:
    images, classes = striped().tensors
    seen: list[tuple[Tensor, Tensor]] = []

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        seen.append((logits.detach(), targets))
        return nn.functional.cross_entropy(logits, targets)

    soft = torch.nn.functional.one_hot(classes, 2) * 0.8 + 0.1
    LabelSupervisor(
        TensorDataset(images, soft), tiny_backbone(), loss=loss, num_classes=2
    ).supervise(**settings(epochs=1))
    assert seen[0][0].shape == seen[0][1].shape == (8, 2)
    assert seen[0][1].sum(dim=1).tolist() == pytest.approx([1.0] * 8)


@pytest.mark.parametrize("form", ["int64", "uint8", "channel"])
def test_masks_are_learned_at_their_own_size(tiny_backbone: Backbone, form: str) -> None:
    images, masks = blobs()
    given = {"int64": masks, "uint8": masks.to(torch.uint8), "channel": masks[:, None]}[form]
    torch.manual_seed(0)
    supervisor = LabelSupervisor(
        TensorDataset(images, given),
        tiny_backbone(),
        ImageDecoder(16, 2, (8,)),  # maps of 32x32 at once; smaller ones would be resized
        finetune=True,
        backbone_lr_factor=1.0,
    )
    supervisor.supervise(**settings(epochs=20, lr=0.01))
    assert supervisor.history[-1]["accuracy"] > 0.9
    logits = supervisor.predict(images[:3] / 255)
    assert logits.shape == (3, 2, 32, 32)


def test_maps_of_the_predictor_are_resized_to_the_masks(tiny_backbone: Backbone) -> None:
    images, masks = blobs()
    head = nn.Conv2d(16, 2, 1)
    head.wants_map = True  # type: ignore[assignment]
    sizes = []

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        sizes.append((tuple(logits.shape), tuple(targets.shape)))
        return nn.functional.cross_entropy(logits, targets)

    dataset = TensorDataset(images, masks)
    supervisor = LabelSupervisor(dataset, tiny_backbone(), head, loss)
    supervisor.supervise(**settings(epochs=1, batch_size=12))
    assert sizes == [((12, 2, 32, 32), (12, 32, 32))]
    assert supervisor.predict(images[:2, :, :, :24] / 255).shape == (2, 2, 32, 24)


def test_pixels_that_do_not_count_are_not_in_the_accuracy(tiny_backbone: Backbone) -> None:
    images, masks = blobs()
    masks[:, :16] = 255
    masks[:, 16:] = 1
    head = nn.Conv2d(16, 2, 1)
    head.wants_map = True  # type: ignore[assignment]
    nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([0.0, 1.0])  # type: ignore[union-attr]
    supervisor = LabelSupervisor(
        TensorDataset(images, masks), tiny_backbone(), head, nn.CrossEntropyLoss(ignore_index=255)
    )
    supervisor.supervise(**settings(epochs=1, lr=0.0))
    assert supervisor.history[0]["accuracy"] == 1.0
    assert supervisor.history[0]["loss"] == pytest.approx(np.log(1 + np.exp(-1.0)), abs=1e-5)


def test_one_logit_says_yes_or_no(tiny_backbone: Backbone) -> None:
    images, classes = striped().tensors
    supervisor = LabelSupervisor(TensorDataset(images, classes), tiny_backbone(), nn.Linear(16, 1))
    supervisor.supervise(**settings(epochs=30, lr=0.05))
    assert supervisor.history[-1]["accuracy"] > 0.8


def test_masks_of_another_size_than_the_images_are_refused(tiny_backbone: Backbone) -> None:
    images, masks = blobs(size=48)
    supervisor = LabelSupervisor(
        TensorDataset(images, masks), tiny_backbone(), ImageDecoder(16, 2, (8,)), image_size=32
    )
    with pytest.raises(ValueError, match=r"masks of 32x32.* got \[48, 48\].*masks do not follow"):
        supervisor.supervise(**settings())


def test_masks_want_a_predictor_of_maps(tiny_backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=r"masks \[32, 32\]: give a predictor="):
        LabelSupervisor(TensorDataset(*blobs()), tiny_backbone())


def test_an_augmentation_is_done_to_images_and_the_same_in_every_run(
    tiny_backbone: Backbone,
) -> None:
    def losses(augmentation: Augmentation | None) -> list[float]:
        torch.manual_seed(0)
        supervisor = LabelSupervisor(striped(), tiny_backbone(), augmentation=augmentation)
        supervisor.supervise(**settings())
        return [row["loss"] for row in supervisor.history]

    flip = RandomHorizontalFlip()
    assert losses(flip) == losses(flip)
    assert losses(flip) != losses(None)


def test_an_augmentation_that_masks_do_not_follow_is_refused(tiny_backbone: Backbone) -> None:
    supervisor = LabelSupervisor(
        TensorDataset(*blobs()),
        tiny_backbone(),
        ImageDecoder(16, 2, (8,)),
        augmentation=RandomHorizontalFlip(),
    )
    with pytest.raises(ValueError, match="augment both in the dataset"):
        supervisor.supervise(**settings())


class Pictures(Dataset[tuple[Tensor, None]]):
    """Images without labels."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, None]:
        return torch.zeros(3, 32, 32, dtype=torch.uint8), None


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (striped(), {"freeze_until": "layers.3"}, "give finetune=True as well"),
        (striped(), {"finetune": True, "freeze_until": "layer.3"}, "did you mean layers.3"),
        (striped(), {"finetune": True, "backbone_lr_factor": -1.0}, "backbone_lr_factor -1.0"),
        (striped(), {"finetune": True, "layer_decay": 2.0}, "layer_decay must be"),
        (Pictures(), {}, "give num_classes="),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tiny_backbone: Backbone, dataset: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSupervisor(dataset, tiny_backbone(), **options)


def test_predict_takes_whole_numbers_as_training_does(tiny_backbone: Backbone) -> None:
    supervisor = LabelSupervisor(striped(), tiny_backbone())
    images = striped().tensors[0][:4]
    expected = supervisor.predict(images.float() / 255)
    assert expected.abs().max() < 100
    assert torch.equal(supervisor.predict(images), expected)
    assert torch.equal(supervisor.predict((images.int() * 257).to(torch.uint16)), expected)
    assert torch.equal(supervisor.predict(images.double() / 255), expected)


def test_predict_applies_the_value_range_of_training(tiny_backbone: Backbone) -> None:
    images = (striped().tensors[0].int() * 4).to(torch.int32)  # 0..1020
    labelled = TensorDataset(images, striped().tensors[1])
    supervisor = LabelSupervisor(labelled, tiny_backbone(), value_range=(0, 1020))
    expected = supervisor.predict(images[:4].float() / 1020)
    assert torch.allclose(supervisor.predict(images[:4]), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 0 to 10\d\d: \(images - low\).*high=1020"):
        supervisor.predict(images[:4].float())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda i: i.float(), r"float images must .* \[0, 1\], got 0 to \d+: divide .* by 255"),
        (lambda i: i.float() / 255 - 0.5, r"float images must .* \[0, 1\], got -0\.5 to"),
        (lambda i: i.float() * torch.nan, r"float images must be finite .* got nan"),
        (lambda i: i.long(), r"uint8, uint16 or float in \[0, 1\], got int64"),
        (lambda i: i[0], r"must be \[B, 3, H, W\], got shape \[3, 32, 32\]: images\[None\]"),
        (lambda i: i[:, :1], r"must be \[B, 3, H, W\], got shape \[4, 1, 32, 32\]"),
        (lambda i: i.numpy(), r"must be a tensor \[B, 3, H, W\], got a ndarray: torch\.from_numpy"),
        (lambda i: "a.png", r"must be a tensor \[B, 3, H, W\], got the text 'a\.png'"),
    ],
)
def test_predict_refuses_what_training_never_saw(
    given: Callable[[Tensor], Any], said: str, tiny_backbone: Backbone
) -> None:
    supervisor = LabelSupervisor(striped(), tiny_backbone())
    with pytest.raises((ValueError, TypeError), match=said):
        supervisor.predict(given(striped().tensors[0][:4]))


def test_items_that_are_none_are_skipped_and_the_labels_of_the_others_known(
    tiny_backbone: Backbone,
) -> None:
    data = striped(6)
    items: list[Any] = [*(data[number] for number in range(6)), None]
    supervisor = LabelSupervisor(items, tiny_backbone(), on_error="skip")
    assert supervisor.model(torch.rand(2, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize(
    ("known", "classes", "message"),
    [
        (None, 2, None),
        (torch.tensor([0, 1]), 2, None),
        (torch.tensor([0, 2]), 2, "2"),
        ([0, 1], 2, None),
        ([0, 2], 2, "2"),
        ([0, 5], None, None),
        ([0, -1], None, "-1"),
        ([0, 7.5], 2, None),  # read when they are trained with
        (torch.tensor([0, 1]), 1, None),  # yes or no
        ([0, 3], 1, "3"),
    ],
)
def test_known_labels_that_fit_no_loss_are_refused_at_once(
    known: Any, classes: int | None, message: str | None
) -> None:
    source: Any = SimpleNamespace(known_labels=lambda: known, on_error="raise", items=[1])
    if message is None:
        _check_known(source, classes)
    else:
        with pytest.raises((TypeError, ValueError), match=message):
            _check_known(source, classes)


def test_classes_are_counted_by_the_largest_label_or_the_columns() -> None:
    source: Any = SimpleNamespace(on_error="raise")
    assert _count_classes(torch.tensor([0, 4, 1]), source, is_free=False) == 5
    assert _count_classes(torch.eye(3), source, is_free=False) == 3
    assert _count_classes(torch.tensor([-1, 2]), source, is_free=True) == 3
    with pytest.raises(ValueError, match="-1"):
        _count_classes(torch.tensor([-1, 2]), source, is_free=False)
    with pytest.raises(ValueError, match="give num_classes=, a predictor=, or a dataset"):
        _count_classes(None, source, is_free=False)
    with pytest.raises(ValueError, match=r"the labels are masks \[4, 5\]"):
        _count_classes(torch.zeros(2, 4, 5), source, is_free=False)


@pytest.mark.parametrize(
    ("targets", "logits", "shape", "dtype"),
    [
        ((3,), (3, 5), (3,), torch.int64),
        ((3,), (3, 1), (3, 1), torch.int64),
        ((3, 1), (3, 1), (3, 1), torch.int64),
        ((3, 1, 4, 4), (3, 5, 2, 2), (3, 4, 4), torch.int64),
        ((3, 1, 4, 4), (3, 1, 2, 2), (3, 1, 4, 4), torch.int64),
        ((3, 4, 4), (3, 1, 2, 2), (3, 1, 4, 4), torch.int64),
        ((3, 4, 4), (3, 5, 2, 2), (3, 4, 4), torch.int64),
        ((3, 5), (3, 5), (3, 5), torch.int64),
    ],
)
def test_targets_take_the_shape_that_a_loss_of_these_logits_wants(
    targets: tuple[int, ...], logits: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    found = _fitted(torch.zeros(targets, dtype=torch.int32), torch.zeros(logits))
    assert (tuple(found.shape), found.dtype) == (shape, dtype)
    assert _fitted(torch.zeros(targets), torch.zeros(logits)).dtype == torch.float32


def test_maps_of_the_size_of_the_images_stay_as_they_are() -> None:
    logits = torch.rand(1, 2, 4, 6)
    assert _resized(logits, torch.Size((4, 6))) is logits
    assert _resized(logits, torch.Size((8, 6))).shape == (1, 2, 8, 6)
