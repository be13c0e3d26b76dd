"""What an algorithm's `augmentation=` means, tried once on images like those of the dataset.

Shapes: `B` images, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, to_unit_range
from super_selfish.augmentations.recipes import RECIPES, Recipe, RecipeLike, recipe
from super_selfish.models.dry_run import REFUSALS

if TYPE_CHECKING:
    from super_selfish.supervisors.base import Supervisor

Pair = tuple[RecipeLike, RecipeLike] | list[RecipeLike]
Triple = tuple[RecipeLike, RecipeLike, RecipeLike] | Pair
Size = tuple[int, int]

# What one name means for the two views of an image, where they differ.
PAIRS: Mapping[str, tuple[str, str]] = {"byol": ("byol-1", "byol-2")}


def or_default(
    supervisor: Supervisor, augmentation: RecipeLike | Triple | None, default: str
) -> Any:
    """The argument of a constructor, or what None stands for, which the checkpoint then names.

    Args:
        supervisor: Whose constructor it is.
        augmentation: The argument.
        default: Name of a recipe.
    """
    if augmentation is not None:
        return augmentation
    supervisor._resolve(augmentation=default)
    return default


def view_of(
    supervisor: Supervisor,
    augmentation: RecipeLike,
    size: Size,
    paper: Recipe | None = None,
    *,
    what: str = "views",
) -> Augmentation:
    """The augmentation that an argument means; a user's own is tried once.

    Args:
        supervisor: Knows the channels of the images.
        augmentation: See `recipe`.
        size: (height, width) in pixels of what it gets and has to make.
        paper: What the name `"paper"` means.
        what: That it makes, in the plural, for messages.

    Returns:
        An augmentation of images as stacked: uint8, uint16 or float in [0, 1].

    Raises:
        ValueError: If there is no such recipe, or it cannot take the images, changes them in place
            or makes something else than images of the size with as many channels.
        TypeError: If it is no augmentation.
    """
    recipes = RECIPES if paper is None else {**RECIPES, "paper": paper}
    made = recipe(augmentation, size, recipes)
    if not isinstance(augmentation, str):
        _require_images(made, (supervisor.in_channels, *size), what)
    return made


def view_before(
    supervisor: Supervisor, augmentation: RecipeLike | None, default: Recipe | None = None
) -> Augmentation:
    """What is done to images before a pretext task that has an augmentation of its own.

    Args:
        supervisor: Knows the size of the images.
        augmentation: See `recipe`; None for the default.
        default: A recipe; None leaves images as they are.

    Returns:
        See `view_of`.
    """
    size = supervisor.image_size
    if augmentation is not None:
        return view_of(supervisor, augmentation, size)
    return Unchanged() if default is None else default(size)


def two_views(
    supervisor: Supervisor, augmentation: RecipeLike | Pair
) -> tuple[Augmentation, Augmentation]:
    """The augmentations of two views of an image.

    Args:
        supervisor: Knows the channels and the size of the images.
        augmentation: Of both, see `recipe`; a pair, one for each; or a name in `PAIRS`.

    Raises:
        ValueError: If it is no pair, and as `view_of`.
        TypeError: If one is no augmentation.
    """
    if isinstance(augmentation, str):
        augmentation = PAIRS.get(augmentation, augmentation)
    first, second = pair_of(augmentation, "both views")
    size = supervisor.image_size
    made = view_of(supervisor, first, size)
    return made, made if first is second else view_of(supervisor, second, size)


def pair_of(augmentation: RecipeLike | Pair, of_what: str) -> tuple[RecipeLike, RecipeLike]:
    """A pair as it is, or one augmentation twice.

    Args:
        augmentation: Either.
        of_what: The two, for the message.

    Raises:
        ValueError: If it has some other number of entries.
    """
    if not isinstance(augmentation, list | tuple):
        return augmentation, augmentation
    if len(augmentation) != 2:
        raise ValueError(
            f"augmentation= is one for {of_what}, or a pair, one for each; got {len(augmentation)}"
        )
    first, second = augmentation
    return first, second


class Unchanged(Augmentation):
    """Images as they are, as float in [0, 1]."""

    def draw(self, shape: tuple[int, int, int, int], generator: torch.Generator) -> None:
        """Draws nothing."""

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        """`to_unit_range`."""
        return to_unit_range(images)


def _require_images(made: Augmentation, shape: tuple[int, int, int], what: str) -> None:
    channels, height, width = shape
    given = f"images of {channels} channels and {height}x{width} pixels"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, *shape, generator=generator)
    before = images.clone()
    try:
        views = made(images, generator)
    except REFUSALS as error:
        raise ValueError(f"augmentation= cannot take {given}: {error}") from error
    if not torch.equal(images, before):
        raise ValueError("augmentation= changes the images that it is given: it must make new ones")
    if tuple(views.shape) != (2, *shape):
        raise ValueError(
            f"augmentation= must make {what} of {list(shape)} of {given}, got "
            f"{list(views.shape[1:])}: end it with a crop or a Resize to {(height, width)}"
        )
    low, high = float(views.min()), float(views.max())
    if not (views.is_floating_point() and -0.01 <= low <= high <= 1.01):
        raise ValueError(
            f"augmentation= must make {what} of float numbers in [0, 1], got {views.dtype} from "
            f"{low:.3g} to {high:.3g}; normalize= of the supervisor brings them to what the "
            "backbone wants"
        )
