"""A transformer of timm that sees some patches of an image, and a decoder that paints the others.

He et al., 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377: the network
that is kept works on the visible patches alone, so a step costs a quarter; a small second one, of
the same blocks, gets their tokens with a mask token at every other place.

Shapes: `B` images, `C, H, W` image, `h, w` patches from top to bottom and from left to right,
`L = h w` patches, `n` visible ones, `P` tokens that stand for no patch (class, registers),
`D` features, `K` decoder, `E` numbers of a patch.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.models.combined_net import CombinedNet
from super_selfish.models.transformers import patch_of
from super_selfish.models.wrappers import unwrapped

TRANSFORMER = "timm/vit_tiny_patch16_224"  # which everybody can build, with patches as images need
_BASE = 10_000  # of the wavelengths of positions: Vaswani et al., 2017, arXiv 1706.03762, 3.5


def require_transformer(backbone: nn.Module) -> None:
    """Refuses a network that cannot see some patches alone.

    Args:
        backbone: As it was given or built.

    Raises:
        ValueError: If it is none of timm's vision transformers, has a convolutional network before
            them, or pools by attention, which nothing here would train.
    """
    network: Any = unwrapped(backbone)
    kind = type(network).__name__
    instead = f'give backbone="{TRANSFORMER}", or another VisionTransformer of timm'
    if not _is_transformer(network):
        raise ValueError(
            f"MAE shows its network a quarter of the patches of an image, which {kind} cannot "
            f"see without the others: {instead}"
        )
    if patch_of(network) is None:
        raise ValueError(
            f"MAE hides patches of images, but those of this {kind} are of the maps of a "
            f"convolutional network, which has seen what is beside them: {instead}"
        )
    if network.attn_pool is not None:
        raise ValueError(
            f"MAE trains tokens, and not the attention by which this {kind} pools them: build it "
            'with global_pool="avg"'
        )


def _is_transformer(network: nn.Module) -> bool:
    try:
        from timm.models.vision_transformer import VisionTransformer
    except ImportError:  # then it is none of timm's
        return False
    # One that goes through its layers in another way is none that `visible_tokens` knows.
    return (
        isinstance(network, VisionTransformer)
        and type(network).forward_features is VisionTransformer.forward_features
    )


def visible_tokens(transformer: nn.Module, images: Tensor, visible: Tensor) -> Tensor:
    """What a transformer of timm makes of some patches of images, as if there were no others.

    With all of them it is `forward_features`, in the order of the patches.

    Args:
        transformer: That `require_transformer` takes.
        images: `[B, C, H, W]`.
        visible: `[B, n]`, int64, places of patches, each once in an image.

    Returns:
        `[B, P + n, D]`, normalised as its features are.
    """
    network: Any = unwrapped(transformer)
    tokens = network._pos_embed(network.patch_embed(images))  # (B, P + L, D)
    prefix, patches = tokens.tensor_split([network.num_prefix_tokens], dim=1)
    tokens = torch.cat([prefix, chosen(patches, visible)], dim=1)  # (B, P + n, D)
    tokens = network.norm_pre(tokens)
    if network.grad_checkpointing and not torch.jit.is_scripting():
        from timm.models import checkpoint_seq

        tokens = checkpoint_seq(network.blocks, tokens)
    else:
        tokens = network.blocks(tokens)
    # The norm stands before or after pooling; tokens get the one that there is.
    normalised: Tensor = network.fc_norm(network.norm(tokens))
    return normalised


def chosen(patches: Tensor, index: Tensor) -> Tensor:
    """Some patches, or tokens, of each image.

    Args:
        patches: `[B, L, D]`.
        index: `[B, n]`, int64, their places.

    Returns:
        `[B, n, D]`.
    """
    return patches.gather(1, _spread(index, patches))


def _spread(index: Tensor, patches: Tensor) -> Tensor:
    return index.unsqueeze(2).expand(-1, -1, patches.shape[2])


def sin_cos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Sines and cosines of places on a grid: half of the numbers tell the row, half the column.

    Vaswani et al., 2017, arXiv 1706.03762, section 3.5, in two dimensions as in MAE's code.

    Args:
        grid: Rows and columns.
        width: Numbers of a place, divisible by 4.

    Returns:
        `[L, width]`, float32, row by row.

    Raises:
        ValueError: If the width is not divisible by 4.
    """
    if width < 4 or width % 4 != 0:
        raise ValueError(f"positions have a width divisible by 4, got {width}")
    quarter = width // 4
    rates = torch.tensor([_BASE ** (-k / quarter) for k in range(quarter)], dtype=torch.float64)
    rows, columns = (torch.arange(side, dtype=torch.float64)[:, None] * rates for side in grid)
    of_rows = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, grid[1], -1)
    of_columns = torch.cat([columns.sin(), columns.cos()], dim=1).expand(grid[0], -1, -1)
    return torch.cat([of_rows, of_columns], dim=2).flatten(0, 1).float()


