"""A backbone of which a head sees a learned combination of the outputs of its blocks.

Doersch, Zisserman, 2017, arXiv 1708.07860, section 3.2: with an L1 penalty on the coefficients (a
lasso) each task uses few layers of the network that it shares with others.

Shapes: `B` images, `C, H, W` image, `M` blocks, `D` features, `h, w` map of the backbone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models.combined_net import as_map, map_function, one_patch_fits
from super_selfish.models.dry_run import REFUSALS, without_a_trace
from super_selfish.models.wrappers import unwrapped

LAST = "map"  # what the backbone itself gives
_EPS = 1e-6  # added to mean squares


class SharedBlocks(nn.Module):
    """Makes what the blocks of a backbone give alike: of `D` channels, one size, and one strength.

    A block of another width than the backbone's own map has a 1x1 convolution, which all tasks
    share; every map is averaged over the cells of the last one, and divided by its root mean
    square over channels and places, image by image, so that coefficients can be compared.

    Attributes:
        names: Of the blocks as in `named_modules()`, first block first; the backbone's own map,
            `"map"`, is the last.
        dim: `D`.
    """

    def __init__(self, network: nn.Module, in_channels: int, image_size: tuple[int, int]) -> None:
        """Finds the blocks by one dry run.

        Args:
            network: A backbone that gives maps; is left as it is.
            in_channels: `C`.
            image_size: `(H, W)`, pixels.

        Raises:
            ValueError: If no block but the last gives maps, or the network cannot take the images.
            TypeError: If the network gives no map.
        """
        super().__init__()
        found, last = maps_of_blocks(network, in_channels, image_size)
        if not found:
            kind, names = type(unwrapped(network)).__name__, block_names(network)
            raise ValueError(
                f"no blocks of {kind} are known whose maps [B, D, h, w] a lasso could combine (its "
                f"blocks: {', '.join(names[:4]) or 'none'}): leave lasso= out, or take a network "
                "whose blocks are modules in a row, such as a ResNet"
            )
        self.names = (*found, LAST)
        self.dim = last.shape[1]
        widths = [maps.shape[1] for maps in found.values()]
        self.projections = nn.ModuleList(
            nn.Identity() if width == self.dim else nn.Conv2d(width, self.dim, 1, bias=False)
            for width in (*widths, self.dim)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """What the blocks gave, the backbone's own map last, each as `[B, D, h, w]`."""
        size = (maps[-1].shape[-2], maps[-1].shape[-1])
        alike = []
        for block, project in zip(maps, self.projections, strict=True):
            pooled = block if block.shape[-2:] == size else F.adaptive_avg_pool2d(block, size)
            projected = project(pooled)
            exact = projected.to(torch.promote_types(projected.dtype, torch.float32))
            square = exact.square().mean(dim=(1, 2, 3), keepdim=True)
            alike.append(projected * (square + _EPS).rsqrt().to(projected.dtype))
        return alike


class Coefficients(nn.Module):
    """A number for each of `M` blocks, of unit length together. They begin alike."""

    def __init__(self, number: int) -> None:
        """Takes `M`."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(number))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Makes all alike."""
        nn.init.ones_(self.weight)

    def forward(self) -> Tensor:
        """`[M]`."""
        return F.normalize(self.weight, dim=0)


