"""Learns what can move: masks of what moves between two frames, told from one of them.

What moves together belongs together: to say from a single frame which parts of it will move, a
network has to know objects.

Pathak, Girshick, Dollár, Darrell, Hariharan, 2017, "Learning Features by Watching Objects Move",
arXiv 1612.06370.

Shapes: `B` images, `C, H, W` image, `h, w` mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation, to_unit_range
from super_selfish.augmentations.motion import Flow, block_flow, moving_parts
from super_selfish.augmentations.moving_objects import draw_objects, put_objects
from super_selfish.augmentations.optical_flow import (
    FLOWS,
    OF_OPENCV,
    RaftFlow,
    is_raft,
    require_opencv,
)
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.augmentations.resampling import RandomResizedCrop, resize
from super_selfish.data.clips import FramePairs, holds_video
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.fitting import parse_size
from super_selfish.data.pictures import Group, side_by_side
from super_selfish.losses.full_precision import in_full
from super_selfish.losses.masks import masked_binary_cross_entropy
from super_selfish.models import FeatureShape, feature_shape
from super_selfish.supervisors.augmenting import view_before
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import require_counts
from super_selfish.training.history import Row
from super_selfish.training.run import Run
from super_selfish.training.spelling import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

Source = Literal["video", "masks", "synthetic"]
LEAST_LIKENESS = 0.4  # correlation of the frames of a pair; unrelated pictures have about 0.1
_WORDS = {
    "video": "found between frames of video",
    "masks": "as the masks of the dataset say",
    "synthetic": "objects put into stills (FramePairs(folder) makes video of a folder of frames)",
}
SOURCES = ("video", "masks", "synthetic")


class MovingImages(NamedTuple):
    """Single images, and what moves in them."""

    images: Tensor  # (B, C, H, W) float in [0, 1]
    targets: Tensor  # (B, 1, h, w) bool: it moves
    counts: Tensor  # (B, 1, h, w) bool: it surely moves, or surely does not
    is_usable: Tensor  # (B,) bool


class MotionCollator(Collator):
    """Shows one frame, cropped, with the mask of what moves in it."""

    def __init__(
        self,
        source: str,
        mask_size: tuple[int, int],
        limits: tuple[float, float],
        shift: tuple[float, float],
        flow: Flow,
        crop: RandomResizedCrop,
        augmentation: Augmentation,
    ) -> None:
        """Takes where masks come from, and the supervisor's numbers."""
        super().__init__()
        self.source = source
        self.mask_size = mask_size
        self.limits = limits
        self.shift = shift
        self.flow = flow
        self.crop = crop
        self.augmentation = augmentation

    def augment(self, batch: Batch, generator: torch.Generator) -> MovingImages:
        """Makes masks, and crops image and mask alike.

        Raises:
            ValueError: If there are neither second frames nor masks where there should be.
        """
        images = to_unit_range(batch.images)
        is_usable = torch.ones(len(images), dtype=torch.bool, device=images.device)
        if self.source == "synthetic":  # after the crop: its edge is as soft in every view
            images = self.crop(images, generator)
            batch_size, channels, height, width = images.shape
            shape = (batch_size, channels, height, width)
            images, share = put_objects(images, draw_objects(shape, self.shift, generator))
        else:
            share, is_usable = self._moving(images, batch, is_usable)
            both = self.crop(torch.cat([images, share.to(images.dtype)], dim=1), generator)
            images, share = both[:, :-1], both[:, -1:]
        share = F.adaptive_avg_pool2d(share, self.mask_size)
        low, high = self.limits
        counts = ((share > high) | (share < low)) & is_usable[:, None, None, None]
        return MovingImages(self.augmentation(images, generator), share > high, counts, is_usable)

    def _moving(self, images: Tensor, batch: Batch, every: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each pixel moves, `[B, 1, H, W]`, and whether that says something."""
        if batch.labels is None:
            wanted = "second frames" if self.source == "video" else "masks"
            raise ValueError(
                batch.no_labels
                or f"there are no {wanted}: items of the dataset must be (frame, "
                f"{'later frame' if self.source == 'video' else 'mask'}), such as "
                "super_selfish.data.FramePairs(folder) gives them"
            )
        _require_labels_for(self.source, batch.labels)
        if self.source == "video":
            later = to_unit_range(batch.labels.to(images.device))
            later = resize(later, (images.shape[-2], images.shape[-1]))
            motion = moving_parts(images, later, self.flow, above=self.limits[1])
            return motion.share, motion.is_usable
        masks = batch.labels.to(images.device)
        masks = masks if masks.is_floating_point() else (masks != 0).float()
        masks = masks[:, None] if masks.ndim == 3 else masks
        return resize(masks.float(), (images.shape[-2], images.shape[-1])), every


def _mean(values: Tensor, over: Tensor) -> Tensor:
    """The mean of values where something is true; 0 where it nowhere is."""
    return ((values * over).sum() / over.sum()).nan_to_num()


def _flow_of(flow: Any, *, needs_it: bool) -> Flow:
    """The function that a `flow=` argument means.

    Args:
        flow: As for `MotionSegmentationSupervisor`.
        needs_it: Whether it will be called, so that what it needs must be installed.
    """
    if flow is None:
        return block_flow
    if is_raft(flow):
        return RaftFlow(flow)
    if callable(flow):
        found: Flow = flow
        return found
    if flow not in FLOWS:
        meant = did_you_mean(flow, FLOWS) if isinstance(flow, str) else None
        guess = (
            f': did you mean "{meant}"?' if meant else ", or a function of two batches of frames"
        )
        raise ValueError(f"flow is one of {', '.join(map(repr, FLOWS))}, got {flow!r}{guess}")
    if needs_it and flow in OF_OPENCV:
        require_opencv()
    return FLOWS[flow]


def _require_labels_for(source: str, labels: Tensor) -> None:
    is_shown = labels.dtype in (torch.uint8, torch.uint16) or labels.is_floating_point()
    if source == "video" and not (labels.ndim == 4 and is_shown):
        raise ValueError(
            f"second frames must be images [C, H, W] like the first ones, got {labels.dtype} of "
            f"shape {list(labels.shape[1:])}: give FramePairs(folder) as the dataset"
        )
    if source == "masks" and not (labels.ndim == 3 or (labels.ndim == 4 and labels.shape[1] == 1)):
        raise ValueError(
            f"masks must be [H, W] or [1, H, W], got shape {list(labels.shape[1:])}: items of the "
            "dataset must be (image, mask)"
        )


class MaskHead(nn.Module):
    """Logits of a mask from a feature map: a 1x1 convolution, enlarged, a 3x3 convolution.

    Shape:
        `[B, D, i, j]` to `[B, 1, h, w]`.
    """

    wants_map = True

    def __init__(self, in_channels: int, size: tuple[int, int], hidden: int = 128) -> None:
        """Builds the layers.

        Args:
            in_channels: `D`.
            size: `(h, w)`.
            hidden: Channels between the two. 128: the paper.
        """
        super().__init__()
        self.size = size
        self.squeeze = nn.Conv2d(in_channels, hidden, 1)
        self.logits = nn.Conv2d(hidden, 1, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Predicts."""
        hidden = self.squeeze(features).relu()
        hidden = F.interpolate(hidden, size=self.size, mode="bilinear", align_corners=False)
        return self.logits(hidden)


class MotionSegmentationSupervisor(Supervisor):
    """Tells from one image which parts of it move.

    What moves is found in **video** (`FramePairs(folder_of_frames)`, or a video file) by comparing
    a frame with a later one; is given as **masks** (items are images with masks); or is
    **synthetic**, where there are only stills: what stands out in another image is put into each,
    with its own outline and colours, somewhere else than it was; where nothing stands out, a part
    with a drawn outline in the colours of its place.

    Differences from the paper: masks come from matching blocks, of which the camera's affine motion
    is subtracted (`flow=` has optical flow), instead of an unsupervised method that follows them
    through a whole video; a 1x1 and a 3x3 convolution make the mask, at a quarter of the side,
    instead of fully connected layers and 56x56; crops are random instead of around the object.
    Objects in stills are no part of the paper. By default Adam trains at a constant rate of 1e-3 in
    batches of 32, instead of SGD.
    """

    title = "Motion segmentation"
    question = "Which parts of this image move?"
    only_for_training: ClassVar[frozenset[str]] = frozenset({*Supervisor.only_for_training, "flow"})

    meanings: ClassVar[Mapping[str, str]] = {
        "contrast": "Mean chance to move that moving pixels are given, less that of still ones: 0 "
        "is no knowledge, 1 is all.",
        "iou": "Overlap of what is said to move with what moves: intersection over union.",
        "moving": "Share of the pixels that count which move: the overlap of who says that all do.",
        "usable": "Share of the images in which something, and not all, was found to move.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        source: Source | None = None,
        step: int = 1,
        flow: Flow | str | None = None,
        mask_size: Size | None = None,
        limits: tuple[float, float] = (0.4, 0.7),
        shift: tuple[float, float] = (0.05, 0.4),
        positive_weight: float = 1.0,
        scale: tuple[float, float] = (0.5, 1.0),
        augmentation: RecipeLike | None = None,
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: `FramePairs`, a video file or a folder of such; images with masks; or images.
            backbone: Network with feature maps, its name, or None for an EfficientNet-B0.
            predictor: Head from the feature map to logits `[B, 1, h, w]`.
            loss: Function of logits, targets and of what counts, each `[B, 1, h, w]`; default:
                binary cross-entropy over the pixels that count.
            source: `"video"`, `"masks"` (`[H, W]` or `[1, H, W]`; not 0, or a share, is what moves)
                or `"synthetic"`. Default: video where the dataset is that, else synthetic.
            step: Frames from one to the next, of a video that is given by its path.
            flow: How displacements are found in video: `"blocks"`, by matching blocks; `"dis"` or
                `"farneback"`, optical flow by OpenCV (`pip install super-selfish[flow]`), finer in
                frames above 64 pixels; `augmentations.RaftFlow("weights.pth")` or torchvision's
                RAFT with weights that you have; or a function of two batches of frames
                `[B, C, H, W]` to displacements `[B, 2, h, w]`, rows and columns, as fractions of
                the shorter side. Default: blocks.
            mask_size: `h` or `(h, w)`. Default: a quarter of the image's sides, at least 8.
            limits: Of how much of the most moves: what is below the first does not move, what is
                above the second does, and what lies between does not count. (0.4, 0.7): the paper.
            shift: Least and largest way of a synthetic object, as fractions of the shorter side.
            positive_weight: Weight of pixels that move. 1: the paper.
            scale: Area of the random crop, as fractions of the image's.
            augmentation: Done to each image after the crop: the name of a recipe, an
                `Augmentation`, or torchvision's transforms, which must leave things at their place.
                Default: nothing.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If a number is out of its range, there is no such source or flow, or the
                predictor gives no mask of that size.
            ModuleNotFoundError: If the flow of video is OpenCV's, and that is missing.
        """
        if source is not None and source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
        require_counts(step=step)
        if source in (None, "video") and holds_video(dataset):
            source = "video"
            if not isinstance(dataset, FramePairs):
                dataset = FramePairs(dataset, step)
            elif step not in (1, dataset.step):
                raise ValueError(
                    f"step={step}, but these FramePairs have step={dataset.step}: give it to them"
                )
            if image_size is not None:
                dataset = dataset.of_size(parse_size(image_size))
        low, high = limits
        if not 0 < low <= high < 1:
            raise ValueError(f"limits are two shares in (0, 1), the lower one first, got {limits}")
        least, largest = shift
        if not 0 <= least <= largest <= 1:
            raise ValueError(f"shift is from 0 to 1, the lower one first, got {shift}")
        if not 0 < positive_weight < math.inf:
            raise ValueError(f"positive_weight must be above 0, got {positive_weight}")
        super().__init__(
            None,
            dataset,
            masked_binary_cross_entropy if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        source = "synthetic" if source is None else source
        self.remark = f"What moves: {_WORDS[source]}"
        sides = [max(8, side // 4) for side in self.image_size]
        self.mask_size = (sides[0], sides[1]) if mask_size is None else parse_size(mask_size)
        self._resolve(source=source, mask_size=self.mask_size)
        self.positive_weight = positive_weight
        self.model = self._combine(backbone, predictor, self._head, normalize, of_map=True)
        if predictor is not None:
            given = feature_shape(self.model, self.in_channels, self.image_size, of_map=True)
            if given != (1, *self.mask_size):
                raise ValueError(
                    f"predictor= must give masks {[1, *self.mask_size]}, got {list(given)}: set "
                    "mask_size, or change it"
                )
        self.collate_fn = MotionCollator(
            source,
            self.mask_size,
            (low, high),
            (least, largest),
            _flow_of(flow, needs_it=self.source is not None and source == "video"),
            RandomResizedCrop(self.image_size, scale, (3 / 4, 4 / 3), p_flip=0.5),
            view_before(self, augmentation),
        )

    def _head(self, features: FeatureShape) -> nn.Module:
        return MaskHead(features.dim, self.mask_size)

    def _forward(self, data: MovingImages) -> Tensor:
        logits = in_full(self.model(data.images))  # (B, 1, h, w)
        own: dict[str, Any] = {}
        if self.loss is masked_binary_cross_entropy:
            own["positive_weight"] = self.positive_weight
            pixels = data.counts[0].numel()
            self._counts(data.counts.sum().to(logits.dtype) / pixels)
        with torch.no_grad():
            said, moves = (logits > 0) & data.counts, data.targets & data.counts
            chances = logits.sigmoid()
            self._log(
                contrast=_mean(chances, moves) - _mean(chances, ~data.targets & data.counts),
                iou=_mean(said & moves, said | moves),
                moving=_mean(moves, data.counts),
                usable=data.is_usable.float().mean(),
            )
        return self.loss(logits, data.targets, data.counts, **own)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Images, what moves in them (gray: not sure), and what the network says."""
        data = seen_batch(self, index, seed)
        said = self.model(data.images).sigmoid()  # (B, 1, h, w)
        truth = torch.where(data.counts, data.targets.float(), 0.5)
        size = (data.images.shape[-2], data.images.shape[-1])
        shown = [F.interpolate(masks, size=size, mode="nearest") for masks in (truth, said.float())]
        return side_by_side(
            (data.images, "image"), (shown[0], "moves\n(gray: ?)"), (shown[1], "said\nto move")
        )

    def chance_loss(self, row: Row) -> float | None:
        """`log 2`: every pixel may move or not."""
        is_own = self.loss is masked_binary_cross_entropy and self.positive_weight == 1.0
        return math.log(2) if is_own else None

    def _caution(self, run: Run) -> str | None:
        likeness = self.dataset.likeness() if isinstance(self.dataset, FramePairs) else 1.0
        if likeness >= LEAST_LIKENESS:
            return None
        return (
            f"the frames of a pair have little in common (correlation {likeness:.2f}): are these "
            "frames of video, in the order of their names? For single images leave FramePairs out"
        )

    def _health(self, row: Row) -> str | None:
        if row["usable"] < 0.3:
            return (
                f"only in {row['usable']:.0%} of the frames something, and not nearly all, was "
                "found to move: raise step=, give a flow=, or show other clips"
            )
        if row["epoch"] >= 10 and row["contrast"] < 0.02:
            return (
                f"what moves is not told from what stays (their chances differ by "
                f"{row['contrast']:.3f}): change lr, or train for longer"
            )
        return None
