from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import EfficientFeatures, build_backbone, fresh, untrained_twin
from super_selfish.models.untrained import _is_constant, draw_twin, has_learned

SIZE = (64, 64)


class Positioned(nn.Module):
    """Owns parameters, has no reset_parameters, and keeps none of its arguments."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.full((1, 500, 4), value))
        self.bias = nn.Parameter(torch.full((4,), value))
        self.norm = OwnNorm(value)
        self.batch_norm = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x


class OwnNorm(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), value))
        self.bias = nn.Parameter(torch.full((4,), value))


class Kaiming(nn.Module):
    """Draws its layers otherwise than they do, and keeps its argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        nn.init.zeros_(self.norm.weight)


class Secretive(Kaiming):
    """The same, but nobody can construct it again."""

    def __init__(self, how_wide: int) -> None:
        super().__init__(how_wide)
        del self.width


class Holding(nn.Module):
    """A network of somebody else's in one's own class."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside


class Loading(nn.Module):
    """A constructor that brings weights from somewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3)
        weights = torch.randn(64, 3, 3, 3, generator=torch.Generator().manual_seed(7))
        self.conv.weight = nn.Parameter(5 + weights)


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Moves every parameter and statistic, as training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5).add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in network.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand(buffer.shape, generator=generator))
    return network


def assert_alike(twin: nn.Module, fresh: nn.Module) -> None:
    """Each tensor has the mean and the standard deviation that a new network's has."""
    ours, theirs = twin.state_dict(), fresh.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        drawn, expected = ours[name].double(), tensor.double()
        if expected.numel() < 2 or bool((expected == expected.flatten()[0]).all()):
            assert torch.equal(drawn, expected), name
            continue
        if name.startswith("normalize.") or not tensor.is_floating_point():  # nothing is drawn
            assert torch.equal(drawn, expected), name
            continue
        assert not torch.equal(drawn, expected), name
        sampling = 8 / math.sqrt(2 * expected.numel()) + 0.05  # 0.05: timm clamps some at 2.0
        assert float(drawn.std() / expected.std()) == pytest.approx(1, abs=sampling), name
        allowed = 8 * float(expected.std()) / math.sqrt(expected.numel())
        assert float(drawn.mean()) == pytest.approx(float(expected.mean()), abs=allowed), name