class BlockMixture(nn.Module):
    """A backbone, as a head sees it that has a coefficient for each block.

    Several of them may hold one backbone, and the same `SharedBlocks`.

    Attributes:
        network: The backbone.
        blocks: What makes the outputs of its blocks alike.
        coefficients: Of this head.
    """

    def __init__(self, network: nn.Module, blocks: SharedBlocks) -> None:
        """Takes the backbone, and its blocks."""
        super().__init__()
        self.network = network
        self.blocks = blocks
        self.coefficients = Coefficients(len(blocks.names))

    @property
    def num_features(self) -> int:
        """`D`."""
        return self.blocks.dim

    @property
    def normalize(self) -> nn.Module | None:
        """What the backbone does first, if it normalises."""
        found = getattr(unwrapped(self.network), "normalize", None)
        return found if isinstance(found, nn.Module) else None

    def forward_features(self, images: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, D, h, w]`: the sum of the blocks' maps times coefficients."""
        maps = self.blocks(outputs_of(self.network, self.blocks.names[:-1], images))
        parts = zip(self.coefficients().to(maps[0].dtype), maps, strict=True)
        return torch.stack([coefficient * block for coefficient, block in parts]).sum(dim=0)

    def forward(self, images: Tensor) -> Tensor:
        """The same averaged over space: `[B, C, H, W]` to `[B, D]`."""
        return self.forward_features(images).mean(dim=(2, 3))

    def penalty(self) -> Tensor:
        """The L1 norm of the coefficients: 1 for one block, `sqrt(M)` for all alike."""
        return self.coefficients().abs().sum()

    @torch.no_grad()
    def shares(self) -> dict[str, float]:
        """How much a head's input has of each block: squares of coefficients, which add to 1."""
        return dict(zip(self.blocks.names, self.coefficients().square().tolist(), strict=True))


def outputs_of(network: nn.Module, names: Sequence[str], images: Tensor) -> list[Tensor]:
    """Maps that blocks of a network give, and last the network's own.

    Args:
        network: Any backbone that gives maps.
        names: Of blocks, as in `named_modules()`.
        images: `[B, C, H, W]`.

    Returns:
        `[B, C', h', w']` each.

    Raises:
        RuntimeError: If a block was not called.
        TypeError, ValueError: If one gave no map.
    """
    inside = unwrapped(network)
    with _noting(inside, names) as noted:
        last = map_function(network)(images)
    for name in names:
        if name not in noted:
            raise RuntimeError(
                f"the block {name} of {type(inside).__name__} was not called, so that its output "
                "is not known: compile the network later, or not at all"
            )
    return [as_map(network, output, images) for output in (*(noted[n] for n in names), last)]


@contextmanager
def _noting(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """While entered, keeps what the blocks return; of one that is called twice, the latter."""
    noted: dict[str, Any] = {}
    blocks = {name: network.get_submodule(name) for name in names}

    def note(name: str, forward: Any) -> Any:
        def noting(*args: Any, **kwargs: Any) -> Any:
            noted[name] = output = forward(*args, **kwargs)
            return output

        return noting

    # Not by hooks: copies of a network on several devices share them, and run at the same time.
    before = {name: block.__dict__.get("forward") for name, block in blocks.items()}
    for name, block in blocks.items():
        block.__dict__["forward"] = note(name, block.forward)
    try:
        yield noted
    finally:
        for name, block in blocks.items():
            block.__dict__.pop("forward")
            if before[name] is not None:
                block.__dict__["forward"] = before[name]


def block_names(network: nn.Module) -> list[str]:
    """Names of the blocks of a network in the order of `named_modules()`, as far as it shows them.

    Blocks are its children with parameters, those of containers (`nn.Sequential`, lists, the only
    child of the whole) in place of these. A sequence of plain layers is one block; if it is the
    whole network, one ends before each layer with weights that is no norm. Layers by themselves,
    such as a first convolution, are no blocks.

    Args:
        network: Any.
    """
    found = _composite(unwrapped(network), "", is_whole=True)
    if len(found) > 1:
        return found
    chain = unwrapped(network) if not found else unwrapped(network).get_submodule(found[0])
    return _ends_of_layers(chain, found[0] if found else "")


def _composite(module: nn.Module, path: str, *, is_whole: bool = False) -> list[str]:
    children = _trained_children(module)
    is_only = is_whole and len(children) == 1
    found: list[str] = []
    for name, child in children:
        own = f"{path}{name}"
        inside = [grandchild for _, grandchild in _trained_children(child)]
        is_list = isinstance(child, nn.Sequential | nn.ModuleList)
        is_plain = not any(True for grandchild in inside for _ in grandchild.children())
        if (is_list or is_only) and not is_plain:
            found += _composite(child, f"{own}.", is_whole=is_only)
        elif inside:
            found.append(own)
    return found


def _trained_children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(n, c) for n, c in module.named_children() if next(c.parameters(), None) is not None]


def _ends_of_layers(chain: nn.Module, path: str) -> list[str]:
    """The last modules before each layer of a sequence, and the very last one."""
    if not isinstance(chain, nn.Sequential):
        return [path] if path else []
    names, ends = list(chain._modules), []
    for place, layer in enumerate(chain):
        own = list(layer.parameters())
        if place and own and not all(parameter.ndim <= 1 for parameter in own):
            ends.append(names[place - 1])
    return [f"{path}.{name}" if path else name for name in [*ends, names[-1]]]


def maps_of_blocks(
    network: nn.Module, in_channels: int, image_size: tuple[int, int]
) -> tuple[dict[str, Tensor], Tensor]:
    """The maps of the blocks that give some, but for the last map; and that one, by a dry run.

    Args:
        network: A backbone that gives maps; is left as it is.
        in_channels: `C`.
        image_size: `(H, W)`, pixels.

    Returns:
        By the names of the blocks `[1, C', h', w']`, in the order in which they are built; and
        `[1, D, h, w]`.

    Raises:
        ValueError: If it cannot take such images.
        TypeError: If it gives no map.
    """
    tensor = next(iter(network.parameters()), torch.empty(0))
    height, width = image_size
    images = tensor.new_zeros((1, in_channels, height, width))
    kind = type(unwrapped(network)).__name__
    names = block_names(network)
    with without_a_trace(network), _noting(unwrapped(network), names) as noted:
        try:
            output = map_function(network)(images)
        except REFUSALS as error:
            raise ValueError(
                f"the backbone {kind} could not take images of shape {tuple(images.shape)}: {error}"
            ) from error
        last = as_map(network, output, images)
        found = {}
        for name in names:
            maps = _map_or_none(network, noted.get(name), images)
            if maps is not None and noted[name] is not output:
                found[name] = maps
    return found, last


def _map_or_none(network: nn.Module, output: object, images: Tensor) -> Tensor | None:
    """A block's output as a map, if it is one with channels first."""
    try:
        maps = as_map(network, output, images)
    except (TypeError, ValueError):
        return None
    return maps if one_patch_fits(images, maps.shape[2], maps.shape[3]) else None
