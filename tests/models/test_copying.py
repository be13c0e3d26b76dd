from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from super_selfish.models.copying import copy_module, give_own_memory


@dataclass
class Slotted:
    __slots__ = ("map",)
    map: Tensor


@dataclass
class Kept:
    maps: dict[str, list[Tensor]] = field(default_factory=dict)


class Remembering(nn.Module):
    """Keeps its activations, at the places where people put them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.activation: Any = None
        self.kept = Kept()
        self.slotted: Any = None

    def forward(self, images: Tensor) -> Tensor:
        self.activation = self.conv(images)
        self.kept.maps["last"] = [self.activation, self.activation * 2]
        self.slotted = Slotted(self.activation)
        return self.activation.mean(dim=(2, 3))


def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def old_norm(name: str) -> nn.Module:
    with warnings.catch_warnings():  # torch advises its parametrizations
        warnings.simplefilter("ignore")
        conv = getattr(nn.utils, name)(nn.Conv2d(3, 4, 3))
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def pruned() -> nn.Module:
    conv = nn.Conv2d(3, 4, 3)
    prune.l1_unstructured(conv, "weight", amount=0.5)
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "keeps its activations": Remembering,
    "old weight norm": lambda: old_norm("weight_norm"),
    "old spectral norm": lambda: old_norm("spectral_norm"),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
    "pruned": pruned,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_copied_after_a_training_step(name: str) -> None:
    network = NETWORKS[name]()
    network(images()).sum().backward()
    network.eval()
    expected = network(images())
    copied = copy_module(network)
    torch.testing.assert_close(copied(images()), expected, rtol=0, atol=0)
    own = {id(tensor) for tensor in [*network.parameters(), *network.buffers()]}
    assert all(id(tensor) not in own for tensor in [*copied.parameters(), *copied.buffers()])
    # It trains, and the network does not notice.
    before = {key: value.clone() for key, value in network.state_dict().items()}
    copied.train()
    copied(images()).square().sum().backward()
    torch.optim.SGD(copied.parameters(), lr=0.5).step()
    copied.eval()
    assert not torch.equal(copied(images()), expected)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    torch.testing.assert_close(network(images()), expected, rtol=0, atol=0)


def test_activations_are_copied_by_value() -> None:
    network = Remembering()
    network(images())
    copied = copy_module(network)
    assert torch.equal(copied.activation, network.activation)
    assert copied.activation.data_ptr() != network.activation.data_ptr()
    assert copied.kept.maps["last"][0] is copied.activation  # one tensor stays one
    assert network.activation.grad_fn is not None


@pytest.mark.parametrize("by_name", [False, True])
def test_activations_that_a_partial_function_holds_are_copied_by_value(by_name: bool) -> None:
    network: Any = nn.Linear(2, 2)
    activation = network(torch.ones(1, 2))
    held = partial(torch.add, other=activation) if by_name else partial(torch.add, activation)
    network.add = held
    copied: Any = copy_module(network)
    found = copied.add.keywords["other"] if by_name else copied.add.args[0]
    assert torch.equal(found, activation)
    assert found.data_ptr() != activation.data_ptr() and found.grad_fn is None


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_wrappers_are_left_away(wrap: Callable[[nn.Module], Any]) -> None:
    inner = nn.Linear(4, 3)
    whole = nn.Sequential(wrap(inner), nn.ReLU())
    for copied in (copy_module(whole), copy_module(nn.DataParallel(wrap(whole)))):
        assert isinstance(copied, nn.Sequential)
        assert list(copied.state_dict()) == ["0.weight", "0.bias"]
        assert copied[0].weight is not inner.weight
        assert torch.equal(copied.state_dict()["0.weight"], inner.weight)
    assert type(whole[0]) is type(wrap(inner))


class Recorder:
    """Hooks a network, and cannot be copied itself."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.shapes: list[torch.Size] = []

    def note(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.shapes.append(output.shape)


def test_the_object_behind_a_hook_is_shared() -> None:
    network, recorder = nn.Linear(4, 3), Recorder()
    network.register_forward_hook(recorder.note)
    copy_module(network)(torch.rand(2, 4))
    assert recorder.shapes == [torch.Size([2, 3])]


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.calls = 0
        self.layer.register_forward_hook(self.count)

    def count(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.calls += 1

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


def test_a_hook_of_the_network_itself_belongs_to_the_copy() -> None:
    network = Counting()
    copied = copy_module(network)
    copied(torch.rand(2, 4))
    assert (network.calls, copied.calls) == (0, 1)


def test_what_cannot_be_copied_is_named() -> None:
    network: Any = nn.Linear(4, 3)
    network.lock = threading.Lock()
    with pytest.raises(TypeError, match=r"Linear cannot be copied.*lock.*__deepcopy__"):
        copy_module(network)


def test_containers_of_networks_are_copied_as_one() -> None:
    network = old_norm("weight_norm")
    network(images())
    options = copy_module({"backbone": network, "again": [network], "sizes": (1, 2)})
    assert options["backbone"] is options["again"][0] is not network  # type: ignore[index]
    assert options["sizes"] == (1, 2)


def test_buffers_of_one_number_at_several_places_get_memory_of_their_own() -> None:
    part = nn.Module()
    one, own = torch.arange(3.0), torch.ones(1, 3)
    part.register_buffer("expanded", one.expand(4, 3))
    part.register_buffer("own", own)
    part.register_buffer("turned", torch.ones(2, 3).T)
    part.register_buffer("sparse", torch.eye(2).to_sparse())
    part.register_buffer("none", None)
    before = dict(part._buffers)
    give_own_memory(nn.Sequential(part))
    changed = {name for name, buffer in part._buffers.items() if buffer is not before[name]}
    assert changed == {"expanded"}
    expanded = part.get_buffer("expanded")
    assert torch.equal(expanded, one.expand(4, 3)) and expanded.stride() == (3, 1)
    expanded[0] = 7.0
    assert torch.equal(expanded[1], one)