def network(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


NAMES = (
    *("efficientnet-b0", "resnet18", "mobilenet_v3_small", "squeezenet1_1"),
    *("narrow-resnet", "alexnet-bn"),
)
# Small ones that timm 1.0.3 knows too.
OF_TIMM = ("timm/resnet10t", "timm/convnext_atto", "timm/vit_tiny_patch16_224", "timm/tinynet_e")


@pytest.mark.parametrize("name", [*NAMES, *OF_TIMM])
def test_the_twin_of_a_backbone_by_name_is_like_a_new_one(name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")

    def make() -> nn.Module:
        return build_backbone(name, 3, SIZE)

    twin = draw_twin(trained(network(make, 1)), seed=3)
    assert_alike(twin.network, network(make, 2))
    assert twin.is_known


def resnet() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(weights=None)


def adapted_resnet() -> nn.Module:
    net = resnet()
    net.fc = nn.Identity()
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    return net


def children_of_mobilenet() -> nn.Module:
    from torchvision.models import mobilenet_v3_small

    return nn.Sequential(*list(mobilenet_v3_small(weights=None).children())[:-1])


def timm_in_a_class() -> nn.Module:
    timm = pytest.importorskip("timm")
    return Holding(timm.create_model("convnext_atto", num_classes=0, in_chans=5))


FOREIGN = {
    "torchvision": resnet,
    "torchvision without its head, and another stem": adapted_resnet,
    "a list of torchvision's layers": children_of_mobilenet,
    "timm in a class": timm_in_a_class,
    "one's own class": lambda: Kaiming(16),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_the_twin_of_a_module_is_like_a_new_one(make: Callable[[], nn.Module]) -> None:
    twin = draw_twin(trained(network(make, 1)), seed=3)
    assert_alike(twin.network, network(make, 2))
    assert twin.is_known


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    (
        "resnet50 convnext_tiny densenet121 vgg11 swin_t regnet_y_400mf googlenet inception_v3 "
        "efficientnet_v2_s shufflenet_v2_x0_5 mnasnet0_5 alexnet timm/resnet50 timm/ghostnet_100 "
        "timm/vit_tiny_patch16_224 timm/swin_tiny_patch4_window7_224 timm/mobilenetv3_small_100 "
        "timm/convnextv2_atto"
    ).split(),
)
def test_the_twin_of_any_backbone_by_name_is_like_a_new_one(name: str) -> None:
    def make() -> nn.Module:
        return build_backbone(name, 3, (96, 96))

    assert_alike(draw_twin(trained(network(make, 1)), seed=3).network, network(make, 2))


@pytest.mark.parametrize("stem", ["imagenet", "medium", "small"])
def test_the_twin_begins_as_the_stem_that_was_asked_for(stem: str) -> None:
    network = build_backbone("resnet18", 3, (32, 32), stem)
    twin = untrained_twin(network)  # at 32 pixels "auto" would be another than two of them
    assert repr(twin) == repr(network)
    images = torch.rand(2, 3, 32, 32)
    assert twin.eval()(images).shape == (2, 512)
    pairs = zip(network.parameters(), twin.parameters(), strict=True)
    assert not all(torch.equal(own, new) for own, new in pairs)


def test_a_class_that_cannot_be_constructed_again_is_shuffled_while_it_is_new() -> None:
    new = network(lambda: Secretive(16), 1)
    twin = draw_twin(new, seed=3)
    assert twin.is_known
    assert_alike(twin.network, network(lambda: Secretive(16), 2))
    before, after = new.state_dict()["conv.weight"], twin.network.state_dict()["conv.weight"]
    assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)


def test_of_a_trained_class_that_cannot_be_constructed_again_nothing_is_claimed() -> None:
    twin = draw_twin(trained(Secretive(16)), seed=3)
    assert not twin.is_known
    assert twin.network.state_dict()["norm.weight"].tolist() == [1.0] * 16


def test_how_a_list_of_torchs_layers_begins_is_not_known() -> None:
    def make() -> nn.Module:
        made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        nn.init.normal_(made[0].weight, std=3.0)  # type: ignore[arg-type]
        return made

    assert not draw_twin(trained(make())).is_known
    assert not draw_twin(make()[:1]).is_known  # type: ignore[index]
    new = draw_twin(make())  # whose norms tell that it has learned nothing
    assert new.is_known and new.is_shuffled
    assert float(new.network.state_dict()["0.weight"].std()) > 2


def test_a_network_half_of_which_is_known_is_known() -> None:
    def known_beside(width: int) -> bool:
        layers = nn.Sequential(nn.Linear(8, width), Kaiming(2))
        return draw_twin(trained(layers)).is_known

    assert sum(p.numel() for p in Kaiming(2).parameters()) == 60  # 54 weights and 6 of the norm
    assert [known_beside(width) for width in (6, 7)] == [True, False]  # 54 and 63 beside them


@pytest.mark.parametrize(
    ("other", "number"),
    [
        (nn.ConvTranspose2d(3, 2, 3), 5),  # of the norm, of which two parameters of four
        (nn.Sequential(nn.ConvTranspose2d(3, 2, 3), nn.Linear(2, 2, bias=False)), None),
    ],
)
def test_a_constructor_counts_that_draws_half_of_the_parameters(
    other: nn.Module, number: int | None
) -> None:
    changed: Any = Kaiming(2)
    changed.conv = other
    pairs = fresh.fresh_tensors(changed, torch.Generator())
    assert (pairs if pairs is None else len(pairs)) == number


def test_layers_that_wait_for_their_first_batch_are_as_new_as_can_be() -> None:
    assert draw_twin(nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyLinear(2))).is_known
    beside_a_norm = draw_twin(nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4)))
    assert beside_a_norm.is_known
    assert beside_a_norm.network.state_dict()["1.weight"].tolist() == [1.0] * 4


def test_a_new_network_of_other_options_is_not_drawn_by_the_default_ones() -> None:
    from torchvision.models import resnet18

    assert not draw_twin(resnet18()).is_shuffled
    twin = draw_twin(resnet18(zero_init_residual=True))
    assert twin.is_shuffled
    assert twin.network.state_dict()["layer1.0.bn2.weight"].tolist() == [0.0] * 64


def test_weights_that_a_constructor_loads_are_not_drawn() -> None:
    twin = draw_twin(Loading(), seed=3)
    weight = twin.network.state_dict()["conv.weight"]
    assert weight.mean().abs() < 0.1
    assert not twin.is_known


def test_two_networks_in_one_do_not_begin_alike() -> None:
    both = Holding(nn.ModuleList([Kaiming(8), Kaiming(8)]))
    state = untrained_twin(both).state_dict()
    assert not torch.equal(state["inside.0.conv.weight"], state["inside.1.conv.weight"])


