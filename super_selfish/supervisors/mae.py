"""MAE: paint the three quarters of an image's patches that were hidden.

An image is cut into square patches. A transformer sees a quarter of them, drawn at random, and a
small decoder has to paint the others from what it made of these. So little is left that copying
what is beside a patch does not do: something has to be known of what the image shows.

He, Chen, Xie, Li, Dollar, Girshick, 2021, "Masked Autoencoders Are Scalable Vision Learners",
arXiv 2111.06377.

Shapes: `B` images, `C, H, W` image, `p` side of a patch, `L` patches, `n` visible ones, `m` hidden
ones, `P` tokens that stand for no patch, `D` features, `E = p p C` numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.augmentations.base import Augmentation
from super_selfish.augmentations.recipes import RecipeLike
from super_selfish.data.collate import Batch, Collator
from super_selfish.data.pictures import Group, side_by_side
from super_selfish.losses.full_precision import in_full
from super_selfish.losses.patches import (
    into_patches,
    patch_statistics,
    standardised_patches,
    with_patches,
)
from super_selfish.models import FeatureShape, feature_shape
from super_selfish.models.dry_run import REFUSALS, without_a_trace
from super_selfish.models.masked_transformer import (
    TRANSFORMER,
    MaskedNet,
    PatchDecoder,
    chosen,
    number_visible,
    require_transformer,
)
from super_selfish.models.transformers import average_tokens, patch_of
from super_selfish.supervisors.augmenting import or_default, view_of
from super_selfish.supervisors.base import Size, Supervisor
from super_selfish.supervisors.defaults import (
    DEPTH_OF_PATCHES,
    HEAD_WIDTH,
    patch_decoder_width,
)
from super_selfish.supervisors.exhibits import seen_batch
from super_selfish.supervisors.refusals import require_counts
from super_selfish.training.history import Row
from super_selfish.training.optimizers import without_decay
from super_selfish.training.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from super_selfish.supervisors.options import Options

FEWEST_PATCHES = 16  # of which a quarter still shows something
_NOTHING = 0.98  # of what one grey costs: above it nothing was learned
_HIDDEN = 0.5  # what a hidden patch shows in pictures


class MaskedImages(NamedTuple):
    """Images, and which of their patches are seen."""

    images: Tensor  # (B, C, H, W), whole
    visible: Tensor  # (B, n) int64, places of patches
    hidden: Tensor  # (B, m) int64, the other ones


class MaskingCollator(Collator):
    """Hides patches of each image by itself, all of them with equal probability."""

    def __init__(self, num_patches: int, num_visible: int, augmentation: Augmentation) -> None:
        """Takes the patches of an image, how many are seen, and what is done to images before."""
        super().__init__()
        self.num_patches = num_patches
        self.num_visible = num_visible
        self.augmentation = augmentation

    def augment(self, batch: Batch, generator: torch.Generator) -> MaskedImages:
        """Makes views, and draws which of their patches are seen."""
        images = self.augmentation(batch.images, generator)
        numbers = torch.rand(len(images), self.num_patches, generator=generator)
        order = numbers.argsort(dim=1).to(images.device, non_blocking=True)  # (B, L)
        visible, hidden = order.tensor_split([self.num_visible], dim=1)
        return MaskedImages(images, visible, hidden)


class MAESupervisor(Supervisor):
    """Paints hidden patches of images from the others (MAE).

    It trains the vision transformers of timm, by name or as modules, of any size that their patches
    divide; other networks cannot see a part of an image alone, and are refused. Built by name, they
    give the mean of the tokens of all patches as features, by which the authors fine-tune; modules
    give what they give. These are poor for a linear probe and k-NN; the paper judges them by
    fine-tuning: `evaluate(..., protocols=("knn", "linear", "finetune"))`.

    The paper trains with `supervise(optimizer=partial(torch.optim.AdamW, betas=(0.9, 0.95),
    weight_decay=0.05), lr=1.5e-4, lr_scaling="linear", lr_scheduler=Cosine(warmup_epochs=40))`, in
    batches of 4096; `Cosine` is of `super_selfish.training.schedules`. Where an optimizer decays
    weights, biases and norms have none, as in the authors' code. It fine-tunes with a rate that
    falls from layer to layer, `layer_decay=0.75, backbone_lr_factor=0.75` of `LabelSupervisor` and
    `evaluation.finetune`.

    Differences from the paper: the decoder has 4 blocks instead of 8, and at most half the features
    as its width, as the paper's ViT-L has it. Patches suit the size of the images (of 32 pixels 4),
    if the transformer is built by name. Its positions are learned and its weights begin as timm's
    do, instead of fixed positions. The decoder's last layer begins with small weights. Targets are
    pixels in [0, 1], also where `normalize=` has the network see others. By default Adam trains at
    a constant rate of 1e-3 in batches of 32, instead of AdamW down a cosine (see above).
    """

    title = "MAE"
    question = "What do the hidden patches show?"
    paints = True
    own_backbone = TRANSFORMER
    meanings: ClassVar[Mapping[str, str]] = {
        "variance": "Error of one grey for all hidden patches: what the loss has to stay below.",
    }

    def __init__(
        self,
        dataset: Any = None,
        backbone: nn.Module | str | None = None,
        predictor: nn.Module | None = None,
        loss: Callable[..., Tensor] | None = None,
        *,
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        decoder_depth: int | None = None,
        decoder_width: int | None = None,
        decoder_heads: int | None = None,
        augmentation: RecipeLike | None = "mae",
        image_size: Size | None = None,
        in_channels: int | None = None,
        normalize: Any = None,
        **options: Unpack[Options],
    ) -> None:
        """Builds the supervisor.

        Args:
            dataset: Images, as anything that `ImageSource` takes.
            backbone: A vision transformer of timm, its name, or None for
                `"timm/vit_tiny_patch16_224"` with patches that suit the images.
            predictor: Decoder, called with tokens `[B, P + n, D]` and places of visible patches
                `[B, n]`; gives all patches `[B, L, E]`, row by row.
            loss: Function of painted and true hidden patches `[B, m, E]`; default: mean squared
                error (section 3, equation 1 of the authors' code).
            mask_ratio: Share of patches that are hidden, in (0, 1). 0.75: section 4.1, figure 5.
            norm_pix: Whether a patch is to be painted less its mean and by its deviation, instead
                of as it is: section 3, table 1d.
            decoder_depth: Blocks of the decoder. Default: 4; the paper: 8 (table 1a).
            decoder_width: Of the decoder, divisible by 4 and by the heads. Default: half of the
                features, at most the paper's 512 (table 1b).
            decoder_heads: Of attention. Default: one for 32 of the width; the paper: 16 of 512
                (authors' code).
            augmentation: Done to each image before it is cut: the name of a recipe, an
                `Augmentation`, or torchvision's transforms. Default: `"mae"`, crops and flips.
            image_size: Side or (height, width) in pixels.
            in_channels: Channels of the images.
            normalize: None, `"imagenet"` or `(mean, std)`, for a backbone that wants it.
            **options: `device`, `on_error`, `value_range`, `pages` and `loader`, as for every
                supervisor; see `Supervisor`.

        Raises:
            ValueError: If the backbone is no vision transformer of timm, `mask_ratio` leaves
                nothing to see or to paint, a number is out of its range, or the predictor gives
                something else than patches.
            ImportError: If timm is missing: `pip install timm`.
        """
        if not 0.0 < mask_ratio < 1.0:
            raise ValueError(
                f"mask_ratio is the share of hidden patches, between 0 and 1, got {mask_ratio}"
            )
        require_counts(
            decoder_depth=decoder_depth, decoder_width=decoder_width, decoder_heads=decoder_heads
        )
        super().__init__(
            None,
            dataset,
            nn.MSELoss() if loss is None else loss,
            image_size=image_size,
            in_channels=in_channels,
            **options,
        )
        self.mask_ratio = mask_ratio
        self.norm_pix = norm_pix
        is_by_name = not isinstance(backbone, nn.Module)
        backbone = self._build(backbone, self.image_size)
        require_transformer(backbone)
        if is_by_name:
            average_tokens(backbone)
        features = feature_shape(backbone, self.in_channels, self.image_size, of_map=True)
        self.patch = patch_of(backbone) or 1
        self.grid = features.map_size
        self._require_whole_patches()
        num_visible = self._number_visible()

        def decoder(features: FeatureShape) -> nn.Module:
            width = patch_decoder_width(features.dim) if decoder_width is None else decoder_width
            heads = max(1, width // HEAD_WIDTH) if decoder_heads is None else decoder_heads
            depth = DEPTH_OF_PATCHES if decoder_depth is None else decoder_depth
            if width % 4 != 0 or width % heads != 0:
                raise ValueError(
                    "decoder_width must be divisible by 4 and by decoder_heads, got "
                    f"{width} and {heads}"
                )
            self._choose(decoder_width=width, decoder_heads=heads, decoder_depth=depth)
            return PatchDecoder(
                features.dim,
                self.in_channels * self.patch**2,
                self.grid,
                width=width,
                depth=depth,
                num_heads=heads,
            )

        joined = self._combine(backbone, predictor, decoder, normalize, of_map=True)
        self.model = MaskedNet(joined.backbone, joined.predictor, joined.preprocess)
        if predictor is not None:
            self._require_patches(num_visible)
        augmentation = or_default(self, augmentation, "mae")
        before = view_of(self, augmentation, self.image_size)
        self.collate_fn = MaskingCollator(self.num_patches, num_visible, before)

    @property
    def num_patches(self) -> int:
        """Of an image, `L`."""
        return self.grid[0] * self.grid[1]

    def _forward(self, data: MaskedImages) -> Tensor:
        painted = in_full(self.model(data.images, data.visible))  # (B, L, E)
        patches = self._targets(into_patches(data.images, self.patch))  # (B, L, E)
        wanted = chosen(patches, data.hidden)  # (B, m, E)
        with torch.no_grad():
            grey = wanted.mean().expand_as(wanted)
            self._log(variance=self.loss(grey, wanted))  # what one grey for all would cost
        return self.loss(chosen(painted, data.hidden), wanted)

    def _targets(self, patches: Tensor) -> Tensor:
        """What is to be painted of patches `[B, L, E]`."""
        return standardised_patches(patches) if self.norm_pix else patches

    def _parameter_groups(self, named: dict[str, nn.Parameter], lr: float) -> list[dict[str, Any]]:
        return without_decay(named)

    def exhibit(self, index: Sequence[int], seed: int) -> list[Group]:
        """Images with patches hidden, with these painted, as they were.

        With `norm_pix` a painted patch has the brightness and contrast of the true one, for which
        the network is not asked.
        """
        data: MaskedImages = seen_batch(self, index, seed)
        patches = into_patches(data.images, self.patch)  # (B, L, E)
        painted = self.model(data.images, data.visible)  # (B, L, E)
        if self.norm_pix:
            mean, deviation = patch_statistics(patches)
            painted = painted * deviation + mean
        is_hidden = torch.ones_like(patches[:, :, :1], dtype=torch.bool)
        is_hidden = is_hidden.scatter(1, data.visible.unsqueeze(2), False)  # (B, L, 1)
        masked, filled = (
            with_patches(data.images, torch.where(is_hidden, what, patches), self.patch)
            for what in (torch.full_like(patches, _HIDDEN), painted)
        )
        return side_by_side(
            (masked, f"{self.mask_ratio:.0%}\nhidden"),
            (filled, "painted, tone\nis given" if self.norm_pix else "hidden ones\npainted"),
            (data.images, "as it is"),
        )

    def chance_loss(self, row: Row) -> float | None:
        """What one grey for all hidden patches costs: about 1 of standardised ones."""
        return row["variance"]

    def _caution(self, run: Run) -> str | None:
        if self.num_patches >= FEWEST_PATCHES:
            return None
        return (
            f"images are cut into {self.num_patches} patches, of which "
            f"{self._number_visible()} is seen, too few to tell what the others show: take a "
            "transformer with smaller patches, or larger images"
        )

    def _health(self, row: Row) -> str | None:
        if row["epoch"] >= 3 and row["loss"] > _NOTHING * row["variance"]:
            return (
                f"patches are painted no better (error {row['loss']:.4f}) than with one grey for "
                f"all ({row['variance']:.4f}): change lr, or train for longer"
            )
        return None

    def _require_whole_patches(self) -> None:
        """Refuses a network that adds a border to images, of which a patch would be no patch."""
        padded = [side * self.patch for side in self.grid]
        if any(whole > side for whole, side in zip(padded, self.image_size, strict=True)):
            height, width = self.image_size
            raise ValueError(
                f"patches of {self.patch} pixels do not divide images of {height}x{width}, and the "
                f"backbone adds a border to them: give image_size={tuple(padded)}"
            )

    def _number_visible(self) -> int:
        number = number_visible(self.num_patches, self.mask_ratio)
        if not 0 < number < self.num_patches:
            raise ValueError(
                f"mask_ratio must leave some of {self.num_patches} patches to see and some to "
                f"paint, got {self.mask_ratio}, which leaves {number} to see"
            )
        return number

    def _require_patches(self, num_visible: int) -> None:
        """Refuses a predictor that gives no patches like those of the dataset."""
        weight = next(self.model.parameters())
        images = weight.new_zeros(2, self.in_channels, *self.image_size)
        visible = torch.arange(num_visible, device=weight.device).expand(2, -1)
        wanted = [2, self.num_patches, self.in_channels * self.patch**2]
        with without_a_trace(self.model):
            try:
                given = list(self.model(images, visible).shape)
            except REFUSALS as error:
                raise ValueError(
                    "predictor= could not take tokens [B, P + n, D] and places of visible patches "
                    f"[B, n]: {error}"
                ) from error
        if given != wanted:
            raise ValueError(f"predictor= must give patches {wanted} of two images, got {given}")