class PatchDecoder(nn.Module):
    """From the tokens of visible patches to the numbers of all patches.

    He et al., 2021, section 3: "The MAE decoder is another series of Transformer blocks", on the
    encoded visible patches and mask tokens, "a shared, learned vector", with fixed positions of
    sines and cosines (authors' code). Blocks are timm's.

    Attributes:
        embed: To the width of the decoder.
        mask_token: `[1, 1, K]`, what stands for a hidden patch.
        positions: `[1, L, K]`; tokens that stand for no patch have none, as in the authors' code.
    """

    positions: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        grid: tuple[int, int],
        *,
        width: int = 512,
        depth: int = 8,
        num_heads: int = 16,
    ) -> None:
        """Builds the layers.

        Args:
            in_features: `D`.
            out_features: `E`.
            grid: `(h, w)`.
            width: `K`, divisible by 4 and by the heads.
            depth: Number of blocks.
            num_heads: Of attention.

        Raises:
            ValueError: If the width is not divisible so.
        """
        super().__init__()
        from timm.models.vision_transformer import Block

        if width % num_heads != 0:
            raise ValueError(f"a width of {width} cannot be shared among {num_heads} heads")
        norm: Any = partial(
            nn.LayerNorm, eps=1e-6
        )  # as in timm's transformers, and the authors' code
        self.embed = nn.Linear(in_features, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("positions", sin_cos_positions(grid, width)[None], persistent=False)
        self.blocks = nn.Sequential(
            *(Block(width, num_heads, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        )
        self.norm = norm(width)
        self.paint = nn.Linear(width, out_features)
        self._begin()

    def _begin(self) -> None:
        """Weights as in the authors' code, but the last ones small: at first it paints nothing."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.mask_token, std=0.02)
        nn.init.normal_(self.paint.weight, std=0.02)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Paints all patches.

        Args:
            tokens: `[B, P + n, D]`, of visible patches behind those of none.
            visible: `[B, n]`, int64, their places.

        Returns:
            `[B, L, E]`, in the order of the patches.
        """
        embedded = self.embed(tokens)  # (B, P + n, K)
        prefix, seen = embedded.tensor_split([tokens.shape[1] - visible.shape[1]], dim=1)
        # In the type of the tokens, which under autocast is not that of the weights.
        masks = self.mask_token.to(seen).expand(len(seen), self.positions.shape[1], -1)
        canvas = masks.scatter(1, _spread(visible, seen), seen) + self.positions  # (B, L, K)
        hidden = self.blocks(torch.cat([prefix, canvas.to(prefix)], dim=1))
        painted: Tensor = self.paint(self.norm(hidden[:, prefix.shape[1] :]))
        return painted


class MaskedNet(CombinedNet):
    """A transformer that sees visible patches, and a decoder that paints all.

    Unlike other combinations it is one network, which is compiled, and shared out to devices, as a
    whole: its backbone, which `require_transformer` takes, is not called but gone through. The
    predictor goes from tokens `[B, P + n, D]` and places `[B, n]` to patches `[B, L, E]`.
    """

    holds_networks = False

    def forward(self, images: Tensor, visible: Tensor) -> Tensor:  # type: ignore[override]
        """Paints all patches of images of which some are seen.

        Args:
            images: `[B, C, H, W]`, float in [0, 1].
            visible: `[B, n]`, int64, places of patches that are seen.

        Returns:
            `[B, L, E]`.
        """
        painted: Tensor = self.predictor(self.tokens(images, visible), visible)
        return painted

    def tokens(self, images: Tensor, visible: Tensor) -> Tensor:
        """Tokens `[B, P + n, D]` of the visible patches."""
        return visible_tokens(self.backbone, self._preprocessed(images), visible)


def number_visible(num_patches: int, mask_ratio: float) -> int:
    """How many patches are seen: the whole part of their share, as in the authors' code.

    Args:
        num_patches: `L`.
        mask_ratio: Share of hidden patches, in (0, 1).
    """
    return math.floor(num_patches * (1 - mask_ratio) + 1e-9)  # 10 * (1 - 0.9) is 0.99999...
