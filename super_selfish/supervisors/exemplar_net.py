"""ExemplarNet: every image is a class, and its transformed copies are the examples.

Some images are chosen, each becomes a class, and the network says of a strongly transformed copy
from which of them it was made. It has to ignore what the transformations change.

Dosovitskiy, Fischer, Springenberg, Riedmiller, Brox, 2014, "Discriminative Unsupervised Feature
Learning with Exemplar Convolutional Neural Networks", arXiv 1406.6909.

Shapes: `B` images, `N` classes, `C, H, W` image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import to_unit_range
from super_selfish.augmentations.composites import FixedComposites
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.growing import Growth, drawn_order
from super_selfish.data.pictures import Group, picture, verdict
from super_selfish.losses.full_precision import in_full
from super_selfish.models import Classification
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import FEWEST_CLASSES, VIEWS_PER_CLASS
from super_selfish.supervisors.exhibits import originals, seen_batch
from super_selfish.supervisors.refusals import require_counts, require_logits
from super_selfish.supervisors.remembering import joined_now
from super_selfish.training.history import Row
from super_selfish.training.memory import in_bytes
from super_selfish.training.randomness import step_generator
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

MOST_CLASSES = 8000  # unless asked for more; of the paper's choices the smallest
MANY_CLASSES = 100_000  # beyond them the last layer is what a step costs: 0.4 GB of gradients
COPIES = 3  # of each image that people are shown


class Exemplars(NamedTuple):
    """A transformed copy of each image, and which image it was."""

    views: Tensor  # (B, C, H, W)
    targets: Tensor  # (B,) int64, position among the chosen images


class ExemplarCollator(Collator):
    """Transforms each image by one of the fixed composites."""

    def __init__(self, composites: FixedComposites) -> None:
        """Takes the composites."""
        super().__init__()
        self.composites = composites

    def augment(self, batch: Batch, generator: torch.Generator) -> Exemplars:
        """Makes the copies; the position of an image is its class."""
        return Exemplars(self.composites(to_unit_range(batch.images), generator), batch.index)


class ExemplarNetSupervisor(Supervisor):
    """Classifies transformed copies of images by the image that they were made of.

    Images become classes one by one (`views_per_class`). Which images were chosen is part of a
    checkpoint. There is no `augmentation=`: the transformations are the task (`num_transforms`,
    `max_elements`, `probability`).

    Differences from the paper: whole images instead of patches where gradients are strong; a fixed
    list of transformations for all classes instead of one for each; they are stronger, and made of
    the primitives of CPC v2, grayscale, elastic deformation and scaling instead of those of the
    paper; the head is an MLP (features, 1024, 1024, classes). An epoch shows as many copies as
    there are images, and these become classes one by one; there is no dropout. By default Adam
    trains at a constant rate of 1e-3 in batches of 32, instead of SGD at 0.01 (momentum 0.9) that
    falls to 1e-4.
    """

    title = "ExemplarNet"
    question = "Of which image of the dataset is this a copy?"
    former_arguments: ClassVar[Mapping[str, Any]] = {"views_per_class": 0}
    former_names: ClassVar[Mapping[str, str]] = {"p": "probability"}
    asks_by_number = True

    chosen: Tensor  # (N,) int64, positions in the dataset, by class
    places: Tensor | None  # (N,) int64, when an image becomes a class, by class

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        num_classes: int | None = None,
        views_per_class: int = VIEWS_PER_CLASS,
        num_transforms: int = 100,
        max_elements: int = 10,
        probability: float = 0.5,
        seed: int = 0,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: Network, its name, or None for an EfficientNet-B0.
            predictor: Head on the features, with one output a class.
            loss: Function of logits and class numbers; default: cross-entropy.
            num_classes: Images that become a class, chosen without replacement. Default: 8000, or
                the whole dataset where it is smaller. The last layer has 1024 weights for each: a
                million classes are 4.1 GB of gradients a step.
            views_per_class: Copies of an image that are shown, on average, before another one
                becomes a class, from 256 on: a short run learns to tell some images well instead of
                all of them not at all. 0: all are classes from the start, as in the paper.
            num_transforms: Transformations in the list.
            max_elements: Most primitives of which one is composed.
            probability: That of each of them, in (0, 1].
            seed: Decides which images and which transformations.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, there are less images than classes, or
                the predictor has not one output a class.
        """
        require_counts(
            num_classes=num_classes, num_transforms=num_transforms, max_elements=max_elements
        )
        require_counts(0, views_per_class=views_per_class)
        super().__init__(
            None,
            dataset,
            nn.CrossEntropyLoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        images = MOST_CLASSES if self.source is None else len(self.source)
        if num_classes is None:
            num_classes = min(MOST_CLASSES, images)
        if num_classes < 2:
            raise ValueError(f"exemplars need at least 2 classes (images), got {num_classes}")
        if self.source is not None and num_classes > images:
            raise ValueError(
                f"every class is an image of its own, but num_classes is {num_classes} and the "
                f"dataset has {images}: leave num_classes out to take them all"
            )
        self._resolve(num_classes=num_classes)
        self.num_classes = num_classes
        chosen = torch.arange(num_classes)  # until a checkpoint says which, where there is no image
        if self.source is not None:
            order = torch.randperm(images, generator=step_generator(seed, 0))
            chosen = order[:num_classes].sort().values
            self.source = self.source.subset(chosen.tolist())
        self.register_buffer("chosen", chosen)
        self.growth = None
        if views_per_class > 0:
            self.growth = Growth(views_per_class, FEWEST_CLASSES, drawn_order(num_classes))
        places = None if self.growth is None else self.growth.members.argsort()
        self.register_buffer("places", places, persistent=False)
        self.register_load_state_dict_post_hook(_show_the_chosen)
        self.model = self._combine(
            backbone,
            predictor,
            lambda features: Classification(features.dim, num_classes, (1024, 1024)),
            normalize,
        )
        if predictor is not None and loss is None:
            require_logits(self, num_classes, "images")
        self.collate_fn = ExemplarCollator(
            FixedComposites(
                self.image_size, num_transforms, max_elements, probability, step_generator(seed, 1)
            )
        )

    def _forward(self, data: Exemplars) -> Tensor:
        logits = self._among_joined(self.model(data.views), data.targets)  # (B, N)
        self._log(accuracy=(logits.argmax(dim=1) == data.targets).float().mean())
        return self.loss(in_full(logits), data.targets)

    def _among_joined(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The logits, of which those of images that are no classes yet do not count.

        A loss of the user's own gets them as they are, and so does one that wants a little of every
        class (`label_smoothing`).
        """
        joined = joined_now(self)
        is_plain = isinstance(self.loss, nn.CrossEntropyLoss) and self.loss.label_smoothing == 0
        if joined is None or self.places is None or not is_plain:
            return logits
        latest = self.places[targets].max()  # one may stand for an unreadable image
        return logits.masked_fill(self.places > latest.clamp(min=joined - 1), -torch.inf)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Three images, and copies of each with the number of the image that the network names."""
        chosen = index[:3]
        images = originals(self, chosen)
        repeated = [position for position in chosen for _ in range(COPIES)]
        data = seen_batch(self, repeated, seed)
        said = self.model(data.views).argmax(dim=1).tolist()
        groups = []
        for number, position in enumerate(chosen):
            group = [picture(images[number], f"image\nno. {position}")]
            for copy in range(number * COPIES, (number + 1) * COPIES):
                is_right = said[copy] == position
                caption = f"copy, says\nno. {said[copy]} {verdict(is_right)}"
                group.append(picture(data.views[copy], caption, is_right))
            groups.append(group)
        return groups

    def chance_loss(self, row: Row) -> float | None:
        """`log N`: every image that is a class by then is as likely."""
        is_known = isinstance(self.loss, nn.CrossEntropyLoss)
        return math.log(self._classes_after(row)) if is_known else None

    def _classes_after(self, row: Row) -> int:
        if self.growth is None:
            return self.num_classes
        return self.growth.joined(round(row["epoch"] * self.num_classes))

    def _caution(self, run: Run) -> str | None:
        of_classes = [p for p in self.model.parameters() if p.shape[:1] == (self.num_classes,)]
        if self.num_classes <= MANY_CLASSES or not of_classes:
            return None
        layer = max(of_classes, key=lambda parameter: parameter.nbytes)
        logits = run.batch_size * self.num_classes * layer.element_size()
        return (
            f"{self.num_classes} classes make a last layer of {in_bytes(layer.nbytes)}: every step "
            "computes as much of gradients (which several processes send one another), Adam keeps "
            f"twice as much, and the logits of a batch are {in_bytes(logits)}; give "
            f"num_classes={MANY_CLASSES} or less, or take an algorithm without a class an image, "
            'such as "moco"'
        )

    def _health(self, row: Row) -> str | None:
        classes = self._classes_after(row)
        # Who knows all that are classes by then has little left to learn.
        if row["epoch"] <= 20 and row["accuracy"] > 0.99:
            return (
                f"{row['accuracy']:.1%} of the images are recognised after {row['epoch']:.0f} "
                "epochs: this is too easy to teach much; raise num_classes, max_elements or "
                "probability"
            )
        # log N is the loss of a network that knows nothing.
        if row["epoch"] >= 10 and row["loss"] > 0.98 * math.log(classes):
            return (
                f"images are recognised no better than by chance (loss {row['loss']:.2f} of "
                f"{math.log(classes):.2f}): look for copies of the same image in the "
                "dataset; lower num_classes, max_elements or probability, or change lr"
            )
        return None


def _show_the_chosen(supervisor: Any, keys: Any) -> None:
    """A checkpoint has the last word on which images the classes are."""
    if supervisor.source is not None and supervisor.source.whole is not None:
        supervisor.source = supervisor.source.whole.subset(supervisor.chosen.tolist())
