"""JigsawNet: how were the pieces shuffled?

An image is cut into a grid of tiles, the tiles are shuffled, and the network says by which of a
fixed list of permutations. To answer it has to know the parts of an object and where they belong.

Noroozi, Favaro, 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles",
arXiv 1603.09246.

Shapes: `B` images, `n` tiles, `P` permutations, `C, H, W` image, `c_h, c_w` tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.augmentations.patches import GAP_FRACTION, cell_size
from super_selfish.augmentations.recipes import RecipeLike, jigsaw_tile
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, picture, verdict
from super_selfish.losses.full_precision import in_full
from super_selfish.models import (
    BottleneckMap,
    Classification,
    FeatureShape,
    feature_shape,
)
from super_selfish.supervisors.augmenting import view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.puzzles import (
    TileCutter,
    permutation_table,
    put_together,
    unfit_table,
)
from super_selfish.supervisors.refusals import require_counts, require_logits
from super_selfish.supervisors.tile_tone import Standardize, standardize
from super_selfish.training.counting import plural
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options


class JigsawTiles(NamedTuple):
    """The tiles of each image in their true order, and how to shuffle them."""

    tiles: Tensor  # (B, n, C, c_h, c_w), about 0.5 on average
    targets: Tensor  # (B,) int64, row of the table of permutations


class JigsawCollator(Collator):
    """Cuts each image into tiles that betray nothing but their content, and draws a permutation.

    Each tile is a random part of its cell, its colours are jittered, some are gray, and brightness
    and contrast are normalised: mean 0.5 and standard deviation 0.25, the mid and about the spread
    of what a backbone sees of photographs in [0, 1]. Nothing is clamped: values beyond two standard
    deviations leave [0, 1] by a little.
    """

    def __init__(
        self, cutter: TileCutter, num_permutations: int, permutations_per_image: int
    ) -> None:
        """Takes the recipe of the tiles, the size of the table, and the length of the lists."""
        super().__init__()
        self.cutter = cutter
        self.num_permutations = num_permutations
        self.permutations_per_image = permutations_per_image
        # Image i has a list of its own, of rows that follow each other from i * stride (modulo P)
        # on: a stride near the golden section spreads them evenly, wherever one looks.
        stride = round(num_permutations * 0.618) or 1
        while math.gcd(stride, num_permutations) > 1:
            stride += 1
        self.stride = stride

    def augment(self, batch: Batch, generator: torch.Generator) -> JigsawTiles:
        """Makes the tiles and the number of each image's permutation."""
        tiles = self.cutter(to_unit_range(batch.images), generator)
        choices = torch.randint(self.permutations_per_image, (len(tiles),), generator=generator)
        targets = choices.to(tiles.device, non_blocking=True)
        if self.permutations_per_image < self.num_permutations:
            first = batch.index.to(tiles.device) * self.stride
            targets = (first + targets) % self.num_permutations
        return JigsawTiles(standardize(tiles), targets)


