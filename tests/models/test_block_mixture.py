from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import build_backbone
from super_selfish.models.block_mixture import BlockMixture, SharedBlocks, block_names
from super_selfish.models.gray import Gray


class Rows(nn.Module):
    """Three blocks of widths 2, 3 and 3, each on half the side; a last layer by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(self.block(*widths) for widths in ((1, 2), (2, 3), (3, 3))))
        self.last = nn.Conv2d(3, 3, 1)

    @staticmethod
    def block(inside: int, outside: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inside, outside, 2, stride=2), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.last(self.blocks(images))
        return maps


@pytest.fixture
def mixture() -> BlockMixture:
    torch.manual_seed(0)
    network = Rows()
    made = BlockMixture(network, SharedBlocks(network, 1, (16, 32))).double()
    with torch.no_grad():
        made.coefficients.weight.copy_(torch.tensor([3.0, 0.0, -4.0, 1.0]))
    return made


def slow_mixture(mixture: BlockMixture, images: Tensor) -> Tensor:
    network: Rows = mixture.network  # type: ignore[assignment]
    weights = mixture.coefficients.weight.tolist()
    length = math.sqrt(sum(weight**2 for weight in weights))
    first = network.blocks[0](images)
    second = network.blocks[1](first)
    third = network.blocks[2](second)
    every = [first, second, third, network.last(third)]
    total = torch.zeros(len(images), 3, 2, 4, dtype=torch.float64)
    for number, (maps, weight) in enumerate(zip(every, weights, strict=True)):
        cell = maps.shape[2] // 2
        for image in range(len(images)):
            small = torch.zeros(maps.shape[1], 2, 4, dtype=torch.float64)
            for row in range(2):
                for column in range(4):
                    part = maps[image, :, row * cell : (row + 1) * cell]
                    part = part[:, :, column * cell : (column + 1) * cell]
                    small[:, row, column] = part.sum(dim=(1, 2)) / cell**2
            if number == 0:
                kernel = mixture.blocks.projections[0].weight[:, :, 0, 0]  # type: ignore[index]
                small = torch.einsum("dc,chw->dhw", kernel, small)
            strength = math.sqrt(float((small**2).sum()) / small.numel() + 1e-6)
            total[image] += weight / length * small / strength
    return total


def test_a_mixture_is_that_of_a_slow_reference(mixture: BlockMixture) -> None:
    assert mixture.blocks.names == ("blocks.0", "blocks.1", "blocks.2", "map")
    images = torch.rand(3, 1, 16, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = slow_mixture(mixture, images)
        torch.testing.assert_close(mixture.forward_features(images), expected)
        torch.testing.assert_close(mixture(images), expected.mean(dim=(2, 3)))
        assert float(mixture.penalty()) == pytest.approx(8 / math.sqrt(26))
    assert list(mixture.shares().values()) == pytest.approx([9 / 26, 0.0, 16 / 26, 1 / 26])


def test_gradients_reach_coefficients_and_every_block(mixture: BlockMixture) -> None:
    images = torch.rand(2, 1, 16, 32, dtype=torch.float64)

    def of_coefficients(weight: Tensor) -> Tensor:
        given = {"coefficients.weight": weight}
        out: Tensor = torch.func.functional_call(mixture, given, (images,))
        return out

    weight = mixture.coefficients.weight.detach().clone().requires_grad_(True)
    assert torch.autograd.gradcheck(of_coefficients, (weight,))
    (mixture(images).square().sum() + mixture.penalty()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mixture.parameters())


def test_networks_stay_as_they_were(mixture: BlockMixture) -> None:
    network = mixture.network.train()
    mixture(torch.rand(2, 1, 16, 32, dtype=torch.float64))
    assert not any("forward" in vars(part) for part in network.modules())
    with pytest.raises(RuntimeError):
        mixture(torch.rand(2, 5, 16, 32, dtype=torch.float64))
    assert not any("forward" in vars(part) for part in network.modules())
    SharedBlocks(network.float(), 1, (16, 16))
    assert network.training


@pytest.mark.parametrize(
    ("name", "first", "number"),
    [
        ("narrow-resnet", "stem", 5),
        ("alexnet-bn", "blocks.0", 5),
        ("resnet18", "network.layer1.0", 8),
        ("squeezenet1_1", "network.features.3", 8),
        ("vgg11", "network.features.2", 8),
    ],
)
def test_blocks_of_networks_are_known(name: str, first: str, number: int) -> None:
    network: nn.Module
    if name.startswith(("vgg", "resnet", "squeeze")):
        from torchvision import models

        with torch.device("meta"):
            inner = models.get_model(name)
        inner.classifier = inner.fc = nn.Identity()
        network = nn.ModuleDict({"network": inner})
    else:
        network = build_backbone(name, 3, (32, 32))
    names = block_names(network)
    assert names[0] == first and len(names) == number


def test_layers_of_a_plain_sequence_are_blocks() -> None:
    chain = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 4, 3), nn.ReLU()
    )
    assert block_names(chain) == ["2", "4"]
    assert SharedBlocks(chain, 1, (16, 16)).names == ("2", "map")


class LastChannels(nn.Module):
    """Blocks with channels last, which nobody says."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        x = images[:, :, ::4, ::4].permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


@pytest.mark.parametrize("network", [LastChannels(), nn.Conv2d(6, 4, 3)])
def test_without_blocks_a_lasso_is_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"no blocks of .* are known .* leave lasso= out"):
        SharedBlocks(network, 6, (64, 64))


def test_gray_is_luma_and_twice_is_as_once() -> None:
    colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.25, 0.25, 0.25]])
    gray = Gray()(colors[:, :, None, None])
    assert gray[:, 0, 0, 0].tolist() == pytest.approx([0.299, 0.587, 0.114, 0.25])
    assert torch.equal(gray[:, 0], gray[:, 2])
    torch.testing.assert_close(Gray()(gray), gray)
