from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from super_selfish.models import AlexNet, EfficientFeatures, NarrowResNet, TorchvisionFeatures
from super_selfish.models.color_split import HalfBackbone, SplitBackbone
from super_selfish.models.freezing import freeze, freeze_until, parameter_groups, unfreeze
from super_selfish.models.untrained import untrained_twin


class WithToken(nn.Module):
    """A network that holds a parameter itself, as a transformer its class token."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(3))
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)


def build(kind: str) -> nn.Module:
    if kind == "efficientnet":
        return EfficientFeatures()
    if kind == "resnet":
        return TorchvisionFeatures("resnet18", image_size=(32, 32))
    if kind == "alexnet":
        return AlexNet(stem="medium", grid=(1, 1))
    if kind == "narrow":
        return NarrowResNet(width=8)
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Dropout(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    )


LAYERS = [  # kind, the layer that trains first, some that stand still, some that train
    ("efficientnet", "_blocks.11", ["_conv_stem", "_blocks.0", "_blocks.10"], ["_conv_head"]),
    ("resnet", "network.layer4", ["network.conv1", "network.bn1", "network.layer3"], []),
    (
        *("resnet", "network.layer3.1.conv2"),
        ["network.layer3.0", "network.layer3.1.bn1"],
        ["network.layer3.1.bn2", "network.layer4"],
    ),
    ("narrow", "blocks.2", ["stem", "blocks.1"], ["blocks.3"]),
    ("alexnet", "blocks.3", ["blocks.0", "blocks.1", "blocks.2"], ["blocks.4"]),
    ("sequential", "4", ["0", "1", "3"], ["5"]),
]


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed_since(before: dict[str, torch.Tensor], network: nn.Module) -> list[str]:
    return [n for n, value in network.state_dict().items() if not torch.equal(value, before[n])]


def train_a_step(network: nn.Module) -> None:
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network(images).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(("kind", "layer", "still", "moving"), LAYERS)
def test_what_is_before_the_layer_stands_still_to_the_last_bit_and_the_layer_itself_trains(
    kind: str, layer: str, still: list[str], moving: list[str]
) -> None:
    network = build(kind)
    freeze_until(network, layer)
    before = tensors(network)
    train_a_step(network)
    changed = changed_since(before, network)
    for name in still:
        part = network.get_submodule(name)
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert not any(inner.training for inner in part.modules())
        assert not any(entry.startswith(f"{name}.") for entry in changed)
    for name in [layer, *moving]:
        part = network.get_submodule(name)
        assert all(parameter.requires_grad for parameter in part.parameters())
        assert part.training
        assert any(entry.startswith(f"{name}.") for entry in changed)


def test_every_tensor_after_the_layer_moves_and_none_before_it() -> None:
    network = build("sequential")
    freeze_until(network, "4")
    before = tensors(network)
    train_a_step(network)
    changed = changed_since(before, network)
    after = [name for name in before if name.startswith(("4.", "5."))]
    assert sorted(changed) == sorted(after)


def test_dropout_before_the_layer_drops_nothing() -> None:
    network = build("sequential")
    freeze_until(network, "4")
    network.train()
    images = torch.rand(2, 3, 8, 8)
    before = network[:4](images)  # type: ignore[index]
    assert torch.equal(before, network[:4](images))  # type: ignore[index]


def test_a_parameter_of_the_network_itself_counts_as_before() -> None:
    network = WithToken()
    freeze_until(network, "second")
    assert [name for name, p in network.named_parameters() if p.requires_grad] == [
        *("second.weight", "second.bias"),
    ]


def test_another_name_replaces_the_first() -> None:
    network = build("narrow")
    freeze_until(network, "blocks.3")
    freeze_until(network, "blocks.1")
    once = build("narrow")
    freeze_until(once, "blocks.1")
    for one, other in zip(network.modules(), once.modules(), strict=True):
        assert one.training == other.training
    assert [p.requires_grad for p in network.parameters()] == [
        p.requires_grad for p in once.parameters()
    ]


@pytest.mark.parametrize("was_training", [True, False])
def test_unfreezing_gives_back_what_was_there(was_training: bool) -> None:
    network = build("narrow")
    network.train(was_training)
    fixed = next(network.get_submodule("blocks.0").parameters()).requires_grad_(False)
    freeze_until(network, "blocks.2")
    unfreeze(network)
    assert not fixed.requires_grad
    assert sum(not parameter.requires_grad for parameter in network.parameters()) == 1
    assert all(part.training == was_training for part in network.modules())


def test_all_of_a_frozen_network_stays_in_evaluation_until_its_parameters_train_again() -> None:
    network = build("narrow")
    freeze(network)
    network.train()
    assert not any(part.training for part in network.modules())
    network.requires_grad_(True)
    network.train()
    assert all(part.training for part in network.modules())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, untrained_twin, "pickle"])
def test_a_copy_is_as_frozen_and_stands_by_itself(duplicate: Any) -> None:
    network = build("narrow")
    freeze_until(network, "blocks.2")
    if duplicate == "pickle":
        twin = pickle.load(io.BytesIO(pickle.dumps(network)))
    else:
        twin = duplicate(network)
    unfreeze(network)
    twin.train()
    assert not twin.stem[1].training
    assert twin.blocks[2].training
    unfreeze(twin)
    assert twin.stem[1].training


def test_a_wrong_name_is_refused_with_the_nearest() -> None:
    network = build("resnet")
    with pytest.raises(ValueError, match=r"no layer 'layer4': did you mean network\.layer4\?"):
        freeze_until(network, "layer4")
    with pytest.raises(ValueError, match=r"did you mean _blocks\.4"):
        freeze_until(build("efficientnet"), "blocks.4")
    with pytest.raises(ValueError, match=r"Names are .*: network, network\.conv1"):
        freeze_until(network, "")
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_network_without_layers_says_so() -> None:
    with pytest.raises(ValueError, match="Linear has no layers"):
        freeze_until(nn.Linear(2, 2), "fc")


def test_the_head_learns_fast_and_the_backbone_slowly() -> None:
    backbone, head = build("narrow"), nn.Linear(64, 2)
    groups = parameter_groups(backbone, head, 0.5, backbone_lr_factor=0.2)
    assert [group["lr"] for group in groups] == [0.5, 0.1]
    assert groups[0]["params"] == list(head.parameters())
    assert groups[1]["params"] == list(backbone.parameters())


def test_a_head_that_holds_the_backbone_gives_every_parameter_once() -> None:
    backbone = build("narrow")
    whole = nn.Sequential(backbone, nn.Linear(64, 2))
    groups = parameter_groups(backbone, whole, 0.5)
    assert groups[0]["params"] == list(whole[1].parameters())
    torch.optim.SGD(groups)  # refuses parameters that come twice


@pytest.mark.parametrize(
    ("kind", "layers"), [("efficientnet", 18), ("resnet", 9), ("narrow", 5), ("sequential", 2)]
)
def test_layer_decay_slows_every_layer_by_the_same_factor(kind: str, layers: int) -> None:
    backbone, head = build(kind), nn.Linear(64, 2)
    groups = parameter_groups(backbone, head, 1.0, backbone_lr_factor=0.5, layer_decay=0.9)
    expected = [1.0, *(0.5 * 0.9**distance for distance in range(layers))]
    assert [group["lr"] for group in groups] == pytest.approx(expected)
    held = [parameter for group in reversed(groups[1:]) for parameter in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in backbone.parameters()}
    assert len(held) == len(list(backbone.parameters()))
    assert any(p is next(backbone.parameters()) for p in groups[-1]["params"])


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_resnet"])
def test_layers_of_timm_s_networks_are_those_of_timm_s_layer_decay(name: str) -> None:
    timm = pytest.importorskip("timm", reason="its networks")
    optim = pytest.importorskip("timm.optim")
    if not hasattr(optim, "param_groups_layer_decay"):
        pytest.skip("timm had it elsewhere")
    network = timm.create_model(name, num_classes=0)
    theirs = {
        parameter: group["lr_scale"]
        for group in optim.param_groups_layer_decay(network, layer_decay=0.75)
        for parameter in group["params"]
    }
    layers = len(set(theirs.values()))
    groups = parameter_groups(network, [], 1.0, backbone_lr_factor=1.0, layer_decay=0.75)
    ours = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert ours == pytest.approx(theirs) and layers > 2


def test_a_transformer_learns_as_beit_and_mae_fine_tune_theirs() -> None:
    models = pytest.importorskip("timm.models", reason="its transformers")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}
    network = models.VisionTransformer(**sizes, num_classes=0, global_pool="avg")
    head = nn.Linear(network.num_features, 2)
    groups = parameter_groups(network, head, 0.1, backbone_lr_factor=0.75, layer_decay=0.75)
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    depth = len(network.blocks)
    for name, parameter in [*network.named_parameters(), *head.named_parameters()]:
        layer = {"cls_token": 0, "pos_embed": 0, "patch_embed": 0}.get(name.split(".")[0], depth)
        if name.startswith("blocks."):
            layer = int(name.split(".")[1]) + 1
        elif name in ("weight", "bias"):
            layer = depth + 1
        assert rates[parameter] == pytest.approx(0.1 * 0.75 ** (depth + 1 - layer)), name


def test_frozen_parameters_are_in_no_group() -> None:
    backbone = build("narrow")
    freeze(backbone)
    groups = parameter_groups(backbone, nn.Linear(64, 2), 1.0, layer_decay=0.9)
    assert len(groups) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone_lr_factor": -0.1}, "backbone_lr_factor -0.1"),
        ({"layer_decay": 0.0}, r"layer_decay must be in \(0, 1\], got 0.0"),
        ({"layer_decay": 1.1}, "got 1.1"),
        ({"lr": -1.0}, "lr -1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameter_groups(build("narrow"), nn.Linear(2, 2), **{"lr": 1.0, **settings})


def half() -> HalfBackbone:
    return HalfBackbone(nn.Identity(), NarrowResNet(width=4))


@pytest.mark.parametrize("network", [half(), SplitBackbone(half(), half())])
def test_networks_in_another_one_are_frozen_up_to_the_layer_of_each(network: nn.Module) -> None:
    freeze_until(network, "blocks.2")
    network.train()
    before = tensors(network)
    images = torch.rand(4, 3, 32, 32)
    network(images).sum().backward()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    optimizer.step()
    moved = {name.partition("network.")[2][:8] for name in changed_since(before, network)}
    assert moved == {"blocks.2", "blocks.3"}
    unfreeze(network)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_layer_that_only_one_of_several_networks_has_is_refused() -> None:
    other = HalfBackbone(nn.Identity(), nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"SplitBackbone has no layer 'blocks\.2': did you mean"):
        freeze_until(SplitBackbone(half(), other), "blocks.2")
