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
from super_selfish.models import Classification, FeatureShape, build_backbone
from super_selfish.models.heads import hidden_width
from super_selfish.supervisors.augmenting import view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import originals, seen_batch
from super_selfish.supervisors.patch_grid import FRAME, size_to_show
from super_selfish.supervisors.refusals import require_counts
from super_selfish.supervisors.siamese import answer_pairs, require_answers
from super_selfish.supervisors.tile_tone import Standardize, standardize
from super_selfish.training.counting import plural
from super_selfish.training.history import Row

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

# Rows down and columns right, in the order of the classes, which is that of the authors' code.
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
ARROWS = (
    *("\N{NORTH WEST ARROW}", "\N{UPWARDS ARROW}", "\N{NORTH EAST ARROW}"),
    *("\N{LEFTWARDS ARROW}", "\N{RIGHTWARDS ARROW}"),
    *("\N{SOUTH WEST ARROW}", "\N{DOWNWARDS ARROW}", "\N{SOUTH EAST ARROW}"),
)
SMALL_IMAGE = 64  # pixels; below, patches are a larger part
SMALLEST_PATCH = 4  # pixels; smaller ones show nothing
_OTHER_FRAME = (0.16, 0.38, 0.62)  # blue, of the patch whose place is asked for


class PatchPairs(NamedTuple):
    """Pairs of patches of each image, and where they lie."""

    patches: Tensor  # (B, N, 2, C, p, p), about 0.5 on average
    targets: Tensor  # (B, N) int64, row of `NEIGHBOURS`: of the second, seen from the first
    corners: Tensor  # (B, N, 2, 2) int64, top and left, pixels of the image


class PairPlaces:
    """Draws where pairs of patches lie: anywhere in the image, at a gap, jittered."""

    def __init__(self, side: int, gap: int, jitter: int) -> None:
        """Takes the side of a patch, the gap between two, and how far each is moved, in pixels."""
        self.side = side
        self.gap = gap
        self.jitter = jitter

    def __call__(
        self, number: int, height: int, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draws.

        Args:
            number: Of pairs.
            height: Of the images, in pixels.
            width: Of the images, in pixels.
            generator: CPU generator.

        Returns:
            Targets `[number]`, and corners `[number, 2, 2]`: top and left of the first patch, and
            of the second one.
        """
        targets = torch.randint(len(NEIGHBOURS), (number,), generator=generator)
        steps = torch.tensor(NEIGHBOURS)[targets] * (self.side + self.gap)  # (number, 2)
        most = torch.tensor([height - self.side, width - self.side])  # the last place of a patch
        lowest, highest = (-steps).clamp(min=0), most - steps.clamp(min=0)
        drawn = torch.rand(number, 2, generator=generator)
        first = lowest + (drawn * (highest - lowest + 1)).long()
        corners = torch.stack((first, first + steps), dim=1)  # (number, 2, 2)
        moved = torch.randint(2 * self.jitter + 1, corners.shape, generator=generator)
        corners = corners + moved - self.jitter
        return targets, torch.minimum(corners.clamp(min=0), most)


class ContextPredictionCollator(Collator):
    """Cuts pairs of patches out of each image, and changes each patch by itself."""

    def __init__(
        self, places: PairPlaces, num_pairs: int, view: Augmentation, size: tuple[int, int]
    ) -> None:
        """Takes the recipe.

        Args:
            places: Where pairs lie.
            num_pairs: Pairs an image.
            view: Of every patch; keeps its size.
            size: (height, width) at which patches are shown, in pixels.
        """
        super().__init__()
        self.places = places
        self.num_pairs = num_pairs
        self.view = view
        self.size = size

    def augment(self, batch: Batch, generator: torch.Generator) -> PatchPairs:
        """Makes the pairs."""
        images = batch.images
        number, _, height, width = images.shape
        targets, corners = self.places(number * self.num_pairs, height, width, generator)
        corners = corners.view(number, self.num_pairs, 2, 2)
        patches = cut_windows(images, corners.flatten(1, 2), self.places.side)  # (B, 2 * N, ...)
        shown = self.view(resize(to_unit_range(patches.flatten(0, 1)), self.size), generator)
        return PatchPairs(
            standardize(shown.unflatten(0, (number, -1))).unflatten(1, (self.num_pairs, 2)),
            targets.view(number, self.num_pairs).to(images.device, non_blocking=True),
            corners.to(images.device, non_blocking=True),
        )


class ContextPredictionSupervisor(Supervisor):
    """Predicts on which of eight sides of a patch another one of the same image lies.

    The backbone sees patches, one at a time, of one brightness and contrast; `get_backbone()`
    afterwards takes whole images, and `preprocess` makes these so. Patches that it refuses as too
    small are enlarged to 32 pixels.

    Differences from the paper: patches are a fraction of the image instead of 96 pixels of an image
    of 150,000 to 450,000, and images are not resized at random; pairs are drawn one by one
    instead of all those of a random grid; the head is one hidden layer on the features of both
    patches instead of three behind a layer of each patch; batch norm keeps its scale and shift; the
    loss is the mean and not the sum. By default Adam trains at a constant rate of 1e-3 in batches
    of 32 images, which are 128 pairs, instead of SGD at 1e-5 in batches of up to 512 patches.
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
        patch = (self.places.side, self.places.side)
        backbone = build_backbone(backbone, self.in_channels, patch, self._stem_of(backbone))
        size = size_to_show(backbone, self.in_channels, patch)
        own = None if augmentation is None else view_of(self, augmentation, size, what="patches")
        self.collate_fn = ContextPredictionCollator(self.places, num_pairs, own or default, size)

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
            both = framed(picture(image, "").image, data.corners[number, 0].cpu(), self.places.side)
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


def fitting_places(
    image_size: tuple[int, int], patch_fraction: float, gap: float, jitter: float
) -> PairPlaces:
    """Sizes in pixels of patches, gap and jitter.

    Args:
        image_size: Height and width of the images, pixels.
        patch_fraction: Side of a patch, as a fraction of the shorter side of the image.
        gap: As a fraction of the side of a patch.
        jitter: As a fraction of the side of a patch.

    Raises:
        ValueError: If a patch is too small, two do not fit, or jitter leaves no gap.
    """
    shorter = min(image_size)
    if not (0.0 < patch_fraction < 1.0 and 0.0 <= gap < math.inf and 0.0 <= jitter < math.inf):
        raise ValueError(
            "patch_fraction must be in (0, 1), gap and jitter at least 0, got "
            f"{patch_fraction}, {gap} and {jitter}"
        )
    side = int(patch_fraction * shorter)
    space = int(gap * side)
    moved = max(1, int(jitter * side)) if jitter > 0 else 0
    if side < SMALLEST_PATCH or 2 * side + space > shorter:
        raise ValueError(
            f"two patches of at least {SMALLEST_PATCH} pixels have to fit, with their gap, into "
            f"images of {image_size[0]}x{image_size[1]}; got patches of {side} and a gap of "
            f"{space} by patch_fraction={patch_fraction} and gap={gap}"
        )
    if space <= 2 * moved:
        raise ValueError(
            f"gap={gap} leaves no gap between patches of {side} pixels that are moved by up to "
            f"{moved}, and edges that run on give the place away: take a larger gap or less jitter"
        )
    return PairPlaces(side, space, moved)


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
