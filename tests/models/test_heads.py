from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.models import MLP, BottleneckMap, Classification, CombinedNet, ProjectionHead


@pytest.mark.parametrize(
    ("norm", "kinds"),
    [
        ("batch", [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU]),
        ("layer", [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear, nn.LayerNorm, nn.ReLU]),
        (None, [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU]),
    ],
)
def test_hidden_layers_are_normalised_and_the_last_is_plain(
    norm: object, kinds: list[type]
) -> None:
    head = MLP(5, (7, 6), 3, norm=norm)  # type: ignore[arg-type]
    assert [type(layer) for layer in head] == [*kinds, nn.Linear]
    assert head(torch.rand(4, 5)).shape == (4, 3)
    assert (head.in_features, head.out_features) == (5, 3)


def test_the_last_layer_gives_negative_values() -> None:
    torch.manual_seed(0)
    assert MLP(5, (8,), 64)(torch.rand(16, 5)).min() < 0


def test_a_head_without_hidden_layers_is_linear() -> None:
    assert [type(layer) for layer in MLP(5, (), 3, bias=False)] == [nn.Linear]
    assert set(MLP(5, (), 3, bias=False).state_dict()) == {"0.weight"}


def test_every_parameter_of_a_head_gets_a_gradient() -> None:
    head = Classification(5, 3, hidden=(6, 4))
    nn.functional.cross_entropy(head(torch.rand(8, 5)), torch.arange(8) % 3).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters())


def test_classification_has_the_widths_of_the_first_release() -> None:
    widths = [m.out_features for m in Classification(1280, 4) if isinstance(m, nn.Linear)]
    assert widths == [1024, 256, 4]


def test_the_projector_of_moco_is_as_wide_as_its_features_and_has_no_norm() -> None:
    head = ProjectionHead(20)
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "0.weight": (20, 20),
        "0.bias": (20,),
        "2.weight": (128, 20),
        "2.bias": (128,),
    }


@pytest.mark.parametrize("size", [(7, 7), (2, 3), (14, 9)])
def test_the_bottleneck_gives_3136_features_for_every_map(size: tuple[int, int]) -> None:
    bottleneck = BottleneckMap(5)
    assert bottleneck.out_features == 3136
    assert bottleneck(torch.rand(2, 5, *size)).shape == (2, 3136)


def test_a_bottleneck_before_a_head_gets_the_map() -> None:
    bottleneck = BottleneckMap(4, channels=3, size=2)
    head = nn.Sequential(bottleneck, Classification(bottleneck.out_features, 5, hidden=()))
    assert CombinedNet(nn.Conv2d(3, 4, 3), head)(torch.rand(2, 3, 8, 8)).shape == (2, 5)


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^widths must be >= 1, got 5, \(0,\) and 3$"):
        MLP(5, (0,), 3)
    with pytest.raises(ValueError, match=r'^norm must be "batch", "layer" or None, got \'group\'$'):
        MLP(5, (4,), 3, norm="group")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be >= 1, got 4, 64 and 0$"):
        BottleneckMap(4, size=0)
