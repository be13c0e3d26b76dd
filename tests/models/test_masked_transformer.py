from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from super_selfish.models import Normalize
from super_selfish.models.masked_transformer import (
    MaskedNet,
    PatchDecoder,
    chosen,
    number_visible,
    require_transformer,
    sin_cos_positions,
    visible_tokens,
)
from tests.conftest import TinyBackbone

timm = pytest.importorskip("timm")

SIZES = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "img_size": 32}
# Tokens of no patch: one, none, one with registers, two.
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "class token": ("vit_tiny_patch16_224", {}, 1),
    "no class token": (
        "vit_tiny_patch16_224",
        {"class_token": False, "global_pool": "avg"},
        0,
    ),
    "registers": ("vit_tiny_patch16_224", {"reg_tokens": 3, "no_embed_class": True}, 4),
    "distilled": ("deit_tiny_distilled_patch16_224", {}, 2),
    "norm before": ("vit_tiny_patch16_224", {"pre_norm": True}, 1),
    "any size": ("vit_tiny_patch16_224", {"dynamic_img_size": True}, 1),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def transformer(kind: str = "class token", **more: Any) -> Any:
    torch.manual_seed(0)
    name, options, _ = KINDS[kind]
    made = timm.create_model(name, num_classes=0, **{**SIZES, **options, **more})
    with torch.no_grad():  # norms that differ from none
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def images_of(generator: torch.Generator, number: int = 2) -> Tensor:
    return torch.rand(number, 3, 32, 32, generator=generator)


@every_kind
def test_all_patches_in_their_order_are_what_the_transformer_sees(
    kind: str, generator: torch.Generator
) -> None:
    network, images = transformer(kind), images_of(generator)
    with torch.no_grad():
        found = visible_tokens(network, images, torch.arange(16).expand(2, -1))
        expected = network.fc_norm(network.forward_features(images))
    assert torch.equal(found, expected)
    assert found.shape == (2, KINDS[kind][2] + 16, 16)


@every_kind
def test_hidden_patches_are_not_seen_and_the_others_keep_their_places(
    kind: str, generator: torch.Generator
) -> None:
    network, images = transformer(kind), images_of(generator)
    prefix = KINDS[kind][2]
    visible = torch.tensor([[3, 9, 4], [0, 15, 7]])
    with torch.no_grad():
        found = visible_tokens(network, images, visible)
        assert found.shape == (2, prefix + 3, 16)
        others = torch.rand(images.shape, generator=generator)
        for image, places in enumerate(visible.tolist()):
            for place in places:
                top, left = 8 * (place // 4), 8 * (place % 4)
                seen = images[image, :, top : top + 8, left : left + 8]
                others[image, :, top : top + 8, left : left + 8] = seen
        torch.testing.assert_close(visible_tokens(network, others, visible), found)
        # Attention has no order: tokens stand where their patches were named.
        turned = visible_tokens(network, images, visible[:, [2, 0, 1]])
        order = [*range(prefix), *(prefix + k for k in (2, 0, 1))]
        torch.testing.assert_close(turned, found[:, order])
        # A place tells: the same pixels elsewhere are something else.
        moved = visible_tokens(network, images.roll(8, dims=3), (visible + 1) % 16)
        assert not torch.allclose(moved, found, atol=1e-3)


def test_checkpointed_blocks_have_the_same_gradient(generator: torch.Generator) -> None:
    images, visible = images_of(generator), torch.tensor([[3, 9, 4], [0, 15, 7]])
    gradients = []
    for saves_memory in (False, True):
        network = transformer()
        network.set_grad_checkpointing(saves_memory)
        visible_tokens(network, images, visible).square().mean().backward()
        gradients.append(network.patch_embed.proj.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("resnet18", {}, "which ResNet cannot see without the others: give backbone="),
        ("eva02_tiny_patch14_224", {"depth": 1}, "which Eva cannot see"),
        ("vit_relpos_small_patch16_224", {"depth": 1}, "which VisionTransformerRelPos cannot see"),
        ("vit_tiny_r_s16_p8_224", {"depth": 1}, "of a convolutional network"),
        (
            "vit_tiny_patch16_224",
            {"global_pool": "map", "depth": 1},
            r'build it with global_pool="avg"',
        ),
    ],
)
def test_other_networks_are_refused_with_what_to_give(
    name: str, options: dict[str, Any], words: str
) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0, **options)
    with pytest.raises(ValueError, match=words):
        require_transformer(network)


