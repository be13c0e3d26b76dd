from __future__ import annotations

import copy
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import EfficientFeatures, Normalize
from super_selfish.models.efficientnet import EFFICIENTNETS, SamePaddingConv2d
from super_selfish.models.inverted_bottleneck import DepthwiseConv2d
from tests.references import same_convolution_in_loops


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """efficientnet-pytorch's own network with lived-in statistics, and its file."""
    from efficientnet_pytorch import EfficientNet

    torch.manual_seed(0)
    network = EfficientNet.from_name("efficientnet-b0")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("published") / "b0.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), path


@functools.cache
def untrained(norm_type: Any, stem_stride: int) -> EfficientFeatures:
    return EfficientFeatures(norm_type=norm_type, stem_stride=stem_stride).eval()


@pytest.fixture(scope="module")
def small() -> EfficientFeatures:
    torch.manual_seed(0)
    return EfficientFeatures(stem_stride=1)


def test_published_weights_give_the_features_of_efficientnet_pytorch(
    published: tuple[Any, Path], generator: torch.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    original, path = published
    features = EfficientFeatures(pretrained=path).eval()
    images = torch.rand(1, 3, 224, 224, generator=generator)
    with torch.no_grad():
        expected = original.extract_features(Normalize.imagenet()(images))
        torch.testing.assert_close(
            features.forward_features(images), expected, atol=1e-5, rtol=1e-5
        )
    assert capsys.readouterr().out == ""


def test_pretrained_true_goes_through_the_loader_of_efficientnet_pytorch(
    published: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load_url(url: str) -> dict[str, Tensor]:
        asked.append(url)
        return torch.load(published[1], weights_only=True)

    monkeypatch.setattr("torch.utils.model_zoo.load_url", load_url)
    features = EfficientFeatures(pretrained=True)
    assert asked[0].endswith("efficientnet-b0-355c32eb.pth")
    assert torch.equal(features.get_parameter("_conv_stem.weight"), published[0]._conv_stem.weight)


def test_names_of_the_published_file_are_kept(published: tuple[Any, Path]) -> None:
    features = EfficientFeatures()
    missing, unexpected = features.load_state_dict(published[0].state_dict(), strict=False)
    assert set(missing) == {"normalize.mean", "normalize.std"}
    assert set(unexpected) == {"_fc.weight", "_fc.bias"}


def test_gray_images_through_adapted_published_weights_look_like_gray_rgb(
    published: tuple[Any, Path], generator: torch.Generator
) -> None:
    gray = torch.rand(1, 1, 32, 32, generator=generator)
    stems = [EfficientFeatures(pretrained=published[1], in_channels=c)._conv_stem for c in (1, 3)]
    with torch.no_grad():
        torch.testing.assert_close(stems[0](gray), stems[1](gray.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_published_weights_load_for_every_number_of_channels(
    channels: int, published: tuple[Any, Path], generator: torch.Generator
) -> None:
    features = EfficientFeatures(pretrained=published[1], in_channels=channels).eval()
    plane = torch.rand(1, 1, 32, 32, generator=generator).expand(-1, channels, -1, -1)
    three = EfficientFeatures(pretrained=published[1])._conv_stem(
        plane[:, :1].expand(-1, 3, -1, -1)
    )
    torch.testing.assert_close(features._conv_stem(plane), three)  # activations keep their size
    assert features(plane).shape == (1, 1280)


@pytest.mark.parametrize("norm_type", ["batch", "layer"])
@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 40), (225, 70)])
def test_every_size_gives_a_map_of_its_aspect(
    norm_type: Any, stem_stride: int, size: tuple[int, int]
) -> None:
    features = untrained(norm_type, stem_stride)
    stride = 16 * stem_stride
    expected = (1, 1280, -(-size[0] // stride), -(-size[1] // stride))
    with torch.no_grad():
        maps = features.forward_features(torch.rand(1, 3, *size))
    assert maps.shape == expected
    assert maps.isfinite().all()


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (8, 7), (5, 10), (2, 3), (1, 1)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_padding_equals_the_loops(
    size: tuple[int, int], kernel: int, stride: int, generator: torch.Generator
) -> None:
    images = torch.rand(2, 2, *size, generator=generator)
    conv = SamePaddingConv2d(2, 3, kernel, stride, bias=False)
    expected = same_convolution_in_loops(images, conv.weight.detach(), stride)
    torch.testing.assert_close(conv(images).double(), expected, atol=1e-5, rtol=1e-5)


def test_layer_norm_never_mixes_samples(generator: torch.Generator) -> None:
    # B13 of release 0.0.6: its "layer norm" took statistics over the batch.
    features = EfficientFeatures(norm_type="layer", stem_stride=1)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in features.modules())
    features.drop_connect_rates = (0.0,) * len(features.drop_connect_rates)  # random per sample
    images = torch.rand(3, 3, 32, 32, generator=generator)
    with torch.no_grad():
        for _ in range(2):  # in train mode, then in eval mode
            alone = torch.cat([features(image[None]) for image in images])
            torch.testing.assert_close(features(images), alone, atol=1e-4, rtol=1e-4)
            features.eval()


def test_layer_norm_standardises_every_sample(generator: torch.Generator) -> None:
    norm = EfficientFeatures(norm_type="layer")._bn0
    x = torch.randn(2, 32, 5, 5, generator=generator) * 3 + 1
    deviation, mean = torch.std_mean(norm(x), dim=(1, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(2), atol=1e-3, rtol=0)


def test_batch_norm_momentum_is_torchs_from_scratch_and_published_otherwise(
    published: tuple[Any, Path],
) -> None:
    for features, momentum in (
        (EfficientFeatures(), 0.1),
        (EfficientFeatures(pretrained=published[1]), 0.01),
    ):
        norms = [m for m in features.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(norms) == 49
        assert [norm.momentum for norm in norms] == pytest.approx([momentum] * 49)


def test_images_are_normalised_inside(small: EfficientFeatures) -> None:
    images = torch.rand(2, 3, 32, 32)
    outside = copy.deepcopy(small).eval()
    outside.normalize = Normalize((0.0,) * 3, (1.0,) * 3)
    with torch.no_grad():
        expected = outside(Normalize.imagenet()(images))
        torch.testing.assert_close(copy.deepcopy(small).eval()(images), expected)


def test_every_parameter_gets_a_gradient(small: EfficientFeatures) -> None:
    features = copy.deepcopy(small)
    features.drop_connect_rates = (0.0,) * len(features.drop_connect_rates)
    maps = features.forward_features(torch.rand(2, 3, 32, 32))
    (maps * torch.randn_like(maps)).sum().backward()
    for name, parameter in features.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_dropped_branches_keep_the_mean_in_train_mode(small: EfficientFeatures) -> None:
    block = copy.deepcopy(small)._blocks[2].eval()  # the first with a residual
    images = torch.rand(1, 24, 4, 4)
    with torch.no_grad():
        plain = block(images)
        assert torch.equal(block(images, drop_connect_rate=0.5), plain)
        block.training = True  # its norms stay in eval mode
        torch.manual_seed(0)
        dropped = block(images.expand(512, -1, -1, -1), drop_connect_rate=0.5)
    is_dropped = (dropped == images).flatten(1).all(dim=1)
    assert 200 < int(is_dropped.sum()) < 312
    kept = dropped[~is_dropped] - images
    torch.testing.assert_close(kept, (2 * (plain - images)).expand_as(kept), atol=1e-5, rtol=1e-4)


def test_drop_connect_rates_grow_with_depth(small: EfficientFeatures) -> None:
    assert small.drop_connect_rates[0] == 0
    assert small.drop_connect_rates[-1] == pytest.approx(0.2 * 15 / 16)


def test_reset_parameters_draws_everything_anew(published: tuple[Any, Path]) -> None:
    features = EfficientFeatures(pretrained=published[1])
    before = copy.deepcopy(features.state_dict())
    features.reset_parameters()
    for name, parameter in features.named_parameters():
        if parameter.ndim == 4:
            assert not torch.equal(parameter, before[name]), name
    assert all(
        torch.equal(m.running_mean, torch.zeros_like(m.running_mean))  # type: ignore[arg-type]
        for m in features.modules()
        if isinstance(m, nn.BatchNorm2d)
    )
    assert torch.equal(features.normalize.mean, before["normalize.mean"])


def test_no_memory_saving_swish_is_left(small: EfficientFeatures) -> None:
    assert not [m for m in small.modules() if "swish" in type(m).__name__.lower()]


def test_b1_is_wider_or_deeper_than_b0(small: EfficientFeatures) -> None:
    other = EfficientFeatures("efficientnet-b2", stem_stride=1).eval()
    assert other.num_features == 1408
    with torch.no_grad():
        assert other(torch.rand(1, 3, 32, 32)).shape == (1, 1408)


def test_channels_last_goes_through_and_changes_nothing(small: EfficientFeatures) -> None:
    features = copy.deepcopy(small).eval()
    images = torch.rand(2, 3, 32, 36)
    with torch.no_grad():
        expected = features.forward_features(images)
        last = features.to(memory_format=torch.channels_last)
        maps = last.forward_features(images.to(memory_format=torch.channels_last))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-4)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^name must be one of efficientnet-b0, .* got 'b0'$"):
        EfficientFeatures("b0")
    with pytest.raises(ValueError, match=r'^norm_type must be "batch" or "layer", got \'group\'$'):
        EfficientFeatures(norm_type="group")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^stem_stride must be 1 or 2, got 4$"):
        EfficientFeatures(stem_stride=4)
    with pytest.raises(ValueError, match=r"^in_channels must be >= 1, got 0$"):
        EfficientFeatures(in_channels=0)


def test_wrong_images_are_refused(small: EfficientFeatures) -> None:
    with pytest.raises(TypeError, match=r"^expected float images in \[0, 1\], got torch.uint8"):
        small(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"^expected images \[B, 3, H, W\], got \[1, 1, 32, 32\]$"):
        small(torch.zeros(1, 1, 32, 32))


def test_importing_the_models_imports_no_network_library() -> None:
    code = (
        "import sys, super_selfish.models, super_selfish.losses, super_selfish.memory;"
        "assert not {'efficientnet_pytorch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 7), (4, 4), (3, 2), (9, 9)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_convolutions_of_small_maps_are_the_same_in_train_mode(
    size: tuple[int, int], kernel: int, generator: torch.Generator
) -> None:
    conv = DepthwiseConv2d(6, 6, kernel, padding=kernel // 2, groups=6, bias=False)
    images = torch.rand(2, 6, *size, generator=generator)
    results = []
    for training in (True, False):
        conv.train(training).zero_grad()
        inputs = images.clone().requires_grad_()
        maps = conv(inputs)
        maps.square().sum().backward()
        results.append((maps.detach(), inputs.grad, conv.weight.grad))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("stride", "stem"), [(1, "small"), (2, "imagenet")])
def test_the_stem_is_told(stride: int, stem: str) -> None:
    features = EfficientFeatures(stem_stride=stride)
    assert features.stem == stem
    assert (features.first_layers is None) == (stem == "imagenet")


def test_the_published_networks_have_names() -> None:
    assert EFFICIENTNETS == tuple(f"efficientnet-b{size}" for size in (0, 1, 2, 3, 4, 5, 6, 7))
