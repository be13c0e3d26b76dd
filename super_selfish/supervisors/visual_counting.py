"""Visual counting: what an image shows is what its four quarters show together.

The network gives counts, numbers of at least zero, of things that nobody has named. Those of a
halved image have to be the sum of those of its four tiles, and not the sum of the tiles of another
image. To count alike at both sizes, it has to find the same things in them.

Noroozi, Pirsiavash, Favaro, 2017, "Representation Learning by Learning to Count", arXiv 1708.06734.

Shapes: `B` images of a process, `C, h, w` tile, `D` features, `K` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.halving import KERNELS, RandomHalving
from super_selfish.augmentations.patches import split_grid
from super_selfish.augmentations.recipes import RecipeLike, counting
from super_selfish.augmentations.resampling import resize
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, picture, verdict
from super_selfish.losses.counting import CountingLoss, squared_distance
from super_selfish.losses.full_precision import in_full
from super_selfish.models import MLP, FeatureShape
from super_selfish.models.heads import hidden_width
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import COUNTING_RATE
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.patch_grid import size_to_show
from super_selfish.supervisors.refusals import require_counts, require_logits
from super_selfish.supervisors.traffic import Gathered, outputs
from super_selfish.training.distributed import first_row, gather, rows_of_all
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

GRID = 2  # tiles a side; a halved image has the size of a tile
_FIRST_WEIGHTS, _FIRST_BIAS = 0.1, 0.01  # times torch's, and above zero: small counts, all alive
_COLLAPSED = 0.1  # of the margin: no nearer may counts of different images be


class WholeAndTiles(NamedTuple):
    """Each image halved, and its four quarters."""

    whole: Tensor  # (B, C, h, w)
    tiles: Tensor  # (B, 4, C, h, w)


class CountingCollator(Collator):
    """Augments each image, halves it, and cuts it into quarters of the same size."""

    def __init__(
        self, augmentation: Augmentation, halving: RandomHalving, size: tuple[int, int]
    ) -> None:
        """Takes what is done to images, how they are halved, and the size that is shown."""
        super().__init__()
        self.augmentation = augmentation
        self.halving = halving
        self.size = size

    def augment(self, batch: Batch, generator: torch.Generator) -> WholeAndTiles:
        """Makes the five."""
        images = self.augmentation(batch.images, generator)
        tiles = split_grid(images, GRID)  # (B, 4, C, h, w), without the last line of an odd side
        whole = self.halving(images, generator)
        shown = resize(tiles.flatten(0, 1), self.size).unflatten(0, tiles.shape[:2])
        return WholeAndTiles(resize(whole, self.size), shown)


class VisualCountingSupervisor(Supervisor):
    """Learns counts that add up: those of an image are those of its four tiles.

    The backbone sees halved images and quarters of images; `get_backbone()` afterwards takes whole
    ones. Sides that it refuses as too small are enlarged to 32 pixels. Without the second term of
    the loss all counts would become 0, which is told if it happens all the same. The other image is
    the next one of the batch; with several processes, of all their images.

    Differences from the paper: any backbone with a hidden layer and batch norm instead of an
    AlexNet without, whose fc6 and fc7 they are; the first counts are small; crops are of random
    size. By default Adam trains at a constant rate of 2e-4 in batches of 32, instead of 1e-4 in
    batches of 512.
    """

    title = "Visual counting"
    question = "Of which image are these the four quarters?"
    against_collapse = "lower lr, or raise weight"
    default_lr = COUNTING_RATE

    meanings: ClassVar[Mapping[str, str]] = {
        "same": "Squared distance of an image's counts from the sum of those of its tiles.",
        "apart": "Squared distance of another image's counts from them: at 0 all counts are alike.",
        "counts": "What an image holds, all its counts together. At 0 there is nothing left.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        num_counts: int = 1000,
        margin: float = 10.0,
        weight: float = 1.0,
        kernels: Sequence[str] = tuple(KERNELS),
        p_grayscale: float = 0.6,
        hidden_size: int | None = None,
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
            predictor: Head on the features, with `num_counts` outputs of at least 0; default: FC,
                batch norm, ReLU, FC, ReLU.
            loss: Function of the counts of halved images, of the sums over their tiles, and of the
                counts of other images, `[B, K]` each; default: `CountingLoss`.
            num_counts: Counts. 1000: the paper.
            margin: Squared distance from which on another image is far enough. 10: the paper.
            weight: Of the term that keeps other images apart. 1: the paper.
            kernels: By which images are halved, one drawn for each: some of `"nearest"`, `"area"`,
                `"bilinear"`, `"bicubic"` and `"lanczos"`.
            p_grayscale: Probability that an image is gray, with all its tiles, unless there is an
                `augmentation`.
            hidden_size: Width of the hidden layer of the head. Default: 4096 (the paper) for
                features of at least 1024, else four times the features, at least 512.
            augmentation: Done to each image before it is halved and cut, in place of a crop and
                `p_grayscale`: the name of a recipe, an `Augmentation`, or torchvision's transforms.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, a kernel is unknown, or the predictor has
                another number of outputs.
        """
        require_counts(num_counts=num_counts, hidden_size=hidden_size)
        super().__init__(
            None,
            dataset,
            CountingLoss(margin, weight) if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        default = counting(self.image_size, p_grayscale)
        own = None if augmentation is None else view_before(self, augmentation)
        tile = (self.image_size[0] // GRID, self.image_size[1] // GRID)
        backbone = self._build(backbone, tile)
        size = size_to_show(backbone, self.in_channels, tile)
        self.margin = margin
        self.collate_fn = CountingCollator(own or default, RandomHalving(kernels), size)

        def head(features: FeatureShape) -> nn.Module:
            hidden = hidden_width(features.dim) if hidden_size is None else hidden_size
            layers = MLP(features.dim, (hidden,), num_counts)
            last: Any = layers[-1]
            with torch.no_grad():
                last.weight.mul_(_FIRST_WEIGHTS)
                last.bias.fill_(_FIRST_BIAS)
            return nn.Sequential(*layers, nn.ReLU())

        self.model = self._combine(backbone, predictor, head, normalize, image_size=size)
        if predictor is not None and loss is None:
            require_logits(self, num_counts, "counts")

    def _forward(self, data: WholeAndTiles) -> Tensor:
        whole, parts = self._count(data)  # (B, K) each
        others = next_ones(whole)  # (B, K)
        with torch.no_grad():
            same, apart = squared_distance(whole, parts), squared_distance(others, parts)  # (B,)
            self._log(
                accuracy=(same < apart).float().mean(),
                same=same.mean(),
                apart=apart.mean(),
                counts=whole.sum(dim=1).mean(),
            )
        return self.loss(whole, parts, others)

    def _gathers(self, images: int) -> list[Gathered]:
        return [outputs(self, self.model, images)]  # (B, K)

    def _count(self, data: WholeAndTiles) -> tuple[Tensor, Tensor]:
        """The counts of halved images, and the sums of those of their tiles."""
        five = torch.cat([data.whole[:, None], data.tiles], dim=1)  # (B, 5, C, h, w)
        counts = in_full(self.model(five.flatten(0, 1))).unflatten(0, five.shape[:2])  # (B, 5, K)
        return counts[:, 0], counts[:, 1:].sum(dim=1)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Some halved images and their tiles, with all that is counted in each."""
        data = seen_batch(self, index, seed)
        whole, parts = self._count(data)  # (B, K) each
        others = whole.roll(-1, dims=0)
        is_nearer = squared_distance(whole, parts) < squared_distance(others, parts)
        tiles = self.model(data.tiles.flatten(0, 1)).sum(dim=1).view(-1, GRID**2)  # (B, 4)
        groups = []
        for number in range(min(3, len(index))):
            is_right = bool(is_nearer[number])
            said = f"counts {float(whole[number].sum()):.3g}\nits tiles {verdict(is_right)}"
            group = [picture(data.whole[number], said, is_right)]
            for tile, count in zip(data.tiles[number], tiles[number].tolist(), strict=True):
                group.append(picture(tile, f"tile:\n{count:.2g}"))
            groups.append(group)
        return groups

    def chance_loss(self, row: Row) -> float | None:
        """What counts cost that are all 0: the margin."""
        loss = self.loss
        return loss.margin * loss.weight if isinstance(loss, CountingLoss) else None

    def _health(self, row: Row) -> str | None:
        if row["apart"] < _COLLAPSED * self.margin:
            return (
                f"all images have nearly the same counts (squared distance {row['apart']:.2g}, "
                f"margin {self.margin:g}), {row['counts']:.2g} in all: the trivial solution is "
                f"that nothing is counted; {self.against_collapse}"
            )
        if row["epoch"] >= 5 and row["accuracy"] < 0.55:
            return (
                f"only {row['accuracy']:.0%} of the tiles add up to their own image rather than to "
                "another one (chance: 50%): train for longer, change lr, or look whether the "
                "quarters of these images have anything of their own"
            )
        return None


def next_ones(rows: Tensor) -> Tensor:
    """The row of the next image for each, of all processes: after the last comes the first.

    Args:
        rows: `[B, K]`, of the images of this process.

    Returns:
        `[B, K]`, with gradient.

    Raises:
        ValueError: If there is no other image.
    """
    number, lengths = len(rows), rows_of_all(len(rows))
    processes = len(lengths)
    if sum(lengths) < 2:
        raise ValueError(
            "counting compares an image with another one: raise batch_size to at least 2"
        )
    # Images are dealt out to processes one by one.
    numbers = [torch.arange(each, device=rows.device) for each in lengths]
    dealt = [each * processes + process for process, each in enumerate(numbers)]
    order = torch.cat(dealt).argsort()  # (G,), of the rows that are gathered
    places = order.argsort()[first_row(number) :][:number]
    return gather(rows)[order[(places + 1) % len(order)]]
