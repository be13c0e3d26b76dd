"""Context prediction: where does the one patch lie, seen from the other?

Two patches are cut out of an image, side by side but for a gap, and the network says on which of
eight sides of the first one the second one lies. To answer it has to know the parts of an object,
and how these stand to one another.

Doersch, Gupta, Efros, 2015, "Unsupervised Visual Representation Learning by Context Prediction",
arXiv 1505.05192.

Shapes: `B` images, `N` pairs an image, `C, H, W` image, `p` side of a patch, `D` features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation, to_unit_range
from super_selfish.augmentations.patches import cut_windows
from super_selfish.augmentations.recipes import RecipeLike, context_patch
from super_selfish.augmentations.resampling import resize
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, picture, verdict
from super_selfish.losses.full_precision import in_full
from super_selfish.models import Classification, FeatureShape
from super_selfish.models.heads import hidden_width
from super_selfish.supervisors.augmenting import view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import originals, seen_batch
from super_selfish.supervisors.pair_places import (
    NEIGHBOURS,
    PairPlaces,
    fitting_places,
    zoomed_places,
)
from super_selfish.supervisors.patch_grid import FRAME, size_to_show
from super_selfish.supervisors.refusals import require_counts
from super_selfish.supervisors.siamese import answer_pairs, require_answers
from super_selfish.supervisors.tile_tone import Standardize, standardize
from super_selfish.training.counting import plural
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

ARROWS = (
    *("\N{NORTH WEST ARROW}", "\N{UPWARDS ARROW}", "\N{NORTH EAST ARROW}"),
    *("\N{LEFTWARDS ARROW}", "\N{RIGHTWARDS ARROW}"),
    *("\N{SOUTH WEST ARROW}", "\N{DOWNWARDS ARROW}", "\N{SOUTH EAST ARROW}"),
)
SMALL_IMAGE = 64  # pixels; below, patches are a larger part
_OTHER_FRAME = (0.16, 0.38, 0.62)  # blue, of the patch whose place is asked for


class PatchPairs(NamedTuple):
    """Pairs of patches of each image, and where they lie."""

    patches: Tensor  # (B, N, 2, C, p, p), about 0.5 on average
    targets: Tensor  # (B, N) int64, row of `NEIGHBOURS`: of the second, seen from the first
    corners: Tensor  # (B, N, 2, 2) int64, top and left, pixels of the image
    sides: Tensor  # (B,) int64, of the patches, pixels of the image


class ContextPredictionCollator(Collator):
    """Cuts pairs of patches out of each image, and changes each patch by itself."""

    def __init__(
        self,
        places: Sequence[PairPlaces],
        num_pairs: int,
        view: Augmentation,
        size: tuple[int, int],
        zoom: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Takes the recipe.

        Args:
            places: Where pairs lie, for patches of each side that may be cut, the largest last.
            num_pairs: Pairs an image.
            view: Of every patch; keeps its size.
            size: (height, width) at which patches are shown, in pixels.
            zoom: As for the supervisor.
        """
        super().__init__()
        self.places = {place.side: place for place in places}
        self.zoom = zoom
        self.num_pairs = num_pairs
        self.view = view
        self.size = size

    def augment(self, batch: Batch, generator: torch.Generator) -> PatchPairs:
        """Makes the pairs."""
        images = batch.images
        sides = self._sides(len(images), generator)
        order = sides.argsort(stable=True)  # those of one side together
        parts = [
            self._cut(images, chosen, self.places[int(sides[chosen[0]])], generator)
            for chosen in order.split(sides.unique(return_counts=True)[1].tolist())
        ]
        patches, targets, corners = parts[0]
        if len(parts) > 1:
            back = order.argsort()
            patches, targets, corners = (
                torch.cat(each)[back.to(each[0].device)] for each in zip(*parts, strict=True)
            )
        shown = self.view(patches.flatten(0, 1), generator)
        return PatchPairs(
            standardize(shown.unflatten(0, (len(images), -1))).unflatten(1, (self.num_pairs, 2)),
            targets.to(images.device, non_blocking=True),
            corners.to(images.device, non_blocking=True),
            sides,
        )

    def _sides(self, number: int, generator: torch.Generator) -> Tensor:
        """The side of the patches of each image, `[B]`: smaller where the image is enlarged."""
        largest = max(self.places)
        low, high = self.zoom
        if high == 1.0:
            return torch.full((number,), largest)
        area = low**2 + (high**2 - low**2) * torch.rand(number, generator=generator)
        return (largest / area.sqrt()).round().long()

    def _cut(
        self, images: Tensor, chosen: Tensor, places: PairPlaces, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Patches `[b, 2 * N, C, h, w]` of some images, targets and corners."""
        height, width = images.shape[-2:]
        targets, corners = places(len(chosen) * self.num_pairs, height, width, generator)
        corners = corners.view(-1, self.num_pairs, 2, 2)
        some = images if len(chosen) == len(images) else images[chosen.to(images.device)]
        windows = cut_windows(some, corners.flatten(1, 2), places.side)
        patches = resize(to_unit_range(windows.flatten(0, 1)), self.size)
        return patches.unflatten(0, windows.shape[:2]), targets.view(-1, self.num_pairs), corners


class ContextPredictionSupervisor(Supervisor):
    """Predicts on which of eight sides of a patch another one of the same image lies.

    The backbone sees patches, one at a time, of one brightness and contrast; `get_backbone()`
    afterwards takes whole images, and `preprocess` makes these so. Patches that it refuses as too
    small are enlarged to 32 pixels.

    Differences from the paper: patches are a fraction of the image instead of 96 pixels of an image
    of 150,000 to 450,000, and images are not resized at random unless asked (`zoom=(1, 3 ** 0.5)`);
    pairs are drawn one by one instead of all those of a random grid; the head is one hidden layer
    on the features of both patches instead of three behind a layer of each patch; batch norm keeps
    its scale and shift; the loss is the mean and not the sum. By default Adam trains at a constant
    rate of 1e-3 in batches of 32 images, which are 128 pairs, instead of SGD at 1e-5 in batches of
    up to 512 patches.
    """

    title = "Context prediction"
    question = "On which side of the red patch lies the blue one?"

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        patch_fraction: float | None = None,
        gap: float = 0.5,
        jitter: float = 7 / 96,
        zoom: tuple[float, float] = (1.0, 1.0),
        num_pairs: int = 4,
        colors: str = "drop",
        p_low_resolution: float = 0.33,
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
            predictor: Head on the features of both patches side by side, `[K, 2 * D]`, with eight
                outputs: from above left to below right, row by row.
            loss: Function of logits and class numbers; default: cross-entropy.
            patch_fraction: Side of a patch, as a fraction of the shorter side of the image. Two
                patches with their gap have to fit into it. Default: 0.25, and 0.375 for images
                below 64 pixels, of which a quarter shows too little.
            gap: Between two patches, as a fraction of the side of one. 0.5: the paper's 48 of 96
                pixels.
            jitter: How far each patch is moved at most up or down, and left or right, as a fraction
                of its side, but a pixel at least unless it is 0. 7 / 96: the paper.
            zoom: How many times as large each image is made before patches are cut, least and
                largest factor of its sides, at least 1; areas are equally likely. (1, 3 ** 0.5):
                the paper, whose images have 150,000 to 450,000 pixels. Default: not at all.
            num_pairs: Pairs of patches an image. 4: the authors' code, of grids.
            colors: What becomes of the colours of a patch, unless there is an `augmentation`.
                `"drop"`: one channel is kept, the others become noise; `"project"`: green is not
                told from magenta (both the paper's); `"keep"`: nothing, which gives the place away
                where the lens has fringes.
            p_low_resolution: Probability that a patch is shrunk to a random size and enlarged
                again, unless there is an `augmentation`. 0.33: the authors' code.
            hidden_size: Width of the hidden layer of the head. Default: 4096 (the paper) for
                features of at least 1024, else four times the features, at least 512.
            augmentation: Done to every patch by itself, before its brightness is normalised, in
                place of `colors` and `p_low_resolution`: the name of a recipe, an `Augmentation`,
                or torchvision's transforms, which get patches and keep their size.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, two patches do not fit into an image or
                leave no gap, or the predictor has not eight outputs.
        """
        require_counts(num_pairs=num_pairs, hidden_size=hidden_size)
        super().__init__(
            None,
            dataset,
            nn.CrossEntropyLoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        default = context_patch(p_low_resolution, colors)
        if patch_fraction is None:
            patch_fraction = 0.375 if min(self.image_size) < SMALL_IMAGE else 0.25
        self._resolve(patch_fraction=patch_fraction)
        self.places = fitting_places(self.image_size, patch_fraction, gap, jitter)
        smaller = zoomed_places(self.places.side, zoom, gap, jitter)
        patch = (self.places.side, self.places.side)
        backbone = self._build(backbone, patch)
        size = size_to_show(backbone, self.in_channels, patch)
        own = None if augmentation is None else view_of(self, augmentation, size, what="patches")
        self.collate_fn = ContextPredictionCollator(
            [*smaller, self.places], num_pairs, own or default, size, zoom
        )

        def head(features: FeatureShape) -> nn.Module:
            hidden = hidden_width(features.dim) if hidden_size is None else hidden_size
            return Classification(2 * features.dim, len(NEIGHBOURS), (hidden,))

        self.model = self._combine(backbone, predictor, head, normalize, image_size=size)
        if predictor is not None and loss is None:
            require_answers(self, len(NEIGHBOURS), "places", size)

    @property
    def preprocess(self) -> nn.Module:
        """What makes an image look as patches did in training; features are better with it."""
        return nn.Sequential(Standardize(), super().preprocess)

    def _forward(self, data: PatchPairs) -> Tensor:
        logits = answer_pairs(self.model, data.patches.flatten(0, 1))  # (B * N, 8)
        targets = data.targets.flatten()  # (B * N,)
        self._log(accuracy=(logits.argmax(dim=1) == targets).float().mean())
        return self.loss(in_full(logits), targets)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """The first pair of some images: where both lie, both as they are seen, and the answer."""
        data = seen_batch(self, index, seed)
        first = data.patches[:, 0]  # (B, 2, C, p, p)
        said = answer_pairs(self.model, first).argmax(dim=1).tolist()
        groups = []
        for number, image in enumerate(originals(self, index)):
            target, guess = int(data.targets[number, 0]), said[number]
            side = int(data.sides[number])
            both = framed(picture(image, "").image, data.corners[number, 0].cpu(), side)
            says = f"says {ARROWS[guess]} {verdict(target == guess)}"
            groups.append(
                [
                    picture(both, "both in\ntheir image"),
                    picture(first[number, 0], "red patch\nas it is seen"),
                    picture(first[number, 1], f"blue: {ARROWS[target]}\n{says}", target == guess),
                ]
            )
        return groups

    def chance_loss(self, row: Row) -> float | None:
        """`log 8`: every place is as likely."""
        return math.log(len(NEIGHBOURS)) if isinstance(self.loss, nn.CrossEntropyLoss) else None

    def _health(self, row: Row) -> str | None:
        if row["epoch"] <= 5 and row["accuracy"] > 0.99:
            when = plural(round(row["epoch"]), "epoch")
            return (
                f"{row['accuracy']:.1%} of the places are right after {when}: lines that run on or "
                "the fringes of a lens seem to give them away; raise gap, take "
                'colors="drop", or crop marks off the images'
            )
        chance = 1 / len(NEIGHBOURS)
        if row["epoch"] >= 10 and row["accuracy"] < 1.1 * chance:
            return (
                f"places are guessed no better than by chance ({chance:.1%}): these images may "
                "have no parts with a place of their own (textures, cells), or patches are too "
                "small; raise patch_fraction, train longer, or choose another algorithm"
            )
        return None


def framed(image: Tensor, corners: Tensor, side: int) -> Tensor:
    """An image, pale but for two patches, the first one framed in red and the second in blue.

    Args:
        image: `[3, H, W]` in [0, 1].
        corners: `[2, 2]`, top and left, in pixels.
        side: Of a patch, in pixels.

    Returns:
        `[3, H, W]`.
    """
    shown = 0.3 * image + 0.7
    width = max(1, side // 16)
    for (top, left), color in zip(corners.tolist(), (FRAME, _OTHER_FRAME), strict=True):
        outer = (
            slice(max(0, top - width), top + side + width),
            slice(max(0, left - width), left + side + width),
        )
        inner = slice(top, top + side), slice(left, left + side)
        shown[:, outer[0], outer[1]] = torch.tensor(color)[:, None, None]
        shown[:, inner[0], inner[1]] = image[:, inner[0], inner[1]]
    return shown