class JigsawNetSupervisor(Supervisor):
    """Predicts by which permutation the tiles of an image were shuffled.

    Differences from the paper: a 2x2 grid with all of its 24 permutations by default, because nine
    tiles are too hard for small or simple images; the shuffled tiles are merged into one image,
    which the backbone sees in one piece, instead of nine tiles that a network sees one by one, so
    that any backbone will do; colours are jittered, and shifted channel by channel only if asked
    (`channel_shift=2 / 64`). By default Adam trains at a constant rate of 1e-3 in batches of 32,
    instead of SGD at 0.01 (momentum 0.9, weight decay 5e-4), a tenth of it after every 100,000 of
    350,000 iterations, in batches of 256.

    What the backbone saw in training were tiles of one brightness and contrast; `preprocess` makes
    whole images so.

    If the backbone has a feature map, the default head keeps its layout (7x7 cells of 64 channels,
    then 1024, 1024); else it is an MLP on the pooled features.
    """

    title = "Jigsaw"
    question = "In which order do these tiles make an image?"
    former_names: ClassVar[Mapping[str, str]] = {
        "total_perms": "num_permutations",
        "n_perms_per_image": "num_permutations_per_image",
    }
    former_arguments: ClassVar[Mapping[str, Any]] = {"augmentation": None}

    permutations: Tensor

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        grid: int = 2,
        num_permutations: int | None = None,
        num_permutations_per_image: int | None = None,
        tile_fraction: float = GAP_FRACTION,
        p_grayscale: float = 0.3,
        channel_shift: float = 0.0,
        augmentation: RecipeLike | None = None,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Head with one output a permutation.
            loss: Function of logits and class numbers; default: cross-entropy.
            grid: Cells a side. 3: the paper.
            num_permutations: Permutations to tell apart. Default: all, at most 1000 (24 for 2x2).
            num_permutations_per_image: Permutations that any one image is shown in, a fixed list
                for each. Default: all.
            tile_fraction: Side of the part of a cell that is shown, as a fraction of the cell's, in
                (0, 1); the rest is the gap. 64 / 75: the paper's proportion.
            p_grayscale: Probability that a tile is gray, unless there is an `augmentation`. 0.3:
                the paper's share of gray images.
            channel_shift: How far each colour channel of a tile is moved by itself at most, up or
                down and left or right, as a fraction of the tile's side, but a pixel at least
                unless it is 0: so that the fringes of lenses do not tell the place. 2 / 64: the
                paper. Default: not at all, as colours are jittered.
            augmentation: Done to every tile by itself, before its brightness is normalised: the
                name of a recipe, an `Augmentation`, or torchvision's transforms, which get tiles
                and keep their size. Default: `"jigsaw-tile"`, colour jitter and `p_grayscale`.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, or the predictor has not one output a
                permutation.
        """
        require_counts(
            grid=grid,
            num_permutations=num_permutations,
            num_permutations_per_image=num_permutations_per_image,
        )
        super().__init__(
            None,
            dataset,
            nn.CrossEntropyLoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        tile = cell_size(
            *self.image_size, grid
        )  # before the table, which takes long for large ones
        own = None if augmentation is None else view_of(self, augmentation, tile, what="tiles")
        if not 0.0 <= channel_shift < 1.0:
            raise ValueError(f"channel_shift is a fraction in [0, 1), got {channel_shift}")
        if channel_shift and self.in_channels == 1:
            raise ValueError(
                f"channel_shift={channel_shift} moves channels against each other, but the images "
                "have one: leave it out"
            )
        recipe = own or jigsaw_tile(p_grayscale)
        cutter = TileCutter(grid, tile, recipe, tile_fraction, channel_shift)
        shown = cutter.crop.tile_size(*self.image_size)
        if shown[0] == tile[0] or shown[1] == tile[1]:
            raise ValueError(
                f"tile_fraction={tile_fraction} leaves no gap between cells of {tile[0]}x{tile[1]} "
                "pixels, and edges that run on give the puzzle away: take less, a smaller grid or "
                "larger images"
            )
        self.register_buffer("permutations", permutation_table(grid, num_permutations))
        count = len(self.permutations)
        if num_permutations_per_image is None:
            num_permutations_per_image = count
        if not 1 <= num_permutations_per_image <= count:
            raise ValueError(
                f"num_permutations_per_image must be in 1 ... {count}, the permutations that there "
                f"are, got {num_permutations_per_image}"
            )
        self._resolve(num_permutations=count, num_permutations_per_image=num_permutations_per_image)
        self.collate_fn = JigsawCollator(cutter, count, num_permutations_per_image)

        backbone = self._build(backbone, self.image_size)
        has_map = feature_shape(backbone, self.in_channels, self.image_size).height is not None

        def head(features: FeatureShape) -> nn.Module:
            if not has_map:
                return Classification(features.dim, count, (1024, 1024))
            bottleneck = BottleneckMap(features.dim)
            classification = Classification(bottleneck.out_features, count, (1024, 1024))
            return nn.Sequential(bottleneck, classification)

        self.model = self._combine(backbone, predictor, head, normalize, of_map=has_map)
        if predictor is not None and loss is None:
            require_logits(self, count, "permutations")

    @property
    def preprocess(self) -> nn.Module:
        """What makes an image look as tiles did in training; features are better with it."""
        return nn.Sequential(Standardize(), super().preprocess)

    def _unfit(self, state: Mapping[str, Any]) -> str | None:
        """Whether the stored table is one of permutations."""
        return unfit_table(state["permutations"])

    def _forward(self, data: JigsawTiles) -> Tensor:
        puzzles = put_together(data.tiles, self.permutations[data.targets])  # (B, C, H, W)
        logits = self.model(puzzles)  # (B, P)
        self._log(accuracy=(logits.argmax(dim=1) == data.targets).float().mean())
        return self.loss(in_full(logits), data.targets)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Shuffled tiles, the order that the network makes of them, and the true one."""
        data = seen_batch(self, index, seed)
        shuffles = self.permutations[data.targets]  # (B, n)
        shuffled = put_together(data.tiles, shuffles)  # (B, C, H, W)
        guesses = self.permutations[self.model(shuffled).argmax(dim=1)]  # (B, n)
        # Position i shows tile shuffles[i], and the network thinks that it is tile guesses[i].
        solved = put_together(data.tiles, shuffles.gather(1, guesses.argsort(dim=1)))
        true = put_together(data.tiles, torch.arange(shuffles.shape[1]).expand(shuffles.shape))
        groups = []
        for number, (shuffle, guess) in enumerate(zip(shuffles, guesses, strict=True)):
            is_right = bool((shuffle == guess).all())
            says = f"says {_order(guess)}{verdict(is_right)}"
            groups.append(
                [
                    picture(shuffled[number], f"shuffled\n{_order(shuffle)}".strip()),
                    picture(solved[number], f"put in order\n{says}", is_right),
                    picture(true[number], "true order"),
                ]
            )
        return groups

    def chance_loss(self, row: Row) -> float | None:
        """`log P`: every permutation is as likely."""
        return (
            math.log(len(self.permutations)) if isinstance(self.loss, nn.CrossEntropyLoss) else None
        )

    def _health(self, row: Row) -> str | None:
        # An epoch's mean holds what came before the mark was found, so the first is seldom enough.
        if row["epoch"] <= 5 and row["accuracy"] > 0.99:
            when = plural(round(row["epoch"]), "epoch")
            return (
                f"{row['accuracy']:.1%} of the puzzles are solved after {when}: edges or marks "
                "seem to give the order away (a frame, a watermark, a gradient of light); lower "
                "tile_fraction, or crop such marks off"
            )
        chance = 1 / len(self.permutations)
        if row["epoch"] >= 10 and row["accuracy"] < 1.2 * chance:
            return (
                f"permutations are guessed no better than by chance ({chance:.1%}): these images "
                "may have no parts with a place of their own (textures, cells); lower grid or "
                "num_permutations, train longer, or choose another algorithm"
            )
        return None


def _order(permutation: Tensor) -> str:
    """The tiles by number, from 1 on; nothing where there are too many to read."""
    if len(permutation) > 4:
        return ""
    return "".join(str(tile + 1) for tile in permutation.tolist()) + " "