def test_one_that_goes_another_way_through_its_layers_is_refused() -> None:
    def backwards(self: Any, images: Tensor) -> Any:
        return self.blocks[::-1](self._pos_embed(self.patch_embed(images)))

    usual = timm.models.vision_transformer.VisionTransformer
    kind: Any = type("Backwards", (usual,), {"forward_features": backwards})
    with pytest.raises(ValueError, match="which Backwards cannot see"):
        require_transformer(kind(num_classes=0, **SIZES))
    with pytest.raises(ValueError, match="which TinyBackbone cannot see"):
        require_transformer(TinyBackbone())
    require_transformer(torch.nn.DataParallel(transformer()))  # by what is inside


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    found = sin_cos_positions((3, 5), 8)
    assert found.shape == (15, 8) and found.dtype == torch.float32
    for row in range(3):
        for column in range(5):
            rates = [1.0, 1 / 100]  # 10000 ** (-k / 2)
            expected = [
                f(place * rate)
                for place in (row, column)
                for f in (math.sin, math.cos)
                for rate in rates
            ]
            assert found[5 * row + column].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("width", [0, 2, 6, -4])
def test_positions_have_a_width_divisible_by_four(width: int) -> None:
    with pytest.raises(ValueError, match=f"divisible by 4, got {width}"):
        sin_cos_positions((2, 2), width)


def test_the_decoder_puts_tokens_at_their_places_and_masks_at_the_others() -> None:
    decoder: Any = PatchDecoder(8, 8, (2, 3), width=8, depth=1, num_heads=2)
    for name in ("embed", "blocks", "norm", "paint"):
        setattr(decoder, name, nn.Identity())
    tokens, visible = torch.randn(1, 2 + 2, 8), torch.tensor([[4, 1]])  # two of no patch
    with torch.no_grad():
        painted = decoder(tokens, visible)[0] - decoder.positions[0]
    torch.testing.assert_close(painted[4], tokens[0, 2])
    torch.testing.assert_close(painted[1], tokens[0, 3])
    for hidden in (0, 2, 3, 5):
        torch.testing.assert_close(painted[hidden], decoder.mask_token[0, 0].detach())


def test_the_decoder_needs_no_order_but_places(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    decoder = PatchDecoder(16, 12, (4, 4), width=8, depth=2, num_heads=2)
    tokens, visible = torch.randn(2, 1 + 3, 16), torch.tensor([[3, 9, 4], [0, 15, 7]])
    with torch.no_grad():
        painted = decoder(tokens, visible)
        assert painted.shape == (2, 16, 12)
        turned = decoder(tokens[:, [0, 2, 3, 1]], visible[:, [1, 2, 0]])
        torch.testing.assert_close(turned, painted)
    assert float(decoder.paint.weight.detach().std()) == pytest.approx(0.02, rel=0.3)
    assert not decoder.state_dict().keys() & {"positions"}  # they are not learned


def test_a_width_is_shared_among_heads() -> None:
    with pytest.raises(ValueError, match="a width of 8 cannot be shared among 3 heads"):
        PatchDecoder(16, 12, (4, 4), width=8, depth=1, num_heads=3)


def test_images_are_normalised_for_the_transformer(generator: torch.Generator) -> None:
    network, images = transformer(), images_of(generator)
    scaling = Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    visible = torch.tensor([[1, 2], [3, 4]])
    joined = MaskedNet(network, PatchDecoder(16, 192, (4, 4), width=8, num_heads=2), scaling)
    with torch.no_grad():
        found = joined.tokens(images, visible)
        assert torch.equal(found, visible_tokens(network, scaling(images), visible))
        assert torch.equal(joined(images, visible), joined.predictor(found, visible))


def test_rows_are_chosen_image_by_image(generator: torch.Generator) -> None:
    rows, index = torch.rand(2, 5, 3, generator=generator), torch.tensor([[4, 0], [1, 1]])
    found = chosen(rows, index)
    expected = [[rows[i, place].tolist() for place in index[i].tolist()] for i in range(2)]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("patches", "ratio", "number"),
    [(196, 0.75, 49), (225, 0.75, 56), (10, 0.9, 1), (16, 0.99, 0), (64, 0.5, 32), (7, 0.01, 6)],
)
def test_the_whole_part_of_the_share_is_seen(patches: int, ratio: float, number: int) -> None:
    assert number_visible(patches, ratio) == number
