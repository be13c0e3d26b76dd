"""Distillation: foretell what another network, which knows more, makes of the same image.

A large network, the teacher, sees an image, and a small one, which is to be kept, sees it too. From
what the small one makes of it, a head foretells the teacher's vector of the whole and its map of
the places, by direction first and by numbers a little. Nobody has labelled anything, and the
teacher never learns; so what it has seen elsewhere, for days on many machines, comes into a network
that is small enough to be used, on the images of those who use it. Both need not see alike: of
images of many bands the teacher gets the three that it knows, at its size and with its
normalisation, and the student gets all of them.

Ranzinger, Heinrich, Kautz, Molchanov, 2023, "AM-RADIO: Agglomerative Vision Foundation Model Reduce
All Domains Into One", arXiv 2312.06709; standardised targets: Ranzinger et al., 2024, "PHI-S:
Distribution Balancing for Label-Free Multi-Teacher Distillation", arXiv 2410.01680; pseudo-classes:
Fang, Wang, Wang, Zhang, Yang, Liu, 2021, "SEED: Self-supervised Distillation For Visual
Representation", arXiv 2101.04731.

Shapes: `B` images of a process, `G` images of all processes, `K` vectors in the queue, `D` features
of the teacher, `C, H, W` image, `h, w` map of the student.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group
from super_selfish.losses.distillation import FeatureMatchLoss, PseudoClassLoss
from super_selfish.losses.full_precision import in_full
from super_selfish.memory import KeyQueue, RunningScale
from super_selfish.models import MLP, feature_shape
from super_selfish.models.combined_net import _wants_map
from super_selfish.models.dry_run import without_a_trace
from super_selfish.models.heads import MapAdapter
from super_selfish.models.one_pass import vectors_and_map, way_to_both
from super_selfish.models.teacher import Teacher, resampled
from super_selfish.supervisors import teachers
from super_selfish.supervisors.augmenting import or_default, view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.given_weights import Weights
from super_selfish.supervisors.likenesses import among_answers
from super_selfish.supervisors.refusals import as_numbers, require_counts
from super_selfish.supervisors.teachers import Given
from super_selfish.supervisors.traffic import Gathered, rows
from super_selfish.training.distributed import gather, gather_one
from super_selfish.training.history import Row
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

SAME_TO_THE_TEACHER = 1e-3  # mean of 1 - cosine to the mean of a batch; less tells no images apart
NOTHING_BUT_THE_MEAN = 0.1  # cosine of differences from it; less has learned no other thing


class Lessons(NamedTuple):
    """Views of images, which student and teacher both see."""

    images: Tensor  # (B, C, H, W)
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the dataset


class LessonCollator(Collator):
    """Augments each image once."""

    def __init__(self, augmentation: Augmentation) -> None:
        """Takes the recipe of the view; it takes images as stacked, uint8 too."""
        super().__init__()
        self.augmentation = augmentation

    def augment(self, batch: Batch, generator: torch.Generator) -> Lessons:
        """Makes the views."""
        return Lessons(self.augmentation(batch.images, generator), batch.index)


class DistillationSupervisor(Supervisor):
    """Predicts the features of another network, the teacher, from a backbone's (distillation).

    The teacher is frozen, in evaluation mode and without gradients; `get_backbone()` is the
    student's, and checkpoints hold nothing of the teacher but a digest (SHA-256), by which a run
    that goes on refuses another one. A teacher that was a module must be given again to go on;
    `load()` needs none.

    The student may be any backbone, and the teacher any network. Whose weights teach decides under
    which licence the student may be used: see the page of this algorithm.

    Differences from the paper: one teacher instead of three. The vector of an image is matched by
    `0.9 cosine + 0.1 smooth-L1` as its map is, where the paper takes the cosine alone for vectors.
    Targets are less their mean and by one deviation, as the authors have it later (PHI-S).
    Maps of other grids are brought to that of the student. Adapters have a hidden layer of their
    wider side with layer norm and GELU. Pseudo-classes (SEED) come on top by option; the teacher's
    vectors are those of its backbone instead of its projector's. By default Adam trains at a
    constant rate of 1e-3 in batches of 32, instead of AdamW or LAMB down a cosine, in batches of
    1024 and more.
    """

    teacher_digest: Tensor

    title = "Distillation"
    question = "What does the teacher make of this image?"
    against_collapse = "lower lr"
    not_stored: ClassVar[frozenset[str]] = frozenset({"teacher", "teacher_weights"})
    meanings: ClassVar[Mapping[str, str]] = {
        "similarity": "Cosine of what is foretold of an image and what was to be foretold.",
        "map_similarity": "The same, of every place of the maps.",
        "agreement": (
            "Cosine of how what is foretold of an image differs from the mean of a batch, and how "
            "the teacher's vector does: 0 if the student has learned the mean alone."
        ),
        "accuracy": (
            "Share of images whose foretold vector is, less the mean of the batch, most alike to "
            "the teacher's of the same image among those of the batch."
        ),
        "variety": (
            "How far the teacher tells images apart: 1 less the cosine of its vectors to their "
            "mean; 0 if all images are the same to it."
        ),
        "guess": "Loss of a student that says of every image the mean of the batch.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        teacher: Given = None,
        teacher_weights: Weights = None,
        teacher_channels: Sequence[int] | None = None,
        teacher_size: Size | None = None,
        teacher_normalize: Any = None,
        teacher_features: tuple[int, int] | None = None,
        map_adapter: nn.Module | None = None,
        hidden_size: int | None = None,
        feature_weight: float = 1.0,
        map_weight: float = 1.0,
        cosine_weight: float = 0.9,
        smooth_weight: float = 0.1,
        standardize: bool = True,
        pseudo_classes: int = 0,
        pseudo_weight: float = 1.0,
        temperature: float = 0.2,
        teacher_temperature: float = 0.01,
        augmentation: RecipeLike | None = "mild",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: The student: network, its name, or None for an EfficientNet-B0.
            predictor: From the student's features to as many numbers as the teacher's vectors have;
                default: FC, layer norm, GELU, FC.
            loss: Function of predictions and targets, called with vectors `[B, D]` and with maps
                `[B, D, h, w]`; default: `0.9 (1 - cosine) + 0.1 smooth-L1` (AM-RADIO, section 3).
            teacher: Who teaches: a module, of which a copy is made; a supervisor, whose backbone
                does; a network by name, such as `"timm/vit_base_patch14_dinov2.lvd142m"` or
                `"resnet50"`, with its published weights; or the path of a checkpoint, of the folder
                of a run of `pretrain`, or of a file that `export_backbone` wrote. Default:
                `"timm/vit_small_patch14_dinov2.lvd142m"`.
            teacher_weights: A file with the weights of a teacher by name, where there is no network
                to fetch them.
            teacher_channels: Which channels of the images the teacher sees, counted from 0, in its
                order. Default: all, or a single one in place of each of its colours; where neither
                fits it must be said.
            teacher_size: Side or (height, width) in pixels at which it sees them. Default: 224 for
                a network by name (in whole patches), that of the training for a file or a
                supervisor, that of the images otherwise.
            teacher_normalize: What it wants done to them, as for `normalize`. Default: what
                belongs to it: of timm its configuration's mean and deviation, of a file those that
                it says.
            teacher_features: How many numbers its vectors and its maps have, 0 for no maps; what it
                has itself counts. A checkpoint says it to whoever loads without a teacher.
            map_adapter: From the student's maps to those of the teacher, place by place; default:
                the same layers as in `predictor`, as convolutions.
            hidden_size: Width of the adapters' hidden layers. Default: the wider of both sides.
            feature_weight: Of the loss of vectors, at least 0; 0 only with pseudo-classes.
            map_weight: Of the loss of maps, at least 0; without maps on either side there is none.
            cosine_weight: Of directions, in the default loss.
            smooth_weight: Of numbers, in the default loss.
            standardize: Whether the teacher's vectors and maps are matched less their mean over all
                images, and by one deviation for all of their numbers (PHI-S). Else a student first
                learns that mean, which says nothing of an image.
            pseudo_classes: How many of the teacher's vectors of earlier images are kept as classes,
                to which both shall say that an image belongs; 0 for none. SEED: 65,536.
            pseudo_weight: Of that loss, above 0.
            temperature: Of the student's shares in it. 0.2: SEED.
            teacher_temperature: Of the teacher's. 0.01: SEED.
            augmentation: Of the view that both see: the name of a recipe, such as `"mild"`,
                `"dino-2"` or `"simclr"`, an `Augmentation`, or torchvision's transforms. None:
                `"mild"`.
            image_size: Side or (height, width) in pixels, that of the student's images.
            in_channels: Channels of the student's images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, there is no such teacher, it does not take
                such images, or a head has another width.
            FileNotFoundError: If the teacher is a file that is not there.
            ConnectionError: If its published weights cannot be fetched.
            ImportError: If it needs a package that is missing.
            TypeError: If the teacher is no network.
        """
        own_loss = FeatureMatchLoss(cosine_weight, smooth_weight)
        pseudo_loss = PseudoClassLoss(temperature, teacher_temperature)
        require_counts(hidden_size=hidden_size)
        require_counts(0, pseudo_classes=pseudo_classes)
        for name, weight in (("feature_weight", feature_weight), ("map_weight", map_weight)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} must be >= 0 and finite, got {weight}")
        if not 0 < pseudo_weight < math.inf:
            raise ValueError(f"pseudo_weight must be > 0 and finite, got {pseudo_weight}")
        if feature_weight == 0 and pseudo_classes == 0:
            raise ValueError("feature_weight=0 leaves vectors untaught: give pseudo_classes=")
        super().__init__(
            None,
            dataset,
            own_loss if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        augmentation = or_default(self, augmentation, "mild")
        view = view_of(self, augmentation, self.image_size)
        self.feature_weight = feature_weight
        self.map_weight = map_weight
        self.pseudo_weight = pseudo_weight
        teachers.check_channels(teacher_channels, self.in_channels)
        given = _widths(teacher_features)
        self.teacher: Teacher | None = None
        self.register_buffer("teacher_digest", torch.zeros(32, dtype=torch.uint8))
        # Without images nothing is taught yet: what would have to be fetched is not.
        if self.source is not None or isinstance(teacher, nn.Module):
            given = self._take_teacher()
        dim, map_dim = teachers.DEFAULT_FEATURES if given is None else given
        self._resolve(teacher_features=(dim, map_dim))

        def layers(features: int, wanted: int) -> tuple[int, tuple[int, ...], int]:
            return features, (hidden_size or max(features, wanted),), wanted

        def adapter(features: int) -> nn.Module:
            return MLP(*layers(features, dim), norm="layer", activation=nn.GELU)

        self.model = self._combine(
            backbone, predictor, lambda features: adapter(features.dim), normalize
        )
        if predictor is not None:
            _require_width(self, "predictor", self.model, dim)
        student = self.model.backbone
        self.way = way_to_both(student, self.in_channels, self.image_size)
        self.map_adapter: nn.Module | None = None
        if map_dim > 0 and map_weight > 0 and self.way != "vectors":
            shape = feature_shape(student, self.in_channels, self.image_size, of_map=True)
            if map_adapter is None:
                map_adapter = MapAdapter(*layers(shape.dim, map_dim))
            self.map_adapter = map_adapter
            _require_map(shape.dim, map_adapter, map_dim)
        elif map_adapter is not None:
            raise ValueError(
                "map_adapter= adapts maps, and there are none to match: student or teacher has "
                "none, or map_weight is 0"
            )
        self.scale = RunningScale(dim) if standardize else None
        has_maps = standardize and self.map_adapter is not None
        self.map_scale = RunningScale(map_dim) if has_maps else None
        self.pseudo_loss = pseudo_loss
        self.queue = KeyQueue(pseudo_classes, dim) if pseudo_classes > 0 else None
        self.collate_fn = LessonCollator(view)

    def _take_teacher(self) -> tuple[int, int]:
        """Builds the teacher of the arguments, and returns how many numbers it gives."""
        said: Any = self.arguments
        # Networks that are built again as a checkpoint says keep the teacher that they had.
        found: Teacher | None = vars(self).get("_kept")
        if found is None:
            found = teachers.find_teacher(
                said["teacher"], said["teacher_weights"], self.in_channels, self.image_size
            )
        object.__setattr__(self, "_kept", found)  # not as a module, which it is below
        channels = teachers.channels_for(found, said["teacher_channels"], self.in_channels)
        size = teachers.size_for(found, said["teacher_size"], self.image_size)
        scaling = teachers.scaling_for(found, said["teacher_normalize"])
        widths = found.look_at(channels, size, scaling)
        if said["teacher"] is None:
            self.choices["teacher"] = found.name
        self._choose(teacher_channels=channels, teacher_size=size)
        self.teacher = found.to(self.teacher_digest.device)
        self.teacher_digest.copy_(found.digest)
        return widths

    def _teacher_now(self) -> Teacher:
        """The teacher, which is built now if nobody has needed it so far."""
        if self.teacher is None:
            widths, wanted = self._take_teacher(), self.arguments["teacher_features"]
            if widths != tuple(wanted):
                raise ValueError(
                    f"the networks were taught {wanted[0]} numbers an image and {wanted[1]} a "
                    f"place, and this teacher gives {widths[0]} and {widths[1]}: give teacher= as "
                    "it was then"
                )
            weight = next(self.model.parameters())
            self.to(weight.device, weight.dtype)
        assert self.teacher is not None  # noqa: S101
        return self.teacher

    def _forward(self, data: Lessons) -> Tensor:
        vectors, places = self._foretell(data.images)  # (B, D) and (B, D', h, w)
        with torch.no_grad():
            said, maps = self._teacher_now()(data.images)
            said = in_full(said)  # (B, D)
            targets = self._standard(self.scale, said)
            if places is not None and maps is not None:
                maps = resampled(in_full(maps), (places.shape[2], places.shape[3]))
                maps = self._standard(self.map_scale, maps)
        loss = self._loss(vectors, places, targets, maps)
        with torch.no_grad():
            self._measure(vectors, places, targets, maps)
            self._log(variety=_variety(said))
        if self.queue is not None and self.training:
            self._write_memory(self.queue.enqueue, gather(F.normalize(targets, dim=1)))
        return loss

    def _standard(self, scale: RunningScale | None, features: Tensor) -> Tensor:
        """What a teacher said, as it is matched; what is known of its scale grows by it."""
        if scale is None:
            return features
        standard: Tensor = scale(features)
        if self.training:
            sums = gather_one(scale.sums_of(features)).sum(dim=0)  # of all processes
            self._write_memory(scale.note, sums, scale.mean.clone())
        return standard

    def _foretell(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the student says of images: the teacher's vectors, and its maps where both have."""
        net = self.model
        if self.map_adapter is None:
            return in_full(net(images)), None
        vectors, features = vectors_and_map(net.backbone, net._preprocessed(images), self.way)
        head = net.predictor
        foretold = head(features if _wants_map(head) else vectors)
        return in_full(foretold), in_full(self.map_adapter(features))

    def _loss(
        self, vectors: Tensor, places: Tensor | None, targets: Tensor, maps: Tensor | None
    ) -> Tensor:
        """The weighed sum of what is lost of vectors, maps and pseudo-classes."""
        parts = []
        if self.feature_weight > 0:
            parts.append(self.feature_weight * self.loss(vectors, targets))
        if places is not None:
            parts.append(self.map_weight * self.loss(places, maps))
        if self.queue is not None:
            parts.append(
                self.pseudo_weight * self.pseudo_loss(vectors, targets, self.queue.snapshot())
            )
        return torch.stack(parts).sum()

    def _measure(
        self, vectors: Tensor, places: Tensor | None, targets: Tensor, maps: Tensor | None
    ) -> None:
        """Notes how alike they are, and what a student would lose that says the same of all."""
        mean = targets.mean(dim=0, keepdim=True)  # (1, D)
        foretold, wanted = (
            F.normalize(each - each.mean(dim=0, keepdim=True), dim=1) for each in (vectors, targets)
        )  # (B, D) each
        found = (foretold @ wanted.T).argmax(dim=1) == torch.arange(len(wanted), device=mean.device)
        is_alone = len(targets) == 1  # who differs from nobody
        noted = {
            "similarity": F.cosine_similarity(vectors, targets, dim=1).mean(),
            "agreement": (foretold * wanted).sum(dim=1).mean() + is_alone,
            "accuracy": found.float().mean(),
        }
        same_map = None
        if places is not None and maps is not None:
            noted["map_similarity"] = F.cosine_similarity(places, maps, dim=1).mean()
            same_map = maps.mean(dim=(0, 2, 3), keepdim=True).expand_as(maps)
        if isinstance(self.loss, FeatureMatchLoss):  # whose value nothing else depends on
            noted["guess"] = self._loss(mean.expand_as(targets), same_map, targets, maps)
        self._log(**noted)

    def _gathers(self, images: int) -> list[Gathered]:
        scales = [each for each in (self.scale, self.map_scale) if each is not None]
        found = [rows(self, 1, len(scale.mean) + 2) for scale in scales]
        if self.queue is not None:
            found.append(rows(self, images, self.queue.keys.shape[1]))
        return found

    def _fit_to_run(self, run: Run) -> dict[str, Any]:
        # Whoever taught the networks that were loaded: from here on it is this teacher.
        self.teacher_digest.copy_(self._teacher_now().digest)
        return {}

    def _others_than(self, state: Mapping[str, Any], prefix: str = "") -> list[str]:
        stored = state.get(f"{prefix}teacher_digest")
        if not isinstance(stored, Tensor) or not bool(stored.any()):
            return []
        teacher = self._teacher_now()
        if torch.equal(stored.cpu(), teacher.digest.cpu()):
            return []
        return [
            f"a teacher whose digest is {_in_letters(stored)}, this {type(self).__name__} has "
            f"{teacher.name}, whose digest is {_in_letters(teacher.digest)}"
        ]

    def _told(self) -> dict[str, str]:
        teacher = self.teacher
        return {} if teacher is None else {"teacher": teacher.name}

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Views, and for which of some images the teacher would say what is foretold of them."""
        return among_answers(
            self,
            lambda images: self._foretell(images)[0],
            lambda images: in_full(self._teacher_now()(images)[0]),
            index,
            seed,
        )

    def chance_loss(self, row: Row) -> float | None:
        """That of a student that says of every image the mean of the batch."""
        return row["guess"] if isinstance(self.loss, FeatureMatchLoss) else None

    def _health(self, row: Row) -> str | None:
        if row["variety"] < SAME_TO_THE_TEACHER:
            return (
                "all images are the same to the teacher (its vectors differ from their mean by "
                f"{row['variety']:.1g} of a cosine): does it get the images that it knows? Look at "
                "teacher_channels, teacher_size and teacher_normalize, or take another teacher"
            )
        if row["epoch"] >= 5 and row["agreement"] < NOTHING_BUT_THE_MEAN:
            return (
                "the student says much the same of every image: what is foretold differs from its "
                f"mean hardly as the teacher's vectors do (cosine {row['agreement']:.2f}); train "
                "for longer, change lr, or take a larger backbone or a milder augmentation"
            )
        return None


def _variety(vectors: Tensor) -> Tensor:
    """Mean of 1 less the cosine of vectors `[B, D]` to their mean; 1 of a single one."""
    mean = vectors.mean(dim=0, keepdim=True)
    return 1 - F.cosine_similarity(vectors, mean, dim=1).mean() + (len(vectors) == 1)


def _widths(given: Sequence[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    dim, map_dim = as_numbers("teacher_features", given, 2)
    require_counts(teacher_features=dim)
    require_counts(0, teacher_features=map_dim)
    return dim, map_dim


def _require_width(supervisor: Supervisor, name: str, network: nn.Module, dim: int) -> None:
    width = feature_shape(network, supervisor.in_channels, supervisor.image_size).dim
    if width != dim:
        raise ValueError(
            f"{name}= gives {width} numbers, but the teacher has {dim} to foretell: give it {dim} "
            "outputs"
        )


def _require_map(features: int, adapter: nn.Module, map_dim: int) -> None:
    weight = next(adapter.parameters(), None)
    example = torch.zeros(1, features, 2, 2)
    example = example if weight is None else example.to(weight)
    with without_a_trace(adapter):
        given = list(adapter(example).shape)
    if given != [1, map_dim, 2, 2]:
        raise ValueError(
            f"map_adapter= makes {given} of maps [1, {features}, 2, 2], but the teacher's are "
            f"{[1, map_dim, 2, 2]}"
        )


def _in_letters(digest: Tensor) -> str:
    return "".join(f"{int(value):02x}" for value in digest[:6].cpu()) + "..."