def test_norms_tell_whether_a_network_has_learned() -> None:
    assert has_learned(resnet()) is False
    assert has_learned(trained(resnet())) is True
    assert has_learned(nn.Sequential(nn.Conv2d(3, 8, 3))) is None
    stepped = nn.BatchNorm2d(4)
    stepped(torch.zeros(2, 4, 3, 3))
    assert has_learned(stepped) is True
    assert has_learned(EfficientFeatures()) is False  # whatever its normalisation holds


def as_in_gans(module: nn.Module) -> None:
    """What DCGAN does to the layers of a new network."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def test_scales_that_are_drawn_tell_of_no_training_where_statistics_have_seen_no_batch() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).apply(as_in_gans)
    assert has_learned(network) is False
    network(torch.rand(2, 3, 8, 8))
    assert has_learned(network) is True
    network[1].get_buffer("num_batches_tracked").zero_()  # as in files of before it was counted
    assert has_learned(network) is True


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(8, track_running_stats=False), nn.GroupNorm(2, 8)])
def test_without_statistics_scales_tell_of_training(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.BatchNorm2d(8))
    assert has_learned(network) is False
    nn.init.normal_(norm.weight, 1.0, 0.02)  # type: ignore[arg-type]
    assert has_learned(network) is True  # a new head on it does not change that


@pytest.mark.parametrize(
    "normed",
    [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm],
)
def test_a_weight_that_is_computed_of_others_is_drawn_too(
    normed: Callable[[nn.Module], nn.Module],
) -> None:
    network = trained(nn.Sequential(normed(nn.Linear(40, 30))))
    twin = draw_twin(network)
    before = dict(network.named_parameters())
    for name, parameter in twin.network.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert not twin.is_known


def test_the_twin_is_drawn_anew_and_the_original_stays() -> None:
    backbone = EfficientFeatures(stem_stride=1)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    twin = untrained_twin(backbone)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, parameter in twin.named_parameters():
        if parameter.ndim == 4:
            assert not torch.equal(parameter, before[name]), name


def test_the_twin_depends_on_its_seed_alone() -> None:
    backbone = build_backbone("squeezenet1_1", 3, SIZE)
    torch.manual_seed(1)
    first = untrained_twin(backbone, seed=3).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = untrained_twin(backbone, seed=3).state_dict(), untrained_twin(backbone, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "network.features.0.weight"
    assert not torch.equal(first[name], other.state_dict()[name])


def test_parameters_without_an_owner_that_resets_them_are_redrawn() -> None:
    twin = untrained_twin(trained(Positioned(9.0)))
    assert isinstance(twin, Positioned)
    position = twin.position.detach()
    assert position.abs().max() <= 0.04
    assert position.std().item() == pytest.approx(0.0176, rel=0.1)  # cut at two deviations of 0.02
    assert twin.bias.tolist() == [0.0] * 4
    assert twin.norm.weight.tolist() == [1.0] * 4
    assert twin.norm.bias.tolist() == [0.0] * 4


def test_an_attention_resets_itself_after_its_parts() -> None:
    network = trained(Positioned(9.0))
    twin = untrained_twin(network)
    assert isinstance(twin, Positioned)
    assert twin.attention.out_proj.bias.tolist() == [0.0] * 4


def test_statistics_of_norms_are_reset() -> None:
    network = Positioned(9.0)
    network.batch_norm(torch.randn(32, 4) + 5)
    twin = untrained_twin(network)
    assert isinstance(twin, Positioned)
    state = {name: value.tolist() for name, value in twin.batch_norm.named_buffers()}
    expected = {"running_mean": [0.0] * 4, "running_var": [1.0] * 4, "num_batches_tracked": 0}
    assert state == expected


def test_mode_dtype_and_frozen_parameters_are_kept() -> None:
    network = trained(Positioned(9.0)).double().eval()
    assert isinstance(network, Positioned)
    network.position.requires_grad_(False)
    twin = untrained_twin(network)
    assert isinstance(twin, Positioned)
    assert not twin.training
    assert not twin.position.requires_grad
    assert twin.norm.weight.requires_grad
    assert twin.position.dtype == torch.float64


def test_a_cut_network_is_made_by_what_it_was_cut_from() -> None:
    from torchvision.models import resnet18, resnet34

    for whole in (resnet18, resnet34):
        network: nn.Module = whole()
        network.layer3, network.fc = nn.Identity(), nn.Identity()  # as long as a shorter one
        maker = fresh._best_maker(network, fresh.tensors_by_kind(network))
        assert getattr(maker, "func", None) is whole


def test_a_single_number_is_constant_only_where_it_is_none_or_one() -> None:
    numbers = [[0.37], [0.0], [1.0], [0.37, 0.37], [0.37, 0.38], []]
    found = [_is_constant(torch.tensor(each)) for each in numbers]
    assert found == [False, True, True, True, False, False]
