"""PIRL: an image and its puzzle mean the same.

An image and its shuffled tiles are both embedded, each by a head of its own, and both must be
closer to what a memory holds of that image than to what it holds of others. The representation
learns to ignore what the puzzle changes, instead of predicting it.

Misra, van der Maaten, 2019, "Self-Supervised Learning of Pretext-Invariant Representations",
arXiv 1912.01991.

Shapes: `B` images, `n` tiles, `P` permutations, `K` negatives, `E` embedding, `C, H, W` image,
`c_h, c_w` tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation, to_unit_range
from super_selfish.augmentations.patches import cell_size
from super_selfish.augmentations.recipes import (
    PIRL_TILE,
    RecipeLike,
    pirl,
    pirl_puzzle,
    pirl_tile,
)
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group
from super_selfish.losses.full_precision import in_full
from super_selfish.memory import MemoryBank
from super_selfish.models import MLP, CombinedNet, FeatureShape, feature_shape
from super_selfish.supervisors.augmenting import Pair, or_default, pair_of, view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import VIEWS_PER_IMAGE
from super_selfish.supervisors.diagnostics import collapse, spread
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.likenesses import cosines, from_memory
from super_selfish.supervisors.puzzles import (
    TileCutter,
    permutation_table,
    put_together,
    unfit_table,
)
from super_selfish.supervisors.refusals import require_embedding
from super_selfish.supervisors.remembering import (
    MEMORY_CHANGE,
    SPREAD,
    among_joined,
    draw_negatives,
    guessing_loss,
    let_images_join,
    loss_of_form,
    memory_size,
    require_memory_options,
    standstill,
)
from super_selfish.supervisors.traffic import INDEX, Gathered, rows
from super_selfish.training.distributed import gather
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

SMALLEST_CELL = 16  # pixels; smaller cells of a 3x3 puzzle hold too little, so it becomes 2x2


class PuzzlePairs(NamedTuple):
    """A plain view of each image, its tiles in their true order, and how to shuffle them."""

    images: Tensor  # (B, C, H, W)
    tiles: Tensor  # (B, n, C, c_h, c_w)
    permutation: Tensor  # (B,) int64, row of the table of permutations
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the dataset
    negatives: Tensor  # (K,) int64, positions in the dataset, for the whole batch


class PuzzleCollator(Collator):
    """Augments each image, cuts it into augmented tiles, and draws permutations and negatives."""

    def __init__(
        self,
        augmentation: Augmentation,
        crop: Augmentation | None,
        cutter: TileCutter,
        num_permutations: int,
        num_images: int,
        num_negatives: int,
    ) -> None:
        """Takes the recipes of the plain view and of the tiles, and what to choose from."""
        super().__init__()
        self.augmentation = augmentation
        self.crop = crop  # before an image is cut into tiles
        self.cutter = cutter
        self.num_permutations = num_permutations
        self.num_images = num_images
        self.num_negatives = num_negatives

    def augment(self, batch: Batch, generator: torch.Generator) -> PuzzlePairs:
        """Makes views and tiles and draws the rest."""
        images = to_unit_range(batch.images)
        uncut = images if self.crop is None else self.crop(images, generator)
        permutation = torch.randint(self.num_permutations, (len(images),), generator=generator)
        negatives = draw_negatives(self.num_images, self.num_negatives, generator)
        return PuzzlePairs(
            self.augmentation(images, generator),
            self.cutter(uncut, generator),
            permutation.to(images.device, non_blocking=True),
            batch.index,
            negatives.to(images.device, non_blocking=True),
        )


class PIRLSupervisor(Supervisor):
    """Contrasts an image and its jigsaw puzzle against a memory of all images.

    Image and puzzle go through the same backbone in two passes, so that in training batch norm
    normalises each with statistics of its own; its running statistics, for evaluation, see both and
    move once a pass. (In the paper too they pass apart: images and tiles differ in size.)

    Differences from the paper: the puzzle is one image, put together of shuffled tiles, instead of
    nine tiles embedded one by one, and its head an MLP like that of the image (features, 1024,
    1024, 128) instead of a linear layer a tile and one more; the permutation is one of 1000 that
    lie far from one another, instead of any; the loss is InfoNCE, `form="nce"` is the paper's; 3136
    negatives instead of 32000, the same for all images of a batch, an image's own entry masked;
    images join the memory one by one (`views_per_image`). By default Adam
    trains at a constant rate of 1e-3 in batches of 32, instead of SGD at 0.12 (momentum 0.9, weight
    decay 1e-4) down a cosine to 1.2e-4, in batches of 1024.
    """

    title = "PIRL"
    question = "Which of all remembered images is this the puzzle of?"
    former_arguments: ClassVar[Mapping[str, Any]] = {"views_per_image": 0}
    former_names: ClassVar[Mapping[str, str]] = {"total_perms": "num_permutations"}
    asks_by_number = True
    against_collapse = "lower lr, or raise batch_size or num_negatives"

    permutations: Tensor

    meanings: ClassVar[Mapping[str, str]] = {
        "image_loss": "Loss of the images against the memory.",
        "puzzle_loss": "Loss of the puzzles against the memory.",
        "accuracy": "Share of puzzles that are nearer to their own image than to all negatives.",
        "agreement": "Cosine of an image and its own puzzle.",
        "spread": SPREAD,
        "memory_change": MEMORY_CHANGE,
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        puzzle_predictor: nn.Module | None = None,
        embedding_size: int = 128,
        grid: int | None = None,
        num_permutations: int | None = None,
        num_negatives: int = 3136,
        temperature: float = 0.07,
        form: str = "softmax",
        puzzle_weight: float = 0.5,
        bank_momentum: float = 0.5,
        augmentation: RecipeLike | Pair | None = "paper",
        num_images: int | None = None,
        views_per_image: int = VIEWS_PER_IMAGE,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Head of the image, from features to `embedding_size`.
            loss: Function of queries, keys, negatives and a mask of negatives to leave out;
                default: what `form` says.
            puzzle_predictor: Head of the puzzle, from pooled features to `embedding_size`.
            embedding_size: Width of the space in which image, puzzle and memory are compared.
            grid: Cells a side of the puzzle. Default: 3, or 2 where cells would be below 16 pixels.
            num_permutations: Permutations to draw from. Default: all, at most 1000.
            num_negatives: Entries of the memory that a step compares with; the whole memory, each
                entry once, where that is no larger.
            temperature: Of the default loss.
            form: Of the default loss: `"softmax"` (InfoNCE), or `"nce"` for a binary decision an
                entry, as in the paper. Its normalising constant is estimated of the first batch and
                stays, as in the code of Wu et al., 2018, whose loss it is.
            puzzle_weight: Of the puzzle's loss, in (0, 1); the image's has the rest.
            bank_momentum: Weight of an old entry of the memory in its update, in [0, 1); what
                MoCo and BYOL call `momentum` is that of an old network.
            augmentation: Of the plain view and of every tile: the name of a recipe, such as
                `"cpc"`, an `Augmentation`, torchvision's transforms, or a pair of these, one for
                the view and one for tiles; or `"paper"`, also for None, for the recipe of the
                paper, by which puzzles are cut from a crop of their own.
            num_images: Entries of the memory. Default: the images of the dataset.
            views_per_image: Views of an image, on average, before another one joins: a short run
                knows some images well instead of all of them not at all. 0: all from the start, as
                in the paper.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If an argument is out of its range, a head has another width, or the
                dataset has another number of images than the memory has entries.
        """
        if not 0.0 < puzzle_weight < 1.0:
            raise ValueError(f"puzzle_weight must be in (0, 1), got {puzzle_weight}")
        require_memory_options(
            bank_momentum=bank_momentum,
            form=form,
            views_per_image=views_per_image,
            num_negatives=num_negatives,
            embedding_size=embedding_size,
            grid=grid,
            num_permutations=num_permutations,
        )
        super().__init__(
            None, dataset, loss, image_size=image_size, in_channels=in_channels, **options
        )
        num_images = memory_size(self.source, num_images, type(self))
        if grid is None:
            grid = 3 if min(self.image_size) // 3 >= SMALLEST_CELL else 2
        augmentation = or_default(self, augmentation, "paper")
        recipes = puzzle_recipes(self, augmentation, grid)  # before the table: refuses at once
        self.register_buffer("permutations", permutation_table(grid, num_permutations))
        count = len(self.permutations)
        self._resolve(num_images=num_images, grid=grid, num_permutations=count)
        self.puzzle_weight = puzzle_weight
        if loss is None:
            self.loss = loss_of_form(form, num_images, temperature)

        def head(features: FeatureShape) -> nn.Module:
            return MLP(features.dim, (1024, 1024), embedding_size)

        self.model = self._combine(backbone, predictor, head, normalize)
        has_own_puzzle_head = puzzle_predictor is not None
        if puzzle_predictor is None:
            puzzle_predictor = head(
                feature_shape(self.model.backbone, self.in_channels, self.image_size)
            )
        self.puzzle_predictor = puzzle_predictor
        if predictor is not None:
            require_embedding(self, "predictor", self.model, embedding_size)
        if has_own_puzzle_head:
            require_embedding(self, "puzzle_predictor", self._puzzle_net, embedding_size)
        self.bank = MemoryBank(num_images, embedding_size, bank_momentum)
        let_images_join(self, num_images, views_per_image)
        self.num_negatives = num_negatives
        self.collate_fn = PuzzleCollator(*recipes, count, num_images, num_negatives)

    def _unfit(self, state: Mapping[str, Any]) -> str | None:
        """Whether the stored table is one of permutations."""
        return unfit_table(state["permutations"])

    def _forward(self, data: PuzzlePairs) -> Tensor:
        mosaics = self._mosaics(data)  # (B, C, H, W)
        images = F.normalize(in_full(self.model(data.images)), dim=1)  # (B, E)
        puzzles = F.normalize(in_full(self._puzzle_net(mosaics)), dim=1)  # (B, E)

        memories = self.bank.lookup(data.index)  # (B, E), a copy: not yet of this step
        drawn = among_joined(self, data.negatives)  # (K,)
        negatives = self.bank.lookup(drawn)  # (K, E)
        own = self.bank.own_entry_mask(data.index, drawn)  # (B, K)
        puzzle_loss = self.loss(puzzles, memories, negatives, own)
        image_loss = self.loss(images, memories, negatives, own)
        change = self.bank.change(data.index, images)
        if self.training:  # by the plain view alone: the memory holds images, not puzzles
            self._write_memory(self.bank.update, gather(data.index), gather(images.detach()))

        with torch.no_grad():
            positive = (puzzles * memories).sum(dim=1)  # (B,)
            hardest = (puzzles @ negatives.T).masked_fill(own, -1.0).amax(dim=1)  # (B,)
        self._log(
            image_loss=image_loss.detach(),
            puzzle_loss=puzzle_loss.detach(),
            accuracy=(positive > hardest).float().mean(),
            agreement=(images * puzzles).detach().sum(dim=1).mean(),
            spread=spread(images.detach()),
            memory_change=change,
        )
        return self.puzzle_weight * puzzle_loss + (1 - self.puzzle_weight) * image_loss

    def _mosaics(self, data: PuzzlePairs) -> Tensor:
        permutations = self.permutations[data.permutation]  # (B, n)
        return put_together(data.tiles, permutations, self.image_size)

    @property
    def _puzzle_net(self) -> CombinedNet:
        # Made anew of registered parts: kept as an attribute, it would register the backbone twice.
        return CombinedNet(self.model.backbone, self.puzzle_predictor, self.model.preprocess)

    def _gathers(self, images: int) -> list[Gathered]:
        return [Gathered(INDEX * images), rows(self, images, self.bank.rows.shape[1])]  # (B, E)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Puzzles, and the entries of the memory of images next to them."""
        mosaics = self._mosaics(seen_batch(self, index, seed))
        found = cosines(self._puzzle_net(mosaics), self.bank.rows)
        return from_memory(self, mosaics, "puzzle", found, index)

    def chance_loss(self, row: Row) -> float | None:
        """`log(1 + K)`: an own entry against the negatives."""
        return guessing_loss(self.loss, len(self.bank.rows), self.num_negatives)

    def _health(self, row: Row) -> str | None:
        return collapse(row["spread"], self.against_collapse) or standstill(row["memory_change"])


def puzzle_recipes(
    supervisor: Supervisor, augmentation: RecipeLike | Pair, grid: int
) -> tuple[Augmentation, Augmentation | None, TileCutter]:
    """What is done to the plain view, to an image before it is cut, and to its tiles.

    Args:
        supervisor: Knows the size of the images.
        augmentation: As for `PIRLSupervisor`.
        grid: Cells a side.

    Raises:
        ValueError: If the name is unknown, or a user's own does not make images of the size.
    """
    size = supervisor.image_size
    cell = cell_size(*size, grid)
    if augmentation == "paper":
        # Views of 225 instead of 224: the tiles are 64/75 of a cell of the puzzle in either recipe.
        return pirl(size), pirl_puzzle(size), TileCutter(grid, cell, pirl_tile(), PIRL_TILE)
    of_view, of_tile = pair_of(augmentation, "the plain view and the tiles")
    view = view_of(supervisor, of_view, size, pirl)
    what = "tiles (a pair, (of the view, of a tile), gives tiles one of their own)"
    tile = view_of(supervisor, of_tile, cell, what=what)
    return view, None, TileCutter(grid, cell, tile)
