"""A fixed list of composed transformations, of which each access picks one.

Dosovitskiy et al., 2014, arXiv 1406.6909, section 3.1: the transformations of exemplar networks are
drawn once, and their parameters stay.

Shapes: `B` samples, `T` composites, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.choice import Group, apply_in_groups, take_parameters
from super_selfish.augmentations.elastic import RandomElastic
from super_selfish.augmentations.geometry import RandomScale
from super_selfish.augmentations.primitives import cpc_primitives
from super_selfish.augmentations.random_color import RandomGrayscale

NOTHING = -1  # in place of a primitive


def exemplar_primitives() -> tuple[Augmentation, ...]:
    """The pool of CPC v2, grayscale, elastic deformation, and the scaling of exemplar networks.

    Returns:
        Sixteen augmentations that keep the shape.
    """
    return (*cpc_primitives(), RandomGrayscale(1.0), RandomElastic(), RandomScale((0.7, 1.4)))


class FixedComposites(Augmentation):
    """Gives each sample one of `T` composites: sequences of primitives with fixed parameters.

    A composite has some number of places; each place holds a random primitive of the pool, and is
    kept with probability `p`. A composite that keeps none shows the image as it is. Primitives
    and parameters are drawn here and never again; a view draws the number of a composite.

    Attributes:
        choices: `[T, places]`, int64, the primitive at each place, -1 for none.
    """

    def __init__(
        self,
        size: tuple[int, int],
        count: int,
        places: int,
        p: float,
        generator: torch.Generator,
        primitives: Sequence[Augmentation] | None = None,
    ) -> None:
        """Draws the composites.

        Args:
            size: (height, width) of the images in pixels, on which some parameters depend.
            count: `T`.
            places: Most primitives that a composite can have.
            p: Probability that a place is kept, in (0, 1].
            generator: CPU generator.
            primitives: What is drawn from, with parameters for each sample; they keep the shape.
                `None`: `exemplar_primitives()`.

        Raises:
            ValueError: If a number is out of its range.
        """
        if count < 1 or places < 1:
            raise ValueError(f"count and places must be at least 1, got {count} and {places}")
        if not 0.0 < p <= 1.0:
            raise ValueError(f"p is a probability in (0, 1], got {p}")
        self.size = size
        self.primitives = exemplar_primitives() if primitives is None else tuple(primitives)
        chosen = torch.randint(len(self.primitives), (count, places), generator=generator)
        kept = torch.rand(count, places, generator=generator) < p
        if not kept.any():  # views that are all the image itself would teach nothing
            kept[0, 0] = True
        self.choices = torch.where(kept, chosen, NOTHING)
        # For every primitive and composite, though most are not used: row t belongs to composite t.
        shape = (count, 1, *size)
        self.parameters = [
            [primitive.draw(shape, generator) for primitive in self.primitives]
            for _ in range(places)
        ]

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws the number of a composite for each sample, `[B]`, int64."""
        return torch.randint(len(self.choices), (shape[0],), generator=generator)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Applies to each sample its composite.

        Raises:
            ValueError: If the images have another size than the composites are for.
        """
        if images.shape[2:] != self.size:
            raise ValueError(
                f"the composites are for images of {self.size}, got {tuple(images.shape[2:])}: "
                "resize first"
            )
        images = images.clone()
        for choices, drawn in zip(self.choices.T, self.parameters, strict=True):
            present = choices[parameters]  # (B,), the primitives at this place
            groups = []
            for number in present.unique().tolist():
                if number != NOTHING:
                    index = (present == number).nonzero().flatten()
                    own = take_parameters(drawn[number], parameters[index])
                    groups.append(Group(self.primitives[number], index, own))
            apply_in_groups(images, groups)
        return images
